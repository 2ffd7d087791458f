"""Health: green while a shim records and delivers as it should, red with the reason if not."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.errors import Reason, UnavailableError
from registry.shim import health_listener
from registry.shim.app import Shim, Timing
from registry.shim.health import Health, Trouble, Watched
from registry.shim.health_listener import telling
from registry.shim.serving import Listen
from tests.shim.world import MemoryRegistry, call, running

WAIT_SECONDS = 20.0


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry.build()


@pytest.fixture
def shim(tmp_path: Path, registry: MemoryRegistry) -> Iterator[Shim]:
    with running(tmp_path / "shim", registry, timing=Timing(60, 0, 0)) as shim:
        yield shim


def watched(shim: Shim, *, behind_seconds: float = 60, **checks: Callable[[], None]) -> Watched:
    return Watched(shim, "stream", checks, behind_seconds)


def until(health: Callable[[], Health], status: str) -> Health:
    """Ask until it is this."""
    end = time.monotonic() + WAIT_SECONDS
    while (found := health()).status != status:
        assert time.monotonic() < end, found
        time.sleep(0.005)
    return found


def reasons(found: Health) -> list[tuple[str, str]]:
    return [(trouble.part, trouble.reason) for trouble in found.troubles]


def test_a_shim_that_works_is_green_and_says_how_far_it_is(shim: Shim) -> None:
    call(shim.recorder, b"x")
    shim.flush(10)
    found = watched(shim, model=lambda: None).health()
    assert (found.status, found.troubles, found.checks) == ("green", (), ("model",))
    assert (found.next_n, found.durable_n, found.registered_n) == (3, 3, 3)
    assert (found.behind_ms, found.unrecorded, found.shim_id) == (0, 0, shim.shim_id)


def test_a_registry_that_is_gone_for_a_moment_changes_nothing(
    shim: Shim, registry: MemoryRegistry
) -> None:
    registry.down.set()
    call(shim.recorder, b"x")
    assert watched(shim).health().status == "green"


def test_records_that_wait_too_long_for_the_registry_turn_it_red_until_they_are_in(
    shim: Shim, registry: MemoryRegistry
) -> None:
    registry.down.set()
    call(shim.recorder, b"x")
    health = watched(shim, behind_seconds=0.05).health
    found = until(health, "red")
    assert reasons(found) == [("registry", Reason.UNREACHABLE)]
    assert found.behind_ms >= 50  # whole milliseconds
    registry.down.clear()
    assert until(health, "green").registered_n == 3


def test_a_registry_that_does_not_answer_at_all_turns_it_red(
    shim: Shim, registry: MemoryRegistry
) -> None:
    with registry._lock:
        call(shim.recorder, b"x")
        found = until(watched(shim, behind_seconds=0.05).health, "red")
    assert reasons(found) == [("registry", Reason.DEADLINE)]


def test_a_registry_that_refuses_turns_it_red_at_once(shim: Shim, registry: MemoryRegistry) -> None:
    registry.records[shim.shim_id] = [b"the records of another shim"]
    call(shim.recorder, b"x")
    found = until(watched(shim).health, "red")
    assert [trouble.part for trouble in found.troubles] == ["registry"]


def test_a_check_that_fails_turns_it_red_with_its_reason(shim: Shim) -> None:
    def check() -> None:
        raise UnavailableError(Reason.WRONG_MODEL_FILE, "a file changed", where="w" * 1000)

    found = watched(shim, model=check).health()
    assert reasons(found) == [("model", Reason.WRONG_MODEL_FILE)]
    assert len(found.troubles[0].detail) == 400


def test_calls_that_were_not_written_down_turn_it_red_until_a_record_tells(shim: Shim) -> None:
    shim.unrecorded.add()
    found = watched(shim).health()
    assert (reasons(found), found.unrecorded) == ([("journal", Reason.UNRECORDED_CALLS)], 1)
    shim.heartbeat._beat()
    assert watched(shim).health().status == "green"


def test_a_disk_that_hangs_turns_it_red(
    tmp_path: Path, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, real = threading.Event(), os.fdatasync

    def sync(descriptor: int) -> None:
        if threading.current_thread().name == "journal":
            hanging.wait(WAIT_SECONDS)
        real(descriptor)

    often = Timing(heartbeat=0.01, drain=0, farewell=0)
    with running(tmp_path / "shim", registry, timing=often) as shim:
        assert watched(shim).health().status == "green"
        monkeypatch.setattr(os, "fdatasync", sync)
        monkeypatch.setattr("registry.shim.health.OVERDUE_SECONDS", 0.05)
        found = until(watched(shim).health, "red")
        assert reasons(found) == [("journal", Reason.HEARTBEAT_GAP)]
        hanging.set()
        until(watched(shim).health, "green")


def test_a_journal_that_failed_turns_it_red_for_good(
    shim: Shim, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UnavailableError):
        call(shim.recorder, b"x")
    monkeypatch.undo()
    found = watched(shim).health()
    assert ("journal", Reason.JOURNAL_LATCHED) in reasons(found)
    assert "No space left" in found.troubles[0].detail


# --- Over HTTP ---

GREEN = Health(
    status="green",
    shim_id="5" * 32,
    mode="stream",
    next_n=0,
    durable_n=0,
    registered_n=0,
    behind_ms=0,
    attempts=0,
    unrecorded=0,
    checks=(),
    troubles=(),
)
RED = Health(
    **{name: getattr(GREEN, name) for name in GREEN.__struct_fields__}
    | {"status": "red", "troubles": (Trouble(part="x", reason="Y", detail="z"),)}
)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever the other side did to it."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def ask(question: bytes, health: Health = GREEN) -> bytes:
    """What is answered to these bytes."""

    async def asking() -> bytes:
        async with telling(Listen("127.0.0.1", 0), lambda: health) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(question)
            if not question.endswith(b"\r\n\r\n"):
                writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), WAIT_SECONDS)
            await closed(writer)
            return answer

    return asyncio.run(asking())


def test_green_is_200_and_red_is_503_with_the_reasons() -> None:
    assert ask(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
    red = ask(b"GET /health?verbose HTTP/1.0\r\n\r\n", RED)
    assert red.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b'"troubles":[{"detail":"z","part":"x","reason":"Y"}]' in red


def test_only_the_head_is_answered_to_head() -> None:
    answer = ask(b"HEAD /health HTTP/1.1\r\n\r\n", RED)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("question", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /health/ HTTP/1.1\r\n\r\n", 404),
        (b"POST /health HTTP/1.1\r\n\r\n", 405),
        (b"GET /health\r\n\r\n", 400),
        (b"GET /health HTTP/2\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhalf", 400),
        (b"GET /health HTTP/1.1\r\n" + b"x: y\r\n" * 2000 + b"\r\n", 400),
    ],
    ids=["no path", "another", "method", "no version", "version", "nothing", "half", "long"],
)
def test_anything_else_is_refused(question: bytes, status: int) -> None:
    assert ask(question).startswith(b"HTTP/1.1 %d " % status)


def test_a_question_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_listener, "ANSWER_SECONDS", 0.05)

    async def asking() -> bytes:
        async with telling(Listen("127.0.0.1", 0), lambda: GREEN) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health")
            answer = await asyncio.wait_for(reader.read(), WAIT_SECONDS)
            await closed(writer)
            return answer

    assert asyncio.run(asking()) == b""


def test_too_many_who_ask_at_once_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_listener, "MAX_ASKING", 1)

    async def asking() -> bytes:
        async with telling(Listen("127.0.0.1", 0), lambda: GREEN) as port:
            _, first = await asyncio.open_connection("127.0.0.1", port)
            reader, second = await asyncio.open_connection("127.0.0.1", port)
            second.write(b"GET /health HTTP/1.1\r\n\r\n")
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                answer = await asyncio.wait_for(reader.read(), WAIT_SECONDS)
            await closed(first)
            await closed(second)
            return answer

    assert asyncio.run(asking()) == b""


def test_an_address_that_is_taken_is_told() -> None:
    async def twice() -> None:
        async with (
            telling(Listen("127.0.0.1", 0), lambda: GREEN) as port,
            telling(Listen("127.0.0.1", port or 0), lambda: GREEN),
        ):
            pass

    with pytest.raises(UnavailableError) as caught:
        asyncio.run(twice())
    assert caught.value.reason is Reason.UNREACHABLE


def test_without_an_address_nobody_is_told() -> None:
    async def none() -> int | None:
        async with telling(None, lambda: GREEN) as port:
            return port

    assert asyncio.run(none()) is None
