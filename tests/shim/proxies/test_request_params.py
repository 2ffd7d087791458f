"""Sampling parameters: as a request spells them, and never anything else of it."""

import pytest

from registry.shim.proxies import request_params
from registry.shim.proxies.request_params import (
    MAX_CHARACTERS,
    MAX_PARAMS,
    params_of,
    params_of_message,
)
from tests.shim.proxies.oip_server import parameter, request, saying


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m","seed":7,"messages":["secret"]}', {"model": "m", "seed": "7"}),
        (b'{"temperature":0.10,"top_p":1e-1}', {"temperature": "0.10", "top_p": "1e-1"}),
        (b'{"inputs":[],"parameters":{"seed":7,"own":1}}', {"seed": "7"}),
        (b'{"seed":1,"parameters":{"seed":2}}', {"seed": "1"}),
        (b'{"parameters":[1],"n":2}', {"n": "2"}),
        (b'{"model":{"a":1},"seed":true,"n":null}', {}),
        (b'{"model":"a\\u0000b"}', {}),
        (b'{"model":"' + b"a" * MAX_CHARACTERS + b'"}', {"model": "a" * MAX_CHARACTERS}),
        (b'{"model":"' + b"a" * (MAX_CHARACTERS + 1) + b'","n":1}', {"n": "1"}),
        (b'{"seed":1' + b"0" * MAX_CHARACTERS + b',"n":1}', {"n": "1"}),
        (b'{"seed":1,"seed":2}', {}),
        (
            b'{"inputs":[{"name":"x","parameters":{"seed":7,"own":1}},{},{"parameters":{"n":1}}]}',
            {"inputs[0].seed": "7", "inputs[2].n": "1"},
        ),
        (b'{"seed":1,"inputs":7}', {"seed": "1"}),
        (b'{"seed":1,"inputs":[7,{"parameters":[]}]}', {"seed": "1"}),
        (b"[]", {}),
        (b"no JSON", {}),
        (b"", {}),
    ],
    ids=range(17),
)
def test_what_is_named_is_written_down_as_it_stands(body: bytes, expected: dict[str, str]) -> None:
    assert params_of(body) == expected


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v2/models/m/infer", "m"),
        ("/v2/models/m/versions/3/infer", "m/3"),
        ("/prefix/v2/models/m/generate_stream", "m"),
        ("/v2/models/m/infer/", "m"),
        ("/v2/models/a/b/infer", "body's"),
        ("/v2/models/m", "body's"),
        ("/v2/repository/models/m/load", "body's"),
        ("/v1/chat/completions", "body's"),
    ],
)
def test_a_path_names_the_model_before_a_body_does(path: str, model: str) -> None:
    assert params_of(b'{"model":"body\'s","seed":7}', path) == {"model": model, "seed": "7"}


def test_a_request_of_too_many_values_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_params, "MAX_COMMAS", 10)
    few, many = (b'{"seed":7,"x":[' + b"1," * count + b"1]}" for count in (9, 10))
    assert params_of(few) == {"seed": "7"}
    assert params_of(many) == {}


@pytest.mark.parametrize(
    ("said", "expected"),
    [("10", {"seed": "7"}), ("11", {}), ("x", {}), ("", {}), (None, {})],
    ids=["all", "too much", "no number", "empty", "not said"],
)
def test_of_a_body_with_raw_tensors_the_json_is_read(
    said: str | None, expected: dict[str, str]
) -> None:
    assert params_of(b'{"seed":7}' + bytes(8), json_bytes=said) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {}),
        ({"temperature": 0.1, "top_p": 1.0}, {"temperature": "0.1", "top_p": "1.0"}),
        ({"seed": -7, "max_tokens": 2**63 - 1}, {"seed": "-7", "max_tokens": str(2**63 - 1)}),
        ({"reasoning_effort": "high", "own": 1}, {"reasoning_effort": "high"}),
        ({"reasoning_effort": "a\0b", "seed": True}, {}),
        ({"reasoning_effort": "a" * (MAX_CHARACTERS + 1)}, {}),
        ({"model": "another", "temperature": float("nan")}, {"temperature": "nan"}),
    ],
    ids=range(7),
)
def test_parameters_of_a_message_are_written_down(
    more: dict[str, object], expected: dict[str, str]
) -> None:
    said = request([1.0], more=saying(**more))
    assert params_of_message(said) == {"model": "m", **expected}


def test_an_unsigned_parameter_is_written_down() -> None:
    said = request([1.0], more=parameter("seed", 5, 2**64 - 1))
    assert params_of_message(said)["seed"] == str(2**64 - 1)


def test_an_input_has_parameters_of_its_own() -> None:
    said = request([1.0], tensor=saying(seed=7)) + saying(seed=8)
    assert params_of_message(said) == {
        "model": "m",
        "seed": "8",
        "inputs[0].seed": "7",
    }


def test_no_more_parameters_are_written_down_than_a_record_takes() -> None:
    said = b"".join(request([1.0], tensor=saying(seed=7, n=1)) for _ in range(MAX_PARAMS))
    found = params_of_message(said)
    assert len(found) == MAX_PARAMS
    assert "inputs[0].seed" in found


@pytest.mark.parametrize("data", [b"\xff", b"\x1a\x01\xff", b"\x22\x05"], ids=range(3))
def test_what_is_no_request_has_no_parameters(data: bytes) -> None:
    assert params_of_message(data) == {}


def test_parameters_are_texts_that_a_record_can_hold() -> None:
    assert {type(value) for value in params_of(b'{"model":"m","seed":7}').values()} == {str}
