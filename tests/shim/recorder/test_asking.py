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

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


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
    assert Asked.read({LEVEL: "signed", DEADLINE: str(by)}).deadline_ms == by


def test_a_trace_is_taken_and_what_is_none_is_not() -> None:
    assert Asked.read({"traceparent": TRACE}).trace == TRACE
    assert Asked.read({LEVEL: "signed", "traceparent": TRACE}).trace == TRACE
    assert Asked.read({"traceparent": "the applicant earns 1234"}).trace == ""


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
    with pytest.raises(RegistryError) as caught:
        Asked.read(headers)
    # Whoever is refused is told which header it was, and what it takes.
    assert caught.value.where in headers
    assert caught.value.expected


def test_a_caller_is_told_what_was_reached_and_what_was_missed() -> None:
    assert Proven("logged", "UNATTESTED").headers() == (
        ("x-provreg-level-reached", "logged"),
        ("x-provreg-level-missed", "UNATTESTED"),
    )
    assert Proven("signed").headers() == (("x-provreg-level-reached", "signed"),)
