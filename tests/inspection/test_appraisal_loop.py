"""A loop waits for appraisals without a thread, and learns whatever becomes of them."""

import asyncio
import os
import signal
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import LimitExceededError, Reason, RegistryError
from registry.inspection.appraisal_exchange import (
    MAX_MESSAGE_BYTES,
    Arriving,
    read_message,
    write_message,
)
from registry.inspection.appraisal_pool import AppraisalPool
from tests.inspection.test_appraisal_pool import pool, refusal, task

SECONDS = 60


def asked(opened: AppraisalPool, evidence: bytes = b"evidence") -> Reason | None:
    """Why a loop is refused; None if a thread must ask."""

    async def ask() -> Reason | None:
        begun = opened.begin(task(evidence=evidence))
        if begun is None:
            return None
        with pytest.raises(RegistryError) as caught:
            await asyncio.wait_for(begun, SECONDS)
        return caught.value.reason

    return asyncio.run(ask())


def test_nothing_is_begun_where_a_process_must_be_started_first() -> None:
    with pool() as opened:
        assert asked(opened) is None
        refusal(opened)
        for _ in range(3):
            assert asked(opened) is Reason.UNKNOWN_FAMILY
        # And threads may ask as before.
        assert refusal(opened).reason is Reason.UNKNOWN_FAMILY


def test_nothing_is_begun_that_does_not_fit_into_the_pipe() -> None:
    with pool() as opened:
        refusal(opened)
        assert asked(opened, bytes(1024 * 1024)) is None
        assert asked(opened) is Reason.UNKNOWN_FAMILY


def test_nothing_is_begun_while_all_are_at_work() -> None:
    with pool() as opened:
        refusal(opened)

        async def both() -> None:
            first = opened.begin(task())
            assert opened.begin(task()) is None
            assert first is not None
            with pytest.raises(RegistryError):
                await asyncio.wait_for(first, SECONDS)
            assert not opened._idle.empty()

        asyncio.run(both())


def test_a_process_that_died_unseen_is_replaced_by_whoever_asks_next() -> None:
    with pool() as opened:
        refusal(opened)
        process = opened._all[0]._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert asked(opened) is None
        assert refusal(opened).reason is Reason.UNKNOWN_FAMILY
        assert asked(opened) is Reason.UNKNOWN_FAMILY


DIES = """
import sys
from registry.inspection.appraisal_exchange import read_message, write_message
read_message(sys.stdin.buffer.read)
sys.stdout.buffer.write(write_message([b"{}"]))
sys.stdout.buffer.flush()
"""


@pytest.mark.parametrize(
    "then",
    [
        "sys.stdin.buffer.read(4); sys.exit(7)",
        "sys.stdin.buffer.read(4); sys.stdout.buffer.write(bytes(3)); sys.exit(7)",
        "sys.stdin.buffer.read(4); sys.stdout.buffer.write(bytes([0, 0, 0, 1, 0, 0, 0, 9]))",
        "sys.stdin.buffer.read(4); sys.stdout.buffer.write(bytes([255] * 9))",
        "import time; time.sleep(60)",
    ],
    ids=["nothing", "less than a header", "a part", "too much", "never"],
)
def test_what_becomes_of_a_process_is_told_and_it_is_replaced(then: str) -> None:
    path = repr(str(os.getcwd()))  # noqa: PTH109 - what a child needs is text
    script = f"import sys; sys.path.insert(0, {path}){DIES}{then}"
    short = timedelta(seconds=0.5)
    with pool(script, time_limit=short, start_limit=timedelta(seconds=SECONDS)) as opened:
        assert refusal(opened).reason is Reason.INTERNAL
        before = time.monotonic()
        assert asked(opened) is Reason.APPRAISAL_LIMIT
        assert time.monotonic() - before < SECONDS / 2
        assert opened._all[0]._process is None
        assert refusal(opened).reason is Reason.INTERNAL


def test_whoever_goes_away_takes_no_worker_with_them() -> None:
    with pool() as opened:
        refusal(opened)

        async def leave() -> None:
            begun = opened.begin(task())
            assert begun is not None
            begun.cancel()
            for _ in range(100 * SECONDS):
                again = opened.begin(task())
                if again is not None:
                    break
                await asyncio.sleep(0.01)
            assert again is not None
            with pytest.raises(RegistryError):
                await again

        asyncio.run(leave())


def test_a_pool_closes_though_a_loop_ended_that_was_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("registry.inspection.appraisal_pool.STOP_SECONDS", 0.2)
    with pool() as opened:
        refusal(opened)
        process = opened._all[0]._process

        async def abandon() -> None:
            assert opened.begin(task()) is not None

        asyncio.run(abandon())
    assert process is not None
    assert process.poll() is not None


def test_an_appraisal_that_is_too_large_is_refused_at_once() -> None:
    with pool() as opened, pytest.raises(LimitExceededError):
        opened.begin(task(evidence=bytes(MAX_MESSAGE_BYTES + 1)))


@given(st.binary(max_size=40), st.lists(st.integers(1, 9), max_size=60))
def test_an_answer_is_the_same_in_whatever_pieces_it_arrives(data: bytes, sizes: list[int]) -> None:
    whole = write_message([data])
    arriving, at = Arriving(), 0
    for size in [*sizes, len(whole)]:
        piece = whole[at : at + size]
        at += size
        if arriving.add(piece):
            break
        assert arriving.message() is None
    assert arriving.message() == [data]


@given(st.binary(max_size=40))
def test_bytes_that_are_no_answer_are_none_in_the_end(data: bytes) -> None:
    arriving = Arriving()
    if not arriving.add(data):
        assert arriving.add(b"")
    left = list(data)

    def read(size: int) -> bytes:
        taken, left[:] = bytes(left[:size]), left[size:]
        return taken

    assert arriving.message() == read_message(read)
