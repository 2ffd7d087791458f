"""The three modes within a process: what a caller gets when the journal takes nothing more."""

import asyncio
import contextlib
import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.core.records import inference
from registry.errors import LimitExceededError, MalformedError, Reason, UnavailableError
from registry.shim.app import Shim
from registry.shim.proxies.onnx import RecordedSession
from registry.shim.proxies.run_answer import NOWHERE
from registry.shim.recorder.asking import Proven
from registry.shim.recorder.calls import Mode
from tests.core.profiles.test_chat import STREAMS
from tests.shim.proxies import test_httpx
from tests.shim.proxies.http_server import END, STREAM_HEAD, Script, chunk, plain
from tests.shim.proxies.test_httpx import JSON, PATH, WHOLE, httpx2
from tests.shim.proxies.test_onnx import MODES, Bench, X, bench
from tests.shim.world import kinds

__all__ = ("bench",)

ALL = pytest.mark.parametrize("mode", MODES)


def latch(shim: Shim) -> None:
    shim.sequence.journal._latch("the disk fails", [])


def fill(shim: Shim) -> None:
    """As if all that the journal may hold waited for the registry."""
    shim.sequence.journal._max_bytes = 1


def use_up(shim: Shim) -> None:
    """A full disk: the journal's next write fails, and that latches it."""

    def refuse(_: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    shim.sequence.journal._open.append = refuse  # type: ignore[method-assign,assignment]  # a full disk


TROUBLES = pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (latch, Reason.JOURNAL_LATCHED),
        (fill, Reason.JOURNAL_FULL),
        (use_up, Reason.JOURNAL_LATCHED),
    ],
    ids=["latched", "full", "disk full"],
)


def settle(shim: Shim, lost: int) -> None:
    """Wait until what is done later is done, and so many calls are counted as lost."""
    shim.sequence.journal._do_chores()
    with contextlib.suppress(UnavailableError):
        shim.sequence.beat()
    # Another thread tells of what a journal took before its disk refused it.
    ends = time.monotonic() + 20
    while shim.unrecorded.count < lost and time.monotonic() < ends:
        time.sleep(0.005)
    assert shim.unrecorded.count == lost


@ALL
@TROUBLES
def test_a_run_that_cannot_be_recorded_is_made_only_in_best_effort(
    bench: Bench, mode: Mode, trouble: Callable[[Shim], None], reason: Reason
) -> None:
    session = bench.session("linear.onnx", mode=mode)
    session.run(None, {"x": X})
    bench.shim.sequence.beat()
    trouble(bench.shim)
    if mode != "best_effort":
        with pytest.raises(UnavailableError) as caught:
            session.run(None, {"x": X})
        assert caught.value.reason is reason
        assert bench.shim.unrecorded.count == 0
        return
    assert len(session.run(None, {"x": X})) == 2
    # Whoever asks for its record learns that there is none, unless the disk refuses it only later.
    answer = session.run_recorded(None, {"x": X})
    assert answer.n == NOWHERE or trouble is use_up
    settle(bench.shim, 2)


@ALL
def test_a_journal_that_fails_during_a_run_keeps_it_back_only_in_strict(
    bench: Bench, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bench.session("linear.onnx", mode=mode, levels=bench.shim.levels)
    engine = session._session

    class Failing:
        def run(self, *asked: Any) -> Any:
            latch(bench.shim)
            return engine.run(*asked)

    monkeypatch.setattr(session, "_session", Failing())
    if mode == "strict":
        with pytest.raises(UnavailableError) as caught:
            session.run_recorded(None, {"x": X}, level="signed")
        assert caught.value.reason is Reason.JOURNAL_LATCHED
        return
    answer = session.run_recorded(None, {"x": X}, level="signed")
    assert (len(answer.outputs), answer.n) == (2, NOWHERE)
    assert answer.proven == Proven("none", Reason.JOURNAL_LATCHED)
    # In stream the intent without an outcome tells of it.
    assert bench.shim.unrecorded.count == (mode == "best_effort")


@ALL
def test_a_failing_run_is_written_down_or_counted(
    bench: Bench, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bench.session("linear.onnx", mode=mode)

    class Failing:
        def run(self, *_: Any) -> Any:
            latch(bench.shim)
            raise RuntimeError

    monkeypatch.setattr(session, "_session", Failing())
    with pytest.raises(RuntimeError):
        session.run(None, {"x": X})
    assert bench.shim.unrecorded.count == (mode == "best_effort")


@ALL
def test_a_run_that_is_interrupted_has_its_outcome(
    bench: Bench, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bench.session("linear.onnx", mode=mode)

    class Interrupted:
        def run(self, *_: Any) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setattr(session, "_session", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        session.run(None, {"x": X})
    bench.shim.sequence.beat()
    [failure] = [item for item in bench.records() if isinstance(item, inference.Failure)]
    assert failure.error == "KeyboardInterrupt"


@ALL
def test_the_record_of_a_run_says_in_which_mode_and_what_recording_took(
    bench: Bench, mode: Mode
) -> None:
    session = bench.session("linear.onnx", mode=mode)
    session.run(None, {"x": X})
    bench.shim.sequence.beat()
    [said] = [item for item in bench.records() if isinstance(item, inference.Completion)]
    course = said.course
    assert isinstance(course, inference.Course)
    assert (course.transport, course.mode) == ("in_process", mode)
    assert 0 < course.added_us <= course.total_us == course.first_us


def test_without_anybody_who_counts_there_is_no_best_effort(bench: Bench) -> None:
    with pytest.raises(MalformedError) as caught:
        RecordedSession.open(
            bench.models, "linear.onnx", bench.release, bench.shim.recorder, mode="best_effort"
        )
    assert caught.value.reason is Reason.BAD_SETTING


def test_in_best_effort_a_run_waits_for_no_disk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bench.session("linear.onnx", mode="best_effort")

    def wait(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(bench.shim.sequence.journal, "commit", wait)
    session.run(None, {"x": X})
    with pytest.raises(Exception, match=r".*"):
        session.run(None, {"x": np.zeros((1, 3), np.float32)})


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Any:
    """Asks through a recorded transport; gives the answer's headers and bytes."""

    def sync(bench: test_httpx.Bench) -> Any:
        with bench.client() as client, client.stream("POST", PATH, content=b"{}") as answer:
            return dict(answer.headers), answer.read()

    async def later(bench: test_httpx.Bench) -> Any:
        async with (
            bench.async_client() as client,
            client.stream("POST", PATH, content=b"{}") as answer,
        ):
            return dict(answer.headers), await answer.aread()

    return sync if request.param == "sync" else lambda bench: asyncio.run(later(bench))


LOAN = STREAMS["nine characters"]
ANSWERS = pytest.mark.parametrize(
    ("answer", "body"),
    [(plain(WHOLE, JSON), WHOLE), (STREAM_HEAD + chunk(LOAN) + END, LOAN)],
    ids=["document", "stream"],
)


@ALL
@TROUBLES
@ANSWERS
def test_a_call_that_cannot_be_recorded_is_made_only_in_best_effort(  # noqa: PLR0917 - a fixture each
    tmp_path: Path,
    mode: Mode,
    trouble: Callable[[Shim], None],
    reason: Reason,
    answer: bytes,
    body: bytes,
    ask: Callable[[test_httpx.Bench], Any],
) -> None:
    script = Script([answer])

    def act(bench: test_httpx.Bench) -> None:
        trouble(bench.shim)
        if mode != "best_effort":
            with pytest.raises(UnavailableError) as caught:
                ask(bench)
            assert caught.value.reason is reason
            assert script.heads == []
            return
        headers, given = ask(bench)
        assert given == body
        settle(bench.shim, 1)
        # A journal may take an intent, and the disk refuse it afterwards.
        assert "x-receipt-id" not in headers or trouble is use_up

    test_httpx.run(tmp_path, script, act, mode, ends_well=False)


@ALL
@ANSWERS
def test_a_journal_that_fails_meanwhile_keeps_an_answer_back_only_in_strict(
    tmp_path: Path,
    mode: Mode,
    answer: bytes,
    body: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sending = httpx2.HTTPTransport.handle_request

    def act(bench: test_httpx.Bench) -> None:
        def failing(self: Any, request: Any) -> Any:
            response = sending(self, request)
            latch(bench.shim)
            return response

        monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", failing)
        with bench.client() as client:
            if mode == "strict":
                with pytest.raises(UnavailableError) as caught:
                    client.post(PATH, content=b"{}")
                assert caught.value.reason is Reason.JOURNAL_LATCHED
                return
            assert client.post(PATH, content=b"{}").content == body
        settle(bench.shim, int(mode == "best_effort"))

    records = test_httpx.run(tmp_path, Script([answer]), act, mode, ends_well=False)
    # At least the intent, which the next start tells of.
    assert (
        kinds(records) == ["intent"]
        if mode != "best_effort"
        else kinds(records) in ([], ["intent"])
    )


def test_a_request_that_is_too_large_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[test_httpx.Bench], Any]
) -> None:
    monkeypatch.setattr("registry.shim.proxies.httpx.MAX_REQUEST_BYTES", 1)
    script = Script([plain(WHOLE, JSON)])

    def act(bench: test_httpx.Bench) -> None:
        with pytest.raises(LimitExceededError) as caught:
            ask(bench)
        assert caught.value.reason is Reason.BODY_TOO_LARGE
        assert script.heads == []

    assert test_httpx.run(tmp_path, script, act) == []
