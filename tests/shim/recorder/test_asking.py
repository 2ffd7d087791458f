"""What callers ask for by header or metadata, and what they are told."""

import pytest

from registry.errors import RegistryError
from registry.shim.recorder.asking import (
    DEADLINE,
    DEFAULT_DEADLINES_MS,
    LEVEL,
    MAX_DEADLINE_MS,
    Asked,
    Proven,
)


def test_whoever_asks_for_nothing_gets_nothing() -> None:
    assert Asked.read({}) == Asked()
    assert Proven().headers() == ()


@pytest.mark.parametrize("level", sorted(DEFAULT_DEADLINES_MS))
def test_a_level_alone_has_a_deadline_of_its_own(level: str) -> None:
    asked = Asked.read({LEVEL: level})
    assert (asked.level, asked.deadline_ms) == (
        level,
        DEFAULT_DEADLINES_MS[asked.level or "logged"],
    )


@pytest.mark.parametrize("by", [0, 1, MAX_DEADLINE_MS])
def test_a_deadline_is_in_milliseconds(by: int) -> None:
    asked = Asked.read({LEVEL: "signed", DEADLINE: str(by), "traceparent": "t" * 300})
    assert (asked.deadline_ms, len(asked.trace)) == (by, 256)


@pytest.mark.parametrize(
    "headers",
    [
        {LEVEL: "Signed"},
        {LEVEL: "signed, attested"},
        {LEVEL: "signed", DEADLINE: "1.5"},
        {LEVEL: "signed", DEADLINE: "-1"},
        {LEVEL: "signed", DEADLINE: "01"},
        {LEVEL: "signed", DEADLINE: "٣"},
        {LEVEL: "signed", DEADLINE: str(MAX_DEADLINE_MS + 1)},
        {DEADLINE: "100"},
    ],
    ids=["spelling", "two", "fraction", "past", "zero", "digits", "years", "nothing"],
)
def test_what_cannot_be_asked_for_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(RegistryError):
        Asked.read(headers)


def test_a_caller_is_told_what_was_reached_and_what_was_missed() -> None:
    assert Proven("logged", "UNATTESTED").headers() == (
        ("x-provreg-level-reached", "logged"),
        ("x-provreg-level-missed", "UNATTESTED"),
    )
    assert Proven("signed").headers() == (("x-provreg-level-reached", "signed"),)
