"""What is shown of calls in clear: nothing that a policy commits to, and nobody's sentences."""

import msgspec
import pytest

from registry.core.digest import sha256
from registry.core.records import inference
from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.recorder.answer import Answer
from registry.shim.recorder.asking import Asked
from registry.shim.recorder.outcomes import Sent
from registry.shim.recorder.shown import MAX_REASONS, OTHER, Shown

PARAMS = {"model": "m", "seed": "7", "temperature": "0.1"}
OF_INPUT = {"inputs[1].seed": "8", "inputs[1].model": "m"}
HALF = Sent(9, sha256(b"half").hex())
RESPONSE = inference.Response(
    profile="output/bytes/v1", content_digest="00" * 32, wire_digest="00" * 32, complete=True
)


def shown(**members: object) -> Shown:
    said = {"schema": "privacy-policy/v1", "retention_class": "loans", **members}
    return Shown(msgspec.convert(said, PrivacyPolicy))


def because(*reasons: str) -> Answer:
    return Answer(RESPONSE, "unary", finish_reasons=reasons)


def test_without_a_policy_everything_is_shown() -> None:
    asked, answer = Asked(params=PARAMS), because("stop", "tool_calls")
    assert (Shown().asked(asked), Shown().answer(answer)) == (asked, answer)
    assert Shown().sent(HALF) == HALF


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (["/request/seed"], {"model", "temperature"}),
        (["/request/model", "/request/user"], {"seed", "temperature"}),
        (["/request/parameters/seed"], {"model", "temperature"}),
        (["/request/parameters"], set()),
        (["/request/seeds", "/response/seed", "/request/a/seed"], {"model", "seed", "temperature"}),
    ],
    ids=["seed", "model", "nested", "all", "others"],
)
def test_a_parameter_that_is_committed_to_is_not_shown(fields: list[str], left: set[str]) -> None:
    asked = shown(fields=fields).asked(Asked("signed", 7, params=PARAMS))
    assert asked == Asked("signed", 7, params={name: PARAMS[name] for name in left})


@pytest.mark.parametrize("name", ["org/x-1.5:Q4_K_M@main", "small/2", "C=1,~x+y"])
def test_the_name_of_a_model_is_shown(name: str) -> None:
    asked = Asked(params={"model": name, "reasoning_effort": "high"})
    assert Shown().asked(asked) == asked


@pytest.mark.parametrize(
    "words", ["Ann owes 1,234", "mod\u00e8le", "<b>", "Ann\u00a0owes"], ids=range(4)
)
@pytest.mark.parametrize("name", ["model", "reasoning_effort"])
def test_nobodys_words_are_shown_as_a_name(name: str, words: str) -> None:
    assert Shown().asked(Asked(params={name: words, "n": "1"})).params == {"n": "1"}


@pytest.mark.parametrize("name", ["seed", "inputs[0].temperature"])
@pytest.mark.parametrize("number", ["0", "-1", "0.10", "1e-1", "1.5E+10", "inf", "nan", "-inf"])
def test_numbers_are_shown(name: str, number: str) -> None:
    asked = Asked(params={name: number})
    assert Shown().asked(asked) == asked


@pytest.mark.parametrize("name", ["seed", "inputs[0].temperature", "own"])
@pytest.mark.parametrize("words", ["1,234", "Ann", "", "1 2", "+1", "true", "\u0661"], ids=range(7))
def test_nobodys_words_are_shown_as_a_number(name: str, words: str) -> None:
    assert Shown().asked(Asked(params={name: words, "n": "1"})).params == {"n": "1"}


@pytest.mark.parametrize(
    ("field", "left"),
    [
        ("/request/inputs/1/parameters/seed", {"inputs[1].model"}),
        ("/request/inputs/1/parameters", set()),
        ("/request/inputs", set()),
        ("/request/inputs/0", {"inputs[1].seed", "inputs[1].model"}),
        ("/request/inputs/1/data", set()),
        ("/request/inputs/1/data/0", set()),
        ("/request/inputs/1/contents/bytes_contents", set()),
        ("/request/inputs/1/parameters/see", {"inputs[1].seed", "inputs[1].model"}),
    ],
    ids=[
        *("seed", "parameters", "inputs", "another"),
        *("the input itself", "an element of it", "typed elements", "part"),
    ],
)
def test_a_parameter_of_an_input_that_is_committed_to_is_not_shown(
    field: str, left: set[str]
) -> None:
    asked = shown(fields=[field]).asked(Asked(params=OF_INPUT))
    assert set(asked.params) == left


def test_why_an_answer_ended_is_not_shown_if_it_is_committed_to() -> None:
    policy = shown(fields=["/response/choices/0/finish_reason"])
    assert policy.answer(because("stop")).finish_reasons == ()
    assert shown(fields=["/request/user"]).answer(because("stop")).finish_reasons == ("stop",)


@pytest.mark.parametrize("words", ["the applicant earns 1234", "", "x" * 65, "é", "a\nb"])
def test_a_sentence_is_no_reason(words: str) -> None:
    assert Shown().answer(because("stop", words)).finish_reasons == ("stop", OTHER)


def test_of_many_choices_some_are_shown() -> None:
    assert len(Shown().answer(because(*["stop"] * 1000)).finish_reasons) == MAX_REASONS


def test_half_an_answer_has_no_digest_where_those_of_whole_ones_are_committed_to() -> None:
    assert shown(output="committed").sent(HALF) == Sent(HALF.size)
    assert shown(fields=["/request/user"]).sent(HALF) == HALF
