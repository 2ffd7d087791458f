"""Two checkpoint slots: which one is shown, and who is told when."""

import pytest

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.errors import NotFoundError, Reason, UnavailableError
from registry.services.heads import Heads
from tests.growing import GrowingLog

LOG = GrowingLog()


def cosigned(size: int) -> SignedCheckpoint:
    head = LOG.head(size)
    return SignedCheckpoint(head.checkpoint, head.note + "— w AAAAAAAAAAAA\n".encode())


def test_an_open_log_shows_the_newest_with_cosignatures_if_it_has_them() -> None:
    heads = Heads()
    assert heads.shown is None
    heads.signed(LOG.head(3))
    assert heads.shown == LOG.head(3)
    heads.put_cosigned(cosigned(3))
    assert heads.shown == cosigned(3)
    heads.signed(LOG.head(4))
    assert heads.shown == LOG.head(4)
    assert [heads.covering(index) for index in (2, 3)] == [cosigned(3), LOG.head(4)]


def test_a_closed_log_shows_cosigned_checkpoints_only() -> None:
    heads = Heads()
    heads.hold()
    heads.signed(LOG.head(3))
    assert heads.shown is None
    heads.put_cosigned(cosigned(3))
    heads.signed(LOG.head(4))
    assert heads.shown == cosigned(3)


def test_observers_are_told_of_what_is_shown_once_for_each_size() -> None:
    for held, told in ((False, [3, 5]), (True, [3])):
        heads = Heads()
        seen: list[int] = []
        heads.on_shown(lambda head, seen=seen: seen.append(head.checkpoint.size))  # type: ignore[misc]
        if held:
            heads.hold()
        heads.signed(LOG.head(3))
        heads.put_cosigned(cosigned(3))
        heads.put_cosigned(cosigned(3))
        heads.signed(LOG.head(5))
        assert seen == told


def test_cosignatures_on_what_is_shown_are_a_change_but_no_growth() -> None:
    heads = Heads()
    grown: list[int] = []
    changed: list[SignedCheckpoint] = []
    heads.on_shown(lambda head: grown.append(head.checkpoint.size))
    heads.on_changed(changed.append)
    heads.signed(LOG.head(3))
    heads.put_cosigned(cosigned(3))
    heads.signed(LOG.head(4))
    # Nobody is shown this one any more.
    heads.put_cosigned(cosigned(3))
    assert grown == [3, 4]
    assert changed == [LOG.head(3), cosigned(3), LOG.head(4)]


def test_nothing_to_show_says_why() -> None:
    heads = Heads()
    with pytest.raises(NotFoundError) as empty:
        heads.require()
    assert empty.value.reason is Reason.BEYOND_TREE
    heads.hold()
    heads.signed(LOG.head(3))
    with pytest.raises(UnavailableError) as unseen:
        heads.require()
    assert unseen.value.reason is Reason.QUORUM
    heads.put_cosigned(cosigned(3))
    assert heads.require() == cosigned(3)
