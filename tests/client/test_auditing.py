"""Audits over a real registry: complete, provably not, withheld; and receipts that exist or not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import grpc
import pytest

from registry.api.v1 import journal_service_pb2 as pb
from registry.api.v1.artifact_service_pb2 import DownloadRequest
from registry.client.auditing import Auditor
from registry.client.channel import Connection, Target
from registry.client.registry import RegistryClient
from registry.core.digest import sha256
from registry.core.records import inference
from registry.core.records.audit_policy import Policy
from registry.core.records.completeness import Range
from registry.core.tlog.note import VerifierKey
from registry.core.verdict import Verdict
from registry.errors import NotFoundError, Reason, UnavailableError, VerificationError
from registry.services import placing
from registry.storage.sql.catalog import ShimHead
from tests.client.liar import Liar
from tests.server.served import Served, served
from tests.shim_story import NOON, Story

POLICY = Policy(timedelta(seconds=90))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One registry for this file."""
    with served(tmp_path_factory.mktemp("audited") / "data") as registry:
        yield registry


@dataclass(frozen=True)
class World:
    """A registry, somebody between it and an auditor, and the auditor."""

    registry: Served
    liar: Liar
    auditor: Auditor

    def register(self, story: Story, *cuts: int) -> None:
        """Register a story in batches that end before these positions."""
        for statement, leaves in story.cut(*cuts):
            self.registry.register_batch(statement, leaves, self.registry.node)

    def reasons(self, story: Story) -> tuple[Verdict, set[str]]:
        """What an audit of the story's shim comes to."""
        found = self.auditor.audit(bytes.fromhex(story.shim_id), POLICY, story.now)
        return found.verdict, {check.reason for check in found.checks if check.reason}


@contextmanager
def asking(registry: Served, address: str) -> Iterator[Auditor]:
    """An auditor of the registry at ``address``."""
    key = VerifierKey.parse((registry.folder / "log.vkey").read_text().strip())
    connection = Connection(Target.parse(address), token=registry.auditor.token)
    with RegistryClient(connection, key) as client:
        yield Auditor(client)


@pytest.fixture
def world(registry: Served) -> Iterator[World]:
    """An auditor behind a liar that does not lie yet."""
    with Liar(registry.address) as liar, asking(registry, liar.address) as auditor:
        yield World(registry, liar, auditor)


@pytest.fixture
def story(request: pytest.FixtureRequest) -> Story:
    """The story of a shim of this test's own."""
    story = Story(shim_id=sha256(request.node.name.encode()).hex()[:32])
    story.boot()
    story.call()
    story.call()
    return story


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the registry log whatever batch a node signs, as an accomplice would."""

    def accept(_connection: object, submission: object, stored: object, _heads: object) -> ShimHead:
        batch = stored.batch  # type: ignore[attr-defined]
        principal = submission.principal  # type: ignore[attr-defined]
        return ShimHead(batch.n_last, bytes(32), bytes(32), principal)

    monkeypatch.setattr(placing, "check_chain", accept)


def test_a_whole_journal_is_complete(world: World, story: Story) -> None:
    story.stop()
    world.register(story, 2, 4)
    found = world.auditor.audit(bytes.fromhex(story.shim_id), POLICY, story.now)
    assert (found.verdict, found.batches, found.proven) == (Verdict.VALID, 3, 6)
    assert found.principal == "node-1"


def head_of(world: World, **members: object) -> inference.SeenHead:
    """The newest head of the registry's log, or one that is like it."""
    head = world.auditor._client.checkpoint().checkpoint
    said = {"origin": head.origin, "size": head.size, "root": head.root.hex()} | members
    return inference.SeenHead(**said)  # type: ignore[arg-type]


def test_a_start_that_has_seen_the_log_of_the_registry_is_right(world: World, story: Story) -> None:
    story.stop()
    story.boot(config="c" * 64, seen=head_of(world))
    story.stop()
    world.register(story)
    assert world.reasons(story) == (Verdict.VALID, set())


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"root": "d" * 64}, Reason.CONSISTENCY_PROOF),
        ({"size": 2, "root": "d" * 64}, Reason.CONSISTENCY_PROOF),
        ({"size": 1 << 40}, Reason.BEYOND_TREE),
        ({"origin": "log.other"}, Reason.WRONG_LOG),
    ],
    ids=["another tree", "another past", "more than there is", "another log"],
)
def test_a_log_that_does_not_extend_what_a_shim_has_seen_is_found_out(
    world: World, story: Story, members: dict[str, object], reason: Reason
) -> None:
    story.stop()
    story.boot(config="c" * 64, seen=head_of(world, **members))
    story.stop()
    world.register(story)
    assert world.reasons(story) == (Verdict.INVALID, {reason})


def test_many_batches_come_in_pages(
    world: World, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.client.journals.PAGE_SIZE", 2)
    story.stop()
    world.register(story, *range(1, 6))
    assert world.reasons(story) == (Verdict.VALID, set())
    assert world.liar.count("JournalService/ListBatches") == 4
    assert bytes.fromhex(story.shim_id) in list(world.auditor.shims())


def test_a_shim_that_nobody_knows_is_told_apart(world: World) -> None:
    with pytest.raises(NotFoundError) as caught:
        world.auditor.audit(bytes(16), POLICY, NOON)
    assert caught.value.reason is Reason.UNKNOWN_SHIM


@pytest.mark.usefixtures("lenient")
def test_a_hole_that_node_and_registry_agreed_on_is_proven(world: World, story: Story) -> None:
    story.skip(4)
    story.call()
    story.stop()
    world.register(story, 5)
    assert world.reasons(story) == (Verdict.INVALID, {Reason.SEQUENCE_GAP})


def only(*kept: int) -> Callable[[bytes], bytes]:
    """The first answer about batches with only these of them; the next ones are empty."""
    wanted = list(kept)

    def change(raw: bytes) -> bytes:
        answer = pb.ListBatchesResponse.FromString(raw)
        left = [item for number, item in enumerate(answer.batches) if number in wanted]
        wanted.clear()
        return pb.ListBatchesResponse(batches=left).SerializeToString()

    return change


def test_a_batch_that_is_withheld_breaks_the_chain(world: World, story: Story) -> None:
    story.stop()
    world.register(story, 2, 4)
    world.liar.answers["JournalService/ListBatches"] = only(0, 2)
    verdict, reasons = world.reasons(story)
    assert verdict is Verdict.INVALID
    assert {Reason.BATCH_CHAIN, Reason.SEQUENCE_GAP} <= reasons


def test_a_tail_that_is_withheld_looks_like_silence(world: World, story: Story) -> None:
    for _ in range(3):
        story.later(60)
        story.beat()
    world.register(story, 5)
    assert world.reasons(story) == (Verdict.VALID, set())
    world.liar.answers["JournalService/ListBatches"] = only(0)
    assert world.reasons(story) == (Verdict.INDETERMINATE, {Reason.SHIM_SILENT})


def test_records_that_are_withheld_leave_it_open(world: World, story: Story) -> None:
    story.stop()
    world.register(story, 2)
    world.liar.requests["ArtifactService/Download"] = lambda _raw: DownloadRequest(
        sha256=bytes(32)
    ).SerializeToString()
    assert world.reasons(story) == (Verdict.INDETERMINATE, {Reason.UNKNOWN_BLOB})


def test_a_registry_that_shows_the_batches_of_another_shim_is_found_out(
    world: World, story: Story
) -> None:
    other = Story(shim_id=sha256(story.shim_id.encode()).hex()[:32])
    other.boot()
    world.register(story)
    world.register(other)
    world.liar.requests["JournalService/ListBatches"] = lambda _raw: pb.ListBatchesRequest(
        shim_id=bytes.fromhex(other.shim_id)
    ).SerializeToString()
    with pytest.raises(VerificationError):
        world.reasons(story)


def test_a_registry_that_shows_one_batch_for_ever_is_found_out(world: World, story: Story) -> None:
    world.register(story)
    world.liar.requests["JournalService/ListBatches"] = lambda _raw: pb.ListBatchesRequest(
        shim_id=bytes.fromhex(story.shim_id)
    ).SerializeToString()
    with pytest.raises(VerificationError):
        world.reasons(story)


@pytest.mark.parametrize("shown", [[b"x" * 15], [b"b" * 16, b"a" * 16], [b"a" * 16] * 2])
def test_shims_out_of_order_are_refused(world: World, shown: list[bytes]) -> None:
    world.liar.answers["JournalService/ListShims"] = lambda _raw: pb.ListShimsResponse(
        shim_ids=shown
    ).SerializeToString()
    with pytest.raises(VerificationError):
        list(world.auditor.shims())


# --- One receipt ---


def test_a_receipt_that_exists_is_shown_with_its_outcome(world: World, story: Story) -> None:
    story.attached(1)
    world.register(story, 2)
    found = world.auditor.receipt(bytes.fromhex(story.shim_id), 1)
    assert found.verdict is Verdict.VALID
    assert found.record is not None
    assert (found.record.kind, found.record.position) == ("intent", 1)
    assert [(item.n, item.kind, item.position) for item in found.about] == [
        (2, "completion", 0),
        (5, "attached", 3),
    ]


def test_a_receipt_belongs_to_the_answer_that_it_came_with(world: World, story: Story) -> None:
    private = inference.Private(retention_class="a", output="committed")
    hidden = story.complete(story.intent(), private=private) - 1
    failed = story.failed(story.intent()) - 1
    world.register(story)
    shim_id = bytes.fromhex(story.shim_id)
    own, other = sha256(b"1"), sha256(b"an answer of a copy of this shim")

    def told(n: int, *outputs: bytes) -> tuple[Verdict, str]:
        found = world.auditor.receipt(shim_id, n, outputs)
        return found.verdict, found.reason

    assert told(1, own) == told(1, other, own) == (Verdict.VALID, "")
    assert told(1, other) == (Verdict.INVALID, Reason.RECEIPT_REUSED)
    assert told(hidden, other) == (Verdict.INDETERMINATE, Reason.OUTPUT_HIDDEN)
    assert told(failed, other) == (Verdict.INDETERMINATE, Reason.UNKNOWN_OUTPUT)


def test_a_call_without_an_outcome_is_not_known_to_have_ended(world: World, story: Story) -> None:
    n = story.intent()
    world.register(story)
    found = world.auditor.receipt(bytes.fromhex(story.shim_id), n)
    assert (found.verdict, found.reason) == (Verdict.INDETERMINATE, Reason.INTENT_OPEN)


def test_a_number_that_is_no_call_provably_has_no_receipt(world: World, story: Story) -> None:
    world.register(story)
    found = world.auditor.receipt(bytes.fromhex(story.shim_id), 0)
    assert (found.verdict, found.reason) == (Verdict.INVALID, Reason.NOT_A_CALL)
    assert found.record is not None


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("n", [5, 6, 8])
def test_a_receipt_that_is_missing_is_proven_by_the_batches_around_it(
    world: World, story: Story, n: int
) -> None:
    story.skip(4)
    story.call()
    world.register(story, 5)
    found = world.auditor.receipt(bytes.fromhex(story.shim_id), n)
    assert (found.verdict, found.reason) == (Verdict.INVALID, Reason.SEQUENCE_GAP)
    assert found.missing == Range(first=5, last=8)
    assert found.before is not None
    assert found.after is not None
    assert found.before < found.after


@pytest.mark.usefixtures("lenient")
def test_a_receipt_before_the_first_batch_is_proven_missing(world: World) -> None:
    story = Story(shim_id="7" * 32)
    story.skip(3)
    story.boot(previous_boot_id="0" * 32, prev_stop="clean")
    world.register(story)
    found = world.auditor.receipt(bytes.fromhex(story.shim_id), 1)
    assert (found.verdict, found.missing) == (Verdict.INVALID, Range(first=0, last=2))
    assert found.before is None


def test_a_receipt_beyond_the_end_is_not_known(world: World, story: Story) -> None:
    world.register(story)
    found = world.auditor.receipt(bytes.fromhex(story.shim_id), 5)
    assert (found.verdict, found.reason) == (Verdict.INDETERMINATE, Reason.NOT_REGISTERED)


def test_a_receipt_that_the_registry_denies_is_found_in_the_chain(
    world: World, story: Story
) -> None:
    world.register(story, 2, 4)
    world.liar.requests["JournalService/GetRecord"] = lambda _raw: pb.GetRecordRequest(
        shim_id=bytes(16), n=1
    ).SerializeToString()
    world.liar.answers["JournalService/ListBatches"] = only(1)
    with pytest.raises(VerificationError) as caught:
        world.auditor.receipt(bytes.fromhex(story.shim_id), 3)
    assert caught.value.reason is Reason.SUBJECT_MISMATCH


def test_an_error_that_is_no_answer_is_passed_on(world: World, story: Story) -> None:
    world.register(story)
    world.liar.fail["JournalService/GetRecord"] = (grpc.StatusCode.UNAVAILABLE, 9)
    with pytest.raises(UnavailableError):
        world.auditor.receipt(bytes.fromhex(story.shim_id), 1)
