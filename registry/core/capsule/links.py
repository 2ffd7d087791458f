"""Links: each step of a capsule's chain, judged on two clocks, and what a step rests on.

*As-then* uses what the log held when a statement was logged, *as-now* everything in the capsule.
A step that can be refuted by itself is invalid. A step that holds by itself, but rests on one that
does not, cannot be judged: it is indeterminate, and says on which link it waits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from registry.core import verdict
from registry.core.verdict import Check, Verdict
from registry.errors import Reason, RegistryError


@dataclass(frozen=True, slots=True)
class Link:
    """One step of the chain on both clocks."""

    then: Check
    now: Check

    @classmethod
    def both(cls, check: Check) -> Self:
        """A step to which no key event makes a difference."""
        return cls(check, check)

    @property
    def holds(self) -> bool:
        """Whether the step held when it was logged."""
        return self.then.verdict is Verdict.VALID

    @property
    def sure(self) -> bool:
        """Whether the step held when it was logged and holds now."""
        return self.holds and self.now.verdict is Verdict.VALID

    def also(self, more: "Link") -> "Link":
        """This step, and another condition on it; the first that does not hold says why."""
        return Link(_also(self.then, more.then), _also(self.now, more.now))

    def after(self, *needs: "Link") -> "Link":
        """This step, if those that it rests on hold."""
        return Link(
            _after(self.then, [link.then for link in needs]),
            _after(self.now, [link.now for link in needs]),
        )


def _also(own: Check, more: Check) -> Check:
    fails = own.verdict is Verdict.VALID and more.verdict is not Verdict.VALID
    return more if fails else own


def _after(own: Check, needs: list[Check]) -> Check:
    if own.verdict is Verdict.VALID:
        for need in needs:
            if need.verdict is not Verdict.VALID:
                return waiting(own.link, need.link)
    return own


def waiting(name: str, need: str) -> Check:
    """A step that cannot be judged, because of another one."""
    return verdict.indeterminate(
        name, Reason.CAPSULE_LINK, f"this can be judged only if this link holds: {need}"
    )


def judge(name: str, act: Callable[[], str]) -> Check:
    """Valid with what ``act`` says it checked, or invalid with what it raised."""
    try:
        return verdict.valid(name, act())
    except RegistryError as error:
        return verdict.invalid(name, error)
