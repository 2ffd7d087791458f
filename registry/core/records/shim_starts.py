"""Starts of one shim: what each says of its configuration and of the log, beside the one before.

Heads of the log that a shim has seen only grow: one that is older, or of another log, or another
tree of the same size, tells of a start from an old copy of its folder, or of a registry that shows
two histories.
"""

from collections.abc import Callable

import msgspec

from registry.core.records import inference


class Starts:
    """The newest start of a shim.

    Attributes:
        newest: What it says; None if no start is known.
        configurations: How often a start named another configuration than the one before.
    """

    def __init__(self, contradicts: Callable[[str], None]) -> None:
        """Take what is told of a start that has seen less of the log than the one before."""
        self._contradicts = contradicts
        self.newest: inference.Boot | None = None
        self.configurations = 0

    def take(self, boot: inference.Boot) -> None:
        """Judge the next start."""
        if boot.config is msgspec.UNSET and self.newest is not None:
            # Software from before there were such members says nothing that could contradict.
            return
        before, self.newest = self.newest, boot
        if before is None:
            return
        self.configurations += boot.config != before.config
        if before.seen is not msgspec.UNSET and not _extends(before.seen, boot.seen):
            said = "none" if boot.seen is msgspec.UNSET else _text(boot.seen)
            self._contradicts(
                f"n={boot.sequence.n} had seen another head of the log, {said}, than the start "
                f"before it, {_text(before.seen)}"
            )


def _extends(old: inference.SeenHead, new: inference.SeenHead | msgspec.UnsetType) -> bool:
    if new is msgspec.UNSET or new.origin != old.origin:
        return False
    return new.size > old.size or (new.size, new.root) == (old.size, old.root)


def _text(head: inference.SeenHead) -> str:
    return f"{head.size} entries of {head.origin}"
