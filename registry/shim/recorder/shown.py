"""What a record and a span show of a call in clear, beside digests: not what a policy hides.

A field that is committed to, salted, must not stand beside its commitment; nor may the digest of
half an answer where those of whole ones are committed to, since short answers can be guessed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.recorder.answer import Answer
from registry.shim.recorder.asking import Asked
from registry.shim.recorder.outcomes import Sent
from registry.shim.recorder.unread import Unread

T = TypeVar("T")

MAX_REASONS: Final = 128
"""Choices of one answer of which it is shown why they ended."""

MAX_SHOWN_BYTES: Final = 4096
"""Bytes of the parameters of one call, and of the reasons: a record has room for both, and for all
else that it says. What does not fit is left out, since a record that is too long is none."""

OTHER: Final = "other"
"""Why a choice ended, where the model server says it in words of its own."""

_AROUND_BYTES: Final = 6
_REASON: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_NAMES: Final[Mapping[str, re.Pattern[str]]] = {
    "model": re.compile(r"[A-Za-z0-9._:/@+=,~-]+", re.ASCII),
    "reasoning_effort": re.compile(r"[a-z_]+", re.ASCII),
}
_FINISH_REASON: Final = "/finish_reason"
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|-?inf|nan", re.ASCII)
_INPUT: Final = re.compile(r"inputs\[([0-9]+)\]\.(.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown under a policy; under none, whatever names no content."""

    policy: PrivacyPolicy | None = None

    def asked(self, asked: Asked) -> Asked:
        """What a caller asks, without the parameters that the policy commits to.

        What is no number and no name is somebody's words, and is not shown either.
        """
        return replace(asked, params=Unread(lambda: self._params(asked.params)))

    def _params(self, params: Mapping[str, str]) -> dict[str, str]:
        told = ((k, v) for k, v in params.items() if _is_plain(k, v) and not self._hides(k))
        return dict(_fitting(told, lambda item: len(item[0]) + len(item[1])))

    def answer(self, answer: Answer) -> Answer:
        """An answer, without why its choices ended if the policy commits to that.

        Reasons are words of the protocol: a sentence is none, and is not shown.
        """
        if any(path.endswith(_FINISH_REASON) for path in self._fields):
            return replace(answer, finish_reasons=())
        reasons = answer.finish_reasons
        shown = (item if _REASON.fullmatch(item) else OTHER for item in reasons[:MAX_REASONS])
        told = tuple(_fitting(shown, len))
        return answer if told == reasons else replace(answer, finish_reasons=told)

    def sent(self, sent: Sent) -> Sent:
        """What went out of half an answer: how much, and its digest if digests are shown."""
        if self.policy is None or self.policy.output == "plain":
            return sent
        return Sent(sent.size)

    @property
    def _fields(self) -> tuple[str, ...]:
        return () if self.policy is None else self.policy.fields

    def _hides(self, name: str) -> bool:
        if not self._fields:
            return False
        of_input = _INPUT.fullmatch(name)
        if of_input is None:
            places: tuple[str, ...] = (f"/request/{name}", f"/request/parameters/{name}")
        else:
            own = f"/request/inputs/{of_input[1]}"
            # It may have been sent as the input itself, of which the policy may name any part.
            if any(
                f"{path}/".startswith((f"{own}/data/", f"{own}/contents/")) for path in self._fields
            ):
                return True
            places = (f"{own}/parameters/{of_input[2]}", f"{own}/data", f"{own}/contents")
        # Whoever hides a whole hides its parts.
        return any(f"{place}/".startswith(f"{path}/") for place in places for path in self._fields)


def _fitting(items: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
    """The first items that fit, each with the punctuation around it."""
    room = MAX_SHOWN_BYTES
    for item in items:
        room -= size(item) + _AROUND_BYTES
        if room < 0:
            return
        yield item


def _is_plain(name: str, value: str) -> bool:
    return _NAMES.get(name.rpartition(".")[2], _NUMBER).fullmatch(value) is not None
