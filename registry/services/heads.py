"""Which checkpoint answers go by: the newest one, or the newest one that enough witnesses cosigned.

Cosigning never delays signing: a signed checkpoint stands in the first slot at once, and moves into
the second when a quorum has cosigned it. A log that fails open shows the first slot, with the
cosignatures of the second if both are of one size. A log that fails closed shows the second only.
"""

import threading
from collections.abc import Callable

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.errors import NotFoundError, Reason, UnavailableError

Observer = Callable[[SignedCheckpoint], None]
"""Told of a checkpoint in the thread that brings it: takes a note of it and returns at once."""


class Heads:
    """The two slots. One thread writes each; anybody reads."""

    def __init__(self) -> None:
        self.newest: SignedCheckpoint | None = None
        self.cosigned: SignedCheckpoint | None = None
        self.held = False
        self._on_signed: list[Observer] = []
        self._on_shown: list[Observer] = []
        self._on_changed: list[Observer] = []
        self._telling = threading.Lock()
        self._told = 0

    @property
    def shown(self) -> SignedCheckpoint | None:
        """The checkpoint that answers go by; None before the first."""
        newest, cosigned = self.newest, self.cosigned
        if self.held or newest is None:
            return cosigned
        same = cosigned is not None and cosigned.checkpoint.size == newest.checkpoint.size
        return cosigned if same else newest

    def require(self) -> SignedCheckpoint:
        """What is shown.

        Raises:
            NotFoundError: ``BEYOND_TREE`` for a log without entries.
            UnavailableError: ``QUORUM`` if nothing of it has been cosigned so far.
        """
        head = self.shown
        if head is not None:
            return head
        if self.newest is None:
            raise NotFoundError(Reason.BEYOND_TREE, "the log is empty")
        raise UnavailableError(
            Reason.QUORUM,
            "no checkpoint of this log has been seen by enough witnesses so far",
            hint="try again in a moment",
        )

    def covering(self, index: int) -> SignedCheckpoint | None:
        """The cosigned checkpoint if entry ``index`` is below it, otherwise what is shown."""
        cosigned = self.cosigned
        covers = cosigned is not None and index < cosigned.checkpoint.size
        return cosigned if covers else self.shown

    def hold(self) -> None:
        """From now on, show nothing that is not cosigned."""
        self.held = True

    def on_signed(self, observer: Observer) -> None:
        """Tell ``observer`` of every checkpoint that is signed from now on."""
        self._on_signed.append(observer)

    def on_shown(self, observer: Observer) -> None:
        """Tell ``observer`` of every larger checkpoint that is shown from now on."""
        self._on_shown.append(observer)

    def on_changed(self, observer: Observer) -> None:
        """Tell ``observer`` also of a checkpoint that is shown already and got cosignatures."""
        self._on_changed.append(observer)

    def signed(self, head: SignedCheckpoint) -> None:
        """A new checkpoint stands in the first slot."""
        self.newest = head
        for observer in self._on_signed:
            observer(head)
        if not self.held:
            self._tell(head)

    def put_cosigned(self, head: SignedCheckpoint) -> None:
        """A checkpoint stands in the second slot."""
        self.cosigned = head
        if self.shown is head:
            self._tell(head)

    def _tell(self, head: SignedCheckpoint) -> None:
        with self._telling:
            for observer in self._on_changed:
                observer(head)
            if head.checkpoint.size <= self._told:
                return
            self._told = head.checkpoint.size
            for observer in self._on_shown:
                observer(head)
