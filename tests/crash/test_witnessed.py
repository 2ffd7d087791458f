"""Killed again and again while a witness watches: it sees one tree that only grows.

With a log that fails closed, whatever was acknowledged carries the witness's signature, and is
shown again after every kill: the second checkpoint slot is as durable as the log.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.policy import Policy
from registry.core.tlog.receipt import Receipt
from registry.core.tlog.witnessing import log_id
from tests.crash.test_kill import (
    Memory,
    Writer,
    check,
    check_nothing_is_doubled,
    write_until_killed,
)
from tests.forking import provreg
from tests.running import STOP_SECONDS, Running, address_in, running_registry
from tests.watched import watching

KILLS = 4
"""Kills while clients write and the witness is asked."""

WRITING_SECONDS = (0.05, 0.9)
"""How long clients write before a kill."""

SEED = 20_261_125


@dataclass
class WitnessedMemory(Memory):
    """Takes nothing for acknowledged that the policy does not accept."""

    policy: Policy | None = None

    def acknowledge(self, body: bytes, receipt: Receipt) -> None:
        if self.policy is not None:
            self.policy.verify(receipt.head.note)
        super().acknowledge(body, receipt)


@contextmanager
def serving(data: Path, *arguments: str) -> Iterator[Running]:
    given = ("serve", "--data", data, "--listen", "127.0.0.1:0", *arguments)
    with provreg(*given, stdout=True) as process:
        try:
            assert process.stdout is not None
            address = address_in(process.stdout.readline())
            assert address, "the registry did not start"
            yield Running(address, address_in(process.stdout.readline()), data, process)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


@pytest.mark.parametrize("mode", ["fail-open", "fail-closed"])
def test_a_witness_sees_one_growing_tree_whatever_is_killed(tmp_path: Path, mode: str) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a test's choices, repeatable
    data = tmp_path / "data"
    with running_registry(data) as registry:
        acme = registry.admit("acme", "publisher", namespaces=["acme/*"])
    key = VerifierKey.parse((data / "log.vkey").read_text().strip())
    with watching(tmp_path, key) as witness:
        text = f"log {key}\n{witness.line}quorum {witness.name}\n"
        (tmp_path / "policy").write_text(text)
        closed = mode == "fail-closed"
        memory = WitnessedMemory(key, policy=Policy.parse(text.encode()) if closed else None)
        writers = [Writer(memory, acme, number) for number in (1, 2)]
        given = ("--witness-policy", str(tmp_path / "policy"), "--witness-mode", mode)
        seen = 0
        for number in range(KILLS):
            with serving(data, *given) as registry:
                if memory.items:
                    check(registry.address, memory, acme, memory.items, list(memory.heads.values()))
                seconds = chance.uniform(*WRITING_SECONDS)
                write_until_killed(registry, writers, seconds, answered=number % 2 == 0)
            last = newest(witness.witness.latest(log_id(key.name)))
            assert last >= seen
            seen = last
        with serving(data, *given) as registry:
            # A witness that saw anything else would have made the log latch.
            ends = time.monotonic() + STOP_SECONDS
            while newest(witness.witness.latest(log_id(key.name))) < max(memory.heads):
                assert time.monotonic() < ends
                time.sleep(0.05)
            check(registry.address, memory, acme, memory.items, list(memory.heads.values()))
            check_nothing_is_doubled(registry, memory, acme)
    assert min(writer.count for writer in writers) >= KILLS // 2
    assert seen > 0


def newest(note: bytes | None) -> int:
    return 0 if note is None else SignedCheckpoint.parse(note).checkpoint.size
