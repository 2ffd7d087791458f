"""One history: whatever a log shows a shim must extend what it showed before."""

from dataclasses import dataclass, field
from typing import cast

import pytest

from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.errors import Reason, VerificationError
from registry.shim.one_history import OneHistory
from registry.shim.ports import Registry

OURS, THEIRS = b"a" * 32, b"b" * 32


def head(size: int, root: bytes = OURS) -> Checkpoint:
    return Checkpoint("log.example", size, root)


@dataclass
class Log:
    """Extends each head that it is asked about by what a test says; proofs are believed here."""

    extends: dict[Checkpoint, Checkpoint] = field(default_factory=dict)
    asked: list[Checkpoint] = field(default_factory=list)

    def consistency(self, before: Checkpoint) -> SignedCheckpoint:
        self.asked.append(before)
        return SignedCheckpoint(self.extends.get(before, before), b"")


def history(log: Log) -> OneHistory:
    return OneHistory(cast("Registry", log))


def refused(one: OneHistory, shown: Checkpoint) -> None:
    with pytest.raises(VerificationError) as caught:
        one.follow(shown)
    assert caught.value.reason is Reason.FORK


def test_what_is_seen_first_is_believed_and_remembered() -> None:
    log = Log({head(4): head(6)})
    one = history(log)
    one.follow(head(4))
    assert log.asked == []
    one.follow(head(6))
    assert log.asked == [head(4)]
    # And goes on from what was seen last.
    one.follow(head(6))
    assert log.asked[-1] == head(6)


def test_what_an_earlier_run_saw_is_gone_on_from() -> None:
    log = Log({head(4): head(5)})
    one = history(log)
    one.begin(head(4))
    refused(one, head(5, THEIRS))
    assert log.asked == [head(4)]


def test_a_log_that_has_grown_meanwhile_extends_both() -> None:
    log = Log({head(4): head(9), head(6): head(9)})
    one = history(log)
    one.begin(head(4))
    one.follow(head(6))
    assert log.asked == [head(4), head(6)]
    one.follow(head(9))
    assert log.asked[-1] == head(9)


def test_a_receipt_of_a_smaller_tree_of_another_history_is_a_fork() -> None:
    log = Log({head(4): head(9), head(6, THEIRS): head(9, THEIRS)})
    one = history(log)
    one.begin(head(4))
    refused(one, head(6, THEIRS))


def test_what_was_refused_is_not_gone_on_from() -> None:
    log = Log({head(4): head(5)})
    one = history(log)
    one.begin(head(4))
    refused(one, head(5, THEIRS))
    refused(one, head(5, THEIRS))
    assert log.asked == [head(4), head(4)]
