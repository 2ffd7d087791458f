"""One history: every head of the log that a shim sees extends the one before."""

from registry.core.tlog.checkpoint import Checkpoint
from registry.errors import Reason, VerificationError
from registry.shim.ports import Registry


class OneHistory:
    """Remembers the newest head of the log, for one thread."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._newest: Checkpoint | None = None

    @property
    def newest(self) -> Checkpoint | None:
        """The newest head that was seen; None if none was yet."""
        return self._newest

    def begin(self, head: Checkpoint) -> None:
        """Go on from a head that an earlier run has seen."""
        self._newest = head

    def follow(self, head: Checkpoint) -> None:
        """Check that the log has one history: that of the last head we saw, and of the new one.

        Raises:
            UnavailableError: The registry does not answer now.
            VerificationError: ``FORK``, or ``CONSISTENCY_PROOF``.
        """
        newest = head
        if self._newest is not None:
            newest = self._registry.consistency(self._newest).checkpoint
            # A log in use has grown since it gave the receipt: then ask for the other way, too.
            if newest.size != head.size:
                _require_one_tree(newest, self._registry.consistency(head).checkpoint)
            _require_one_tree(newest, head)
        self._newest = newest


def _require_one_tree(one: Checkpoint, other: Checkpoint) -> None:
    if one.size == other.size and one.root != other.root:
        raise VerificationError(
            Reason.FORK,
            "the log signed two trees of one size",
            where=f"{one.origin}, size {one.size}",
            expected=one.root.hex(),
            actual=other.root.hex(),
            hint="keep both checkpoints: they prove that the log shows different histories",
        )
