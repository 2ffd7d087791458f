"""What an auditor finds out about the records of one shim: complete, provably not, or unknown."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.attestation.statement import Statement
from registry.core.records import completeness, inference, level_answers, shim_history
from registry.core.records.audit_policy import Policy
from registry.core.records.completeness import Completeness, LoggedBatch, Range, ShimAudit
from registry.core.verdict import Verdict
from registry.errors import NotFoundError, Reason, RegistryError
from tests.shim_story import Story, record_id, said

POLICY = Policy(timedelta(seconds=90))

Batches = Sequence[tuple[Statement[Any], list[bytes]]]


def audit(
    batches: Batches, story: Story, *, later: float = 0, policy: Policy = POLICY
) -> ShimAudit:
    """Judge these batches, this long after the story's end."""
    auditor = Completeness(story.shim_id, policy)
    for index, (statement, leaves) in enumerate(batches):
        auditor.add(logged(statement, index), leaves)
    return auditor.finish(story.now + timedelta(seconds=later))


def logged(statement: Statement[Any], index: int, principal: str = "node-1") -> LoggedBatch:
    return LoggedBatch(principal, index, record_id(statement), statement.subject, said(statement))


def reasons(found: ShimAudit) -> set[str]:
    return {check.reason for check in found.checks if check.reason}


def a_day() -> Story:
    """Two runs: one that was killed during a call, and one that stopped."""
    story = Story()
    story.boot()
    setup_n = story.setup()
    first = story.intent()
    story.later(1)
    second = story.intent()
    story.complete(second, setup_n=setup_n)
    story.attached(second)
    story.later(59)
    story.beat()
    third = story.intent()
    story.failed(third)
    story.later(3600)
    story.boot(open_intents=(first,))
    story.interrupted(first)
    setup_n = story.setup()
    story.complete(story.intent(), setup_n=setup_n)
    story.later(60)
    story.beat()
    story.stop()
    return story


def test_a_whole_history_is_valid_and_counted() -> None:
    story = a_day()
    found = audit(story.cut(3, 4, 11), story, later=86_400)
    assert found.verdict is Verdict.VALID, found
    assert (found.batches, found.proven, found.next_n) == (4, len(story.records), story.next_n)
    assert (found.unclean, found.open, found.missing, found.unrecorded) == (1, (), (), 0)
    assert found.counts["completion"] == 2
    assert found.counts["interrupted"] == 1
    assert {check.verdict for check in found.checks} == {Verdict.VALID}
    assert (found.first_at, found.last_at) == (story.records[0].at, story.records[-1].at)


def test_however_it_is_cut_into_batches_the_verdict_is_the_same() -> None:
    story = a_day()
    for cuts in [(), (1,), tuple(range(1, len(story.records)))]:
        assert audit(story.cut(*cuts), story).verdict is Verdict.VALID


# --- Batches ---


def test_numbers_between_two_signed_batches_are_provably_missing() -> None:
    story = Story()
    story.boot()
    story.call()
    story.skip(5)
    story.call()
    story.stop()
    found = audit(story.cut(3), story)
    assert (found.verdict, found.missing) == (Verdict.INVALID, (Range(first=3, last=7),))
    assert reasons(found) == {Reason.SEQUENCE_GAP}


def test_a_history_that_does_not_begin_at_0_lacks_its_beginning() -> None:
    story = a_day()
    found = audit(story.cut(4)[1:], story)
    assert found.missing == (Range(first=0, last=3),)
    assert reasons(found) == {Reason.SEQUENCE_GAP, Reason.BATCH_CHAIN}


def test_a_batch_that_is_withheld_shows_in_the_chain() -> None:
    story = a_day()
    first, _, third = story.cut(4, 7)
    found = audit([first, third], story)
    assert found.missing == (Range(first=4, last=6),)
    assert reasons(found) == {Reason.SEQUENCE_GAP, Reason.BATCH_CHAIN}


def test_a_batch_that_repeats_numbers_is_an_overlap() -> None:
    story = a_day()
    first, second = story.cut(4)
    again = story.batch(2, 6, record_id(first[0]))
    found = audit([first, (again, story.leaves[2:6]), second], story)
    assert {Reason.SEQUENCE_OVERLAP, Reason.BATCH_CHAIN} <= reasons(found)


def test_a_batch_by_somebody_else_is_told() -> None:
    story = a_day()
    auditor = Completeness(story.shim_id, POLICY)
    for index, (statement, leaves) in enumerate(story.cut(4)):
        auditor.add(logged(statement, index, f"node-{index}"), leaves)
    assert reasons(auditor.finish(story.now)) == {Reason.SIGNER_CHANGED}


def test_records_in_another_order_are_not_those_of_the_batch() -> None:
    story = a_day()
    [(statement, leaves)] = story.cut()
    leaves = [leaves[1], leaves[0], *leaves[2:]]
    found = audit([(statement, leaves)], story)
    assert (found.verdict, reasons(found)) == (Verdict.INVALID, {Reason.BATCH_CONTENT})
    assert (found.proven, found.unreadable) == (0, (Range(first=0, last=story.next_n - 1),))


def test_a_chain_of_hashes_that_breaks_between_two_batches_is_told() -> None:
    story = Story()
    story.boot()
    story.call()
    story.append(story.records[-1].__class__(**members(story, prev_digest="0" * 64)))
    found = audit(story.cut(3), story)
    assert reasons(found) == {Reason.BATCH_CONTENT}
    assert found.unreadable == (Range(first=3, last=3),)


def members(story: Story, **place: Any) -> dict[str, Any]:
    """The members of the last completion, at another place."""
    last = story.records[-1]
    return {name: getattr(last, name) for name in last.__struct_fields__} | {
        "sequence": story.place(**place)
    }


@pytest.mark.parametrize("count", [1, 4], ids=["one", "more"])
def test_a_count_that_is_not_the_range_is_told(count: int) -> None:
    story = Story()
    story.boot()
    story.call()
    statement = story.batch(0, 3, None, count=count)
    found = audit([(statement, story.leaves)], story)
    assert (found.verdict, reasons(found)) == (Verdict.INVALID, {Reason.BATCH_CONTENT})


def test_records_that_the_registry_does_not_show_leave_it_open() -> None:
    story = a_day()
    first, second, third = story.cut(4, 7)
    auditor = Completeness(story.shim_id, POLICY)
    gone: RegistryError = NotFoundError(Reason.UNKNOWN_BLOB, "no such blob")
    auditor.add(logged(first[0], 0), first[1])
    auditor.add(logged(second[0], 1), gone)
    auditor.add(logged(third[0], 2), third[1])
    found = auditor.finish(story.now)
    assert (found.verdict, reasons(found)) == (Verdict.INDETERMINATE, {Reason.UNKNOWN_BLOB})
    assert found.unreadable == (Range(first=4, last=6),)


# --- Calls ---


def bad(tell: Callable[[Story], object], *, stops: bool = True) -> ShimAudit:
    """Judge a story with one thing told wrong."""
    story = Story()
    story.boot()
    tell(story)
    if stops:
        story.stop()
    return audit(story.cut(), story)


def twice(story: Story) -> None:
    story.complete(story.call())


def never_begun(story: Story) -> None:
    story.complete(0)


def in_the_future(story: Story) -> None:
    story.attached(story.next_n + 1)


def struck_while_running(story: Story) -> None:
    story.interrupted(story.intent())
    story.complete(1)


def for_another_request(story: Story) -> None:
    story.complete(story.intent(), request="d" * 64)


def for_another_model(story: Story) -> None:
    story.complete(story.intent(release=f"sha256:{'e' * 64}"))


@pytest.mark.parametrize(
    "tell",
    [
        twice,
        never_begun,
        in_the_future,
        struck_while_running,
        for_another_request,
        for_another_model,
    ],
)
def test_an_outcome_that_fits_no_open_call_is_told(tell: Callable[[Story], object]) -> None:
    found = bad(tell)
    assert (found.verdict, reasons(found)) == (Verdict.INVALID, {Reason.OUTCOME_UNEXPLAINED})


def test_a_run_that_stops_with_open_calls_is_told() -> None:
    found = bad(lambda story: story.intent())
    assert (found.verdict, reasons(found)) == (Verdict.INVALID, {Reason.STOP_UNEXPLAINED})


def test_a_call_that_just_began_is_under_way() -> None:
    found = bad(lambda story: story.intent(), stops=False)
    assert (found.verdict, found.open) == (Verdict.VALID, (1,))


def test_a_call_that_began_long_ago_leaves_it_open() -> None:
    def tell(story: Story) -> None:
        story.intent()
        for _ in range(3):
            story.later(60)
            story.beat()

    found = bad(tell, stops=False)
    assert (found.verdict, reasons(found)) == (Verdict.INDETERMINATE, {Reason.INTENT_OPEN})


def test_more_open_calls_than_a_shim_takes_are_told_and_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shim_history, "MAX_OPEN_INTENTS", 4)

    def tell(story: Story) -> None:
        for _ in range(20):
            story.intent()

    found = bad(tell, stops=False)
    assert (found.verdict, reasons(found)) == (Verdict.INVALID, {Reason.INTENT_OPEN})
    assert len(found.open) == 4


def test_calls_of_a_run_that_died_must_be_struck() -> None:
    def tell(story: Story) -> None:
        intent_n = story.intent()
        story.boot(open_intents=(intent_n,))
        story.call()

    found = bad(tell)
    assert (found.verdict, reasons(found)) == (Verdict.INVALID, {Reason.INTENT_UNSTRUCK})


def test_calls_that_are_not_struck_yet_leave_it_open() -> None:
    def tell(story: Story) -> None:
        intent_n = story.intent()
        story.boot(open_intents=(intent_n,))

    found = bad(tell, stops=False)
    assert (found.verdict, reasons(found)) == (Verdict.INDETERMINATE, {Reason.INTENT_UNSTRUCK})


def test_a_start_that_dies_before_it_struck_all_calls_is_made_good_by_the_next() -> None:
    def tell(story: Story) -> None:
        one, two = story.intent(), story.intent()
        story.boot(open_intents=(one, two))
        story.interrupted(one)
        story.boot(open_intents=(two,))
        story.interrupted(two)

    assert bad(tell).verdict is Verdict.VALID


def test_calls_that_were_let_pass_unrecorded_are_counted() -> None:
    def tell(story: Story) -> None:
        story.beat(unrecorded=2)
        story.stop()
        story.boot(unrecorded=3)

    found = bad(tell)
    assert (found.verdict, found.unrecorded) == (Verdict.INVALID, 5)
    assert reasons(found) == {Reason.UNRECORDED_CALLS}


# --- Starts ---


def says_clean(story: Story) -> None:
    story.call()
    story.boot(prev_stop="clean")


def says_unclean(story: Story) -> None:
    story.stop()
    story.boot(prev_stop="unclean")


def says_first(story: Story) -> None:
    story.stop()
    story.boot(prev_stop="first")


def names_another_run(story: Story) -> None:
    story.stop()
    story.boot(previous_boot_id="f" * 32)


def goes_on_after_its_stop(story: Story) -> None:
    story.stop()
    story.call()


def has_no_boot_record(story: Story) -> None:
    story.stop()
    story.boots += 1
    story.call()


@pytest.mark.parametrize(
    "tell",
    [
        says_clean,
        says_unclean,
        says_first,
        names_another_run,
        goes_on_after_its_stop,
        has_no_boot_record,
    ],
)
def test_a_start_that_does_not_explain_itself_is_told(tell: Callable[[Story], object]) -> None:
    found = bad(tell)
    assert found.verdict is Verdict.INVALID
    assert Reason.BOOT_UNEXPLAINED in reasons(found)


def test_a_start_that_hides_an_open_call_is_told() -> None:
    def tell(story: Story) -> None:
        story.intent()
        story.boot(open_intents=())

    found = bad(tell)
    assert Reason.BOOT_UNEXPLAINED in reasons(found)


def test_a_history_that_begins_without_a_start_is_told() -> None:
    story = Story()
    story.call()
    story.stop()
    assert reasons(audit(story.cut(), story)) == {Reason.BOOT_UNEXPLAINED}


def seen(size: int, root: str = "d" * 64, origin: str = "log.example") -> dict[str, Any]:
    """What a start says that saw this head of the log."""
    return {
        "config": "c" * 64,
        "seen": inference.SeenHead(origin=origin, size=size, root=root),
    }


def started_twice(first: dict[str, Any], second: dict[str, Any]) -> Story:
    """A shim that started, stopped, and did both again."""
    story = Story()
    for start in (first, second):
        story.boot(**start)
        story.stop()
    return story


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (seen(7), seen(6)),
        (seen(7), seen(7, "e" * 64)),
        (seen(7), seen(9, origin="log.other")),
        (seen(7), {"config": "c" * 64}),
    ],
)
def test_a_start_that_had_seen_less_of_the_log_than_the_one_before_is_told(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    story = started_twice(first, second)
    assert reasons(audit(story.cut(), story)) == {Reason.BOOT_UNEXPLAINED}


@pytest.mark.parametrize(
    ("first", "second"),
    [({}, seen(1)), (seen(7), seen(7)), (seen(7), seen(8, "e" * 64)), (seen(7), {})],
)
def test_starts_that_see_the_log_grow_are_right_and_older_software_says_nothing(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    story = started_twice(first, second)
    assert audit(story.cut(), story).verdict is Verdict.VALID


def test_the_newest_start_is_told_with_its_configuration_and_how_often_that_changed() -> None:
    story = Story()
    story.boot(**seen(7))
    story.stop()
    story.boot(**(seen(8) | {"config": "f" * 64, "evidence": "e" * 64}))
    story.stop()
    found = audit(story.cut(), story)
    assert found.configurations == 1
    assert found.started is not None
    assert (found.started.n, found.started.config) == (2, "f" * 64)
    assert (found.started.seen, found.started.evidence) == (seen(8)["seen"], "e" * 64)


# --- Levels ---


def test_a_wish_with_its_answer_is_whole_and_a_second_answer_says_nothing_new() -> None:
    def tell(story: Story) -> None:
        n = story.intent()
        story.complete(n, asked="signed", deadline_ms=1000)
        story.attached(n)
        story.attached(n)

    assert bad(tell).verdict is Verdict.VALID


@pytest.mark.parametrize(("seconds", "holds"), [(7201, True), (7202, False)])
def test_a_wish_that_is_neither_had_nor_missed_leaves_it_open(
    seconds: float, *, holds: bool
) -> None:
    story = Story()
    story.boot()
    story.complete(story.intent(), asked="signed", deadline_ms=1000)
    story.stop()
    found = audit(story.cut(), story, later=seconds)
    assert (found.verdict is Verdict.VALID) is holds
    assert reasons(found) == (set() if holds else {Reason.LEVEL_UNANSWERED})


def test_whoever_asks_for_a_logged_record_has_it() -> None:
    story = Story()
    story.boot()
    story.complete(story.intent(), asked="logged")
    story.stop()
    assert audit(story.cut(), story, later=86_400).verdict is Verdict.VALID


def test_an_answer_to_another_wish_is_told() -> None:
    def tell(story: Story) -> None:
        n = story.intent()
        story.complete(n, asked="attested")
        story.attached(n, level="signed")

    found = bad(tell)
    assert (found.verdict, reasons(found)) == (Verdict.INVALID, {Reason.OUTCOME_UNEXPLAINED})


def test_wishes_whose_answers_may_be_in_a_hole_are_not_judged() -> None:
    story = Story()
    story.boot()
    story.complete(story.intent(), asked="signed")
    story.skip(1)
    story.stop()
    assert reasons(audit(story.cut(3), story, later=86_400)) == {Reason.SEQUENCE_GAP}


def test_more_wishes_than_can_be_remembered_leave_it_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(level_answers, "MAX_WISHES", 2)

    def tell(story: Story) -> None:
        for _ in range(3):
            story.complete(story.intent(), asked="signed")

    assert reasons(bad(tell)) == {Reason.LEVEL_UNANSWERED}


# --- Setups ---


def of_the_run_before(story: Story) -> None:
    setup_n = story.setup()
    story.stop()
    story.boot()
    story.complete(story.intent(), setup_n=setup_n)


def of_another_model(story: Story) -> None:
    other = story.model.__class__(
        release=story.model.release, manifest="e" * 64, name="acme/y", version="1"
    )
    setup_n = story.setup(model=other)
    story.complete(story.intent(), setup_n=setup_n)


def no_setup_at_all(story: Story) -> None:
    story.complete(story.intent(), setup_n=0)


@pytest.mark.parametrize("tell", [of_the_run_before, of_another_model, no_setup_at_all])
def test_a_completion_that_names_no_setup_of_its_run_is_told(
    tell: Callable[[Story], object],
) -> None:
    found = bad(tell)
    assert (found.verdict, reasons(found)) == (Verdict.INVALID, {Reason.UNKNOWN_SETUP})


# --- Time ---


@pytest.mark.parametrize(("seconds", "holds"), [(90, True), (90.000001, False)])
def test_two_heartbeats_may_be_as_far_apart_as_the_policy_says(
    seconds: float, *, holds: bool
) -> None:
    def tell(story: Story) -> None:
        story.later(60)
        story.beat()
        story.later(seconds)
        story.beat()

    found = bad(tell)
    assert (found.verdict is Verdict.VALID) is holds
    assert reasons(found) == (set() if holds else {Reason.HEARTBEAT_GAP})


def test_calls_do_not_stand_in_for_heartbeats() -> None:
    def tell(story: Story) -> None:
        for _ in range(3):
            story.later(60)
            story.call()

    assert reasons(bad(tell, stops=False)) == {Reason.HEARTBEAT_GAP}


def test_the_silence_before_a_crash_counts() -> None:
    def tell(story: Story) -> None:
        story.later(100)
        story.call()
        story.boot()

    assert reasons(bad(tell)) == {Reason.HEARTBEAT_GAP}


def test_the_time_between_two_runs_does_not_count() -> None:
    def tell(story: Story) -> None:
        story.later(10)
        story.stop()
        story.later(86_400)
        story.boot()

    assert bad(tell).verdict is Verdict.VALID


def test_a_wall_clock_that_steps_is_told_apart_from_silence() -> None:
    def tell(story: Story) -> None:
        clock = story.clock()
        story.later(-3600)
        story.beat(clock=clock)
        story.later(7200)
        story.beat(clock=clock)
        story.later(-3600)

    found = bad(tell)
    assert (found.verdict, found.clock_steps) == (Verdict.VALID, 2)


@pytest.mark.parametrize(("seconds", "leaps"), [(60 + 90, 0), (60 + 91, 1)])
def test_a_host_that_stood_still_longer_than_it_may_be_silent_is_told(
    seconds: int, leaps: int
) -> None:
    def tell(story: Story) -> None:
        before = story.clock()
        assert isinstance(before, inference.Clock)
        story.later(seconds)
        story.beat(
            clock=msgspec.structs.replace(before, monotonic_us=before.monotonic_us + 60_000_000)
        )
        story.stop(clock=msgspec.UNSET)

    found = bad(tell, stops=False)
    assert (found.verdict, found.clock_leaps) == (Verdict.VALID, leaps)


def test_without_a_monotonic_clock_a_wall_clock_that_went_back_leaves_it_open() -> None:
    def tell(story: Story) -> None:
        story.later(-10)
        story.beat(clock=msgspec.UNSET)
        story.later(10)

    found = bad(tell)
    assert (found.verdict, reasons(found)) == (Verdict.INDETERMINATE, {Reason.CLOCK_BACKWARDS})


def test_a_shim_that_says_nothing_any_more_leaves_it_open() -> None:
    story = Story()
    story.boot()
    assert audit(story.cut(), story, later=90).verdict is Verdict.VALID
    found = audit(story.cut(), story, later=91)
    assert (found.verdict, reasons(found)) == (Verdict.INDETERMINATE, {Reason.SHIM_SILENT})


def test_a_time_that_no_calendar_has_leaves_it_open() -> None:
    story = Story()
    story.boot()
    story.beat(at="2026-02-30T12:00:00Z")
    story.later(1)
    story.stop()
    found = audit(story.cut(), story)
    assert (found.verdict, reasons(found)) == (Verdict.INDETERMINATE, {Reason.BAD_TIME})


# --- Bounds ---


def test_findings_and_ranges_beyond_a_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completeness, "MAX_FINDINGS", 3)
    monkeypatch.setattr(completeness, "MAX_RANGES", 2)
    story = Story()
    story.boot()
    for _ in range(5):
        story.skip(1)
        story.beat()
    found = audit(story.cut(1, 2, 3, 4, 5), story)
    told = [check for check in found.checks if check.reason]
    assert (len(told), len(found.missing), found.more) == (3, 2, 2 + 3)


# --- Any history ---

STEPS = ("call", "open", "close", "fail", "beat", "attach", "stop", "kill")


def live(story: Story, step: str, open_: list[int]) -> None:
    """Let a shim live through one thing, if that can happen to it now."""
    match step:
        case "call":
            story.complete(story.intent(), setup_n=story.setup())
        case "open":
            open_.append(story.intent())
        case "close" if open_:
            story.complete(open_.pop())
        case "fail" if open_:
            story.failed(open_.pop(0))
        case "attach" if story.intents():
            story.attached(story.intents()[0])
        case "stop" if not open_:
            story.stop()
            story.boot()
        case "kill":
            story.boot(open_intents=tuple(open_))
            for n in open_:
                story.interrupted(n)
            open_.clear()
        case _:
            story.beat()


@given(steps=st.lists(st.sampled_from(STEPS), max_size=40), cuts=st.sets(st.integers(1, 60)))
def test_whatever_a_shim_lives_through_its_honest_history_is_valid(
    steps: list[str], cuts: set[int]
) -> None:
    story = Story()
    story.boot()
    open_: list[int] = []
    for step in steps:
        story.later(1)
        live(story, step, open_)
    found = audit(story.cut(*sorted(cut for cut in cuts if cut < len(story.records))), story)
    assert (found.verdict, found.open) == (Verdict.VALID, tuple(open_)), found
    assert found.proven == found.next_n == len(story.records)


@given(steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=30), lost=st.data())
def test_whichever_record_is_left_out_of_a_history_it_shows(
    steps: list[str], lost: st.DataObject
) -> None:
    story = Story()
    story.boot()
    for step in steps:
        if step in ("call", "open"):
            story.call()
        else:
            story.beat()
    story.stop()
    number = lost.draw(st.integers(0, len(story.records) - 2))
    del story.records[number], story.leaves[number]
    cuts = (number,) if 0 < number < len(story.records) else ()
    found = audit(story.cut(*cuts), story)
    assert found.verdict is Verdict.INVALID
    assert found.missing == (Range(first=number, last=number),)


@given(
    st.lists(
        st.tuples(
            st.sampled_from((*STEPS, "boot", "interrupted", "skip", "setup")),
            st.integers(-3, 12),
            st.floats(-100, 200),
        ),
        min_size=1,
        max_size=40,
    ),
    st.sets(st.integers(1, 60)),
)
def test_whatever_a_shim_says_an_auditor_comes_to_a_verdict(
    lies: list[tuple[str, int, float]], cuts: set[int]
) -> None:
    story = Story()
    story.beat()
    for step, n, seconds in lies:
        about = max(0, story.next_n + n - 6)
        story.later(seconds)
        match step:
            case "boot":
                story.boot(prev_stop="clean", open_intents=(about,))
            case "interrupted":
                story.interrupted(about)
            case "skip":
                story.skip(max(0, n))
            case "setup":
                story.complete(about, setup_n=about)
            case "attach":
                story.attached(about)
            case "close" | "fail":
                story.failed(about)
            case _:
                live(story, step, [about])
    story.beat()
    found = audit(story.cut(*sorted(cut for cut in cuts if cut < len(story.records))), story)
    # It did not begin with a start, so that it is never whole.
    assert found.verdict is Verdict.INVALID
    # Every number is read, or in no batch, or in one that does not hold what it says.
    absent = sum(each.last - each.first + 1 for each in (*found.missing, *found.unreadable))
    assert found.proven + absent == found.next_n == story.next_n
