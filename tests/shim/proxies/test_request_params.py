"""Sampling parameters: as a request spells them, and never anything else of it."""

import pytest

from registry.shim.proxies import request_params
from registry.shim.proxies.request_params import MAX_CHARACTERS, params_of


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
        (b'{"model":"' + b"a" * 500 + b'"}', {"model": "a" * MAX_CHARACTERS}),
        (b'{"seed":1,"seed":2}', {}),
        (b"[]", {}),
        (b"no JSON", {}),
        (b"", {}),
    ],
    ids=range(12),
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
