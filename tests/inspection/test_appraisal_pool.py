"""Appraisals are carried out in other processes, and whatever becomes of those is an answer."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from registry.core.evidence.appraisal import Question
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.intel.rules import RULES as INTEL
from registry.core.evidence.policy import NamedRoot, Policy
from registry.core.evidence.result import Material, Verifier
from registry.core.evidence.roots import Roots, Vendor
from registry.core.evidence.validity import LATEST
from registry.core.verdict import Verdict
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.inspection import appraisal_exchange as exchange
from registry.inspection.appraisal_exchange import Task, read_message, write_message
from registry.inspection.appraisal_pool import COMMAND, AppraisalPool
from tools.fake_vendor import intel, nitro, nvidia

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def task(family: str = "no-such-family", evidence: bytes = b"evidence") -> Task:
    policy = Policy(name="acme/test", family="aws-nitro")  # type: ignore[arg-type]  # as JSON has it
    material = Material(evidence, Endorsements(), policy)
    return Task(family, material, Question(), NOON, Verifier(build="test", developer="test"))


@contextmanager
def pool(script: str | None = None, workers: int = 1, **limits: Any) -> Iterator[AppraisalPool]:
    command = COMMAND if script is None else [sys.executable, "-I", "-c", script]
    opened = AppraisalPool(workers, command=command, **limits)
    try:
        yield opened
    finally:
        opened.close()


def refusal(opened: AppraisalPool) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        opened.appraise(task())
    return caught.value


def test_a_real_worker_says_what_is_wrong() -> None:
    with pool() as opened:
        for _ in range(2):
            error = refusal(opened)
            assert isinstance(error, MalformedError)
            assert (error.reason, error.actual) == (Reason.UNKNOWN_FAMILY, "no-such-family")


def test_a_real_worker_asks_the_second_engine_though_it_can_open_nothing() -> None:
    pytest.importorskip("dcap_qvl", reason="the second engine is not installed (extra dcap)")

    def odd(info: dict[str, Any]) -> dict[str, Any]:
        # Our engine reads the levels that count, the other one all of them.
        strange = intel.level((0,), "Strange", tdx=(0,))
        return {**info, "tcbLevels": [*info["tcbLevels"], strange]}

    with pool() as opened:
        for edit, disputed in ((dict, False), (odd, True)):
            minted = intel.mint(intel.Spec(tcb_info=edit))
            root = NamedRoot(vendor=Vendor.INTEL_SGX, sha256=next(iter(minted.roots.named))[1])
            skipped = tuple(INTEL.references)
            policy = Policy(name="t", family=INTEL.family, skip=skipped, roots=(root,))
            material = Material(minted.evidence, minted.endorsements, policy)
            verifier = Verifier(build="test", developer="test")
            asked = Task("intel-dcap", material, Question(), intel.NOON, verifier)
            said = opened.appraise(asked).submods[INTEL.family]
            assert bool(said.disputed) is disputed
            assert said.verdict is (Verdict.INDETERMINATE if disputed else Verdict.VALID)


def test_a_worker_that_dies_of_a_task_is_answered_and_replaced() -> None:
    with pool("import sys; sys.stdin.buffer.read(4); sys.exit(7)") as opened:
        for _ in range(2):
            error = refusal(opened)
            assert isinstance(error, LimitExceededError)
            assert error.reason is Reason.APPRAISAL_LIMIT


def test_a_worker_that_hangs_is_killed() -> None:
    short = timedelta(seconds=0.2)
    with pool("import time; time.sleep(60)", time_limit=short, start_limit=short) as opened:
        before = time.monotonic()
        assert refusal(opened).reason is Reason.APPRAISAL_LIMIT
        assert time.monotonic() - before < 10


def test_a_worker_that_was_killed_between_tasks_is_replaced_unseen() -> None:
    with pool() as opened:
        assert refusal(opened).reason is Reason.UNKNOWN_FAMILY
        process = opened._all[0]._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert refusal(opened).reason is Reason.UNKNOWN_FAMILY


@pytest.mark.parametrize(
    "answer",
    [b"", b"\0\0\0\1", b"\xff\xff\xff\xff", b"\0\0\0\1\xff\xff\xff\xff"],
    ids=["nothing", "no part", "many parts", "a huge part"],
)
def test_a_worker_that_answers_no_message_is_replaced(answer: bytes) -> None:
    script = f"import sys; sys.stdin.buffer.read(4); sys.stdout.buffer.write({answer!r})"
    with pool(script) as opened:
        assert refusal(opened).reason is Reason.APPRAISAL_LIMIT


def test_a_worker_that_answers_nonsense_is_our_mistake() -> None:
    message = write_message([b"nonsense"])
    script = f"import sys; sys.stdin.buffer.read(4); sys.stdout.buffer.write({message!r})"
    with pool(script) as opened:
        assert refusal(opened).reason is Reason.INTERNAL


def test_only_so_many_may_wait() -> None:
    limits: dict[str, Any] = {
        # The pool is closed long before.
        "time_limit": timedelta(seconds=60),
        "max_waiting": 1,
        "wait_limit": timedelta(seconds=0.2),
    }
    with pool("import time; time.sleep(60)", **limits) as opened:
        first = threading.Thread(target=refusal, args=(opened,))
        first.start()
        while opened._idle.qsize():
            time.sleep(0.01)
        # One may wait, but not for long.
        error = refusal(opened)
        assert isinstance(error, UnavailableError)
        assert error.reason is Reason.APPRAISAL_BUSY
        opened._waiting += 1
        assert refusal(opened).reason is Reason.APPRAISAL_BUSY
        opened.close()
        first.join(10)


def test_a_closed_pool_starts_nothing() -> None:
    with pool() as opened:
        opened.close()
        assert refusal(opened).reason is Reason.APPRAISAL_BUSY
        assert opened._all[0]._process is None


def test_a_pool_that_is_closed_while_a_worker_starts_leaves_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: Any, **options: Any) -> "subprocess.Popen[bytes]":
        closing.start()
        while not opened._all[0]._closed:
            time.sleep(0.001)
        started.append(real(*words, **options))
        return started[0]

    real = subprocess.Popen
    with pool("import time; time.sleep(60)") as opened:
        closing = threading.Thread(target=opened.close)
        monkeypatch.setattr(subprocess, "Popen", start)
        assert refusal(opened).reason is Reason.APPRAISAL_BUSY
        closing.join()
        assert [process.poll() for process in started] == [-signal.SIGKILL]


def test_workers_are_replaced_after_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.inspection.appraisal_pool.MAX_TASKS", 2)
    with pool() as opened:
        pids = set()
        for _ in range(4):
            refusal(opened)
            process = opened._all[0]._process
            assert process is not None
            pids.add(process.pid)
        assert len(pids) == 2


def test_too_large_a_message_is_refused_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_MESSAGE_BYTES", 100)
    with pool() as opened:
        error = refusal(opened)
        assert error.reason is Reason.APPRAISAL_LIMIT
        assert opened._all[0]._process is None


def test_a_task_arrives_as_it_was_sent() -> None:
    sent = task()
    message = write_message(sent.to_parts())
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        position += count
        return message[position - count : position]

    parts = read_message(read)
    assert parts is not None
    assert Task.of_parts(parts) == sent
    assert read_message(read) is None


@pytest.mark.parametrize("change", [1, -1], ids=["more", "fewer"])
def test_a_task_with_another_number_of_parts_is_refused(change: int) -> None:
    parts = task().to_parts()
    with pytest.raises(MalformedError) as caught:
        Task.of_parts([*parts, b"more"] if change > 0 else parts[:change])
    assert caught.value.reason is Reason.MALFORMED_FIELD


def test_a_task_after_the_last_moment_is_refused() -> None:
    [header, *rest] = task().to_parts()
    at = b'"at":%d' % int(NOON.timestamp())
    assert at in header
    late = header.replace(at, b'"at":%d' % (int(LATEST.timestamp()) + 1))
    with pytest.raises(MalformedError) as caught:
        Task.of_parts([late, *rest])
    assert caught.value.reason is Reason.BAD_TIME


def minted(family: Family) -> tuple[bytes, Endorsements, Roots]:
    """Good evidence of a family, as the fake vendor makes it at noon on 1 June 2026."""
    if family is Family.INTEL_DCAP:
        quote = intel.mint(intel.Spec())
        return quote.evidence, quote.endorsements, quote.roots
    if family is Family.AWS_NITRO:
        document = nitro.mint()
        return document.evidence, document.endorsements, document.roots
    report = nvidia.mint()
    return report.evidence, report.endorsements, report.roots


@pytest.mark.parametrize("family", [Family.INTEL_DCAP, Family.AWS_NITRO, Family.NVIDIA_SPDM])
def test_a_worker_that_can_open_nothing_judges_as_this_process_does(family: Family) -> None:
    if family is Family.NVIDIA_SPDM:
        pytest.importorskip("signxml", reason="the extra nvidia is not installed")
    evidence, endorsements, roots = minted(family)
    policy = Policy(
        name="test",
        family=family,
        skip=tuple(FAMILIES[family].references),
        roots=tuple(NamedRoot(vendor=vendor, sha256=sha256) for vendor, sha256 in roots.named),
    )
    asked = Task(
        family,
        Material(evidence, endorsements, policy),
        Question(),
        datetime(2026, 6, 1, 12, tzinfo=UTC),
        Verifier(build="test", developer="test"),
    )
    with pool() as opened:
        apart = opened.appraise(asked)
    assert apart == asked.carry_out()
    assert apart.submods[family].verdict is Verdict.VALID


def confined(action: str) -> str:
    """A real worker that does something else than to judge."""
    return (
        f"import sys; sys.path.insert(0, {COMMAND[-1]!r}); "
        "import registry.inspection.appraisal_worker as worker; "
        f"worker.Task.carry_out = lambda self: {action}; worker.main()"
    )


@pytest.mark.parametrize(
    "action",
    [
        "open('/etc/passwd')",
        "__import__('socket').socket()",
        "__import__('os').fork()",
        "__import__('subprocess').Popen(['/bin/true'])",
    ],
    ids=["file", "socket", "fork", "program"],
)
def test_a_worker_opens_no_file_and_no_socket_and_starts_nothing(action: str) -> None:
    if "fork" in action and os.geteuid() == 0:
        pytest.skip("the limit of processes does not bind root")
    with pool(confined(action)) as opened:
        error = refusal(opened)
    assert error.reason is Reason.INTERNAL
    assert error.actual in ("OSError", "PermissionError", "BlockingIOError", "ImportError")


def test_too_much_memory_is_an_answer_and_the_worker_lives_on() -> None:
    with pool(confined("bytes(1 << 31)")) as opened:
        for _ in range(2):
            error = refusal(opened)
            assert isinstance(error, LimitExceededError)
            assert "memory" in error.what
        process = opened._all[0]._process
        assert process is not None
        assert process.poll() is None


def test_workers_end_with_the_process_that_started_them() -> None:
    with pool() as opened:
        refusal(opened)
        process = opened._all[0]._process
        assert process is not None
        assert process.stdin is not None
        # As if that process had been killed: the system closes its end of the pipe.
        process.stdin.close()
        assert process.wait(10) == 0
