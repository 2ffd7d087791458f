"""The sampling parameters of a request and the model that it names, as it spells them.

OpenAI's requests have them at the top, those of the Open Inference Protocol under ``parameters``,
of the whole or of an input (``inputs[0].temperature``), and the model in the message or, over REST,
in their path, as ``name`` or ``name/version``. Some servers take them as inputs beside the others;
see :mod:`registry.shim.proxies.tensor_params`.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Final

from registry.core import encoding
from registry.core.profiles.tensor import MAX_TENSORS
from registry.errors import MalformedError
from registry.shim.proxies import tensor_params
from registry.shim.proxies.answer_readers import announced
from registry.wire import open_inference

MAX_CHARACTERS = 128
"""Characters of one parameter; a longer one is left out, since a part of it is another."""

MAX_COMMAS = 250_000
"""Commas of a request that is read: as many values take half a second, and some 30 MB."""

MAX_PARAMS = 64
"""Parameters of one request that are written down: as many as a record takes."""

JSON_BYTES: Final = "inference-header-content-length"
"""The header that says how much of a body is JSON, before raw bytes of tensors."""

_PARAMS = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "reasoning_effort",
)
_NAMES = frozenset(_PARAMS) - {"model"}
_MODEL_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/[^/]+/?$")


def params_of(body: bytes, path: str = "", json_bytes: str | None = None) -> dict[str, str]:
    """Read the parameters of a request over HTTP; of a body that is no JSON object there are none.

    None are found in one of more than :data:`MAX_COMMAS`, either.

    Args:
        body: The body.
        path: The path.
        json_bytes: What the header :data:`JSON_BYTES` says; None if there is none.
    """
    size = None if json_bytes is None else announced(json_bytes) or 0
    params = _in_body(body[:size])
    if found := _MODEL_PATH.search(path):
        params["model"] = _whole("/".join(filter(None, found.groups())))
    return params


def params_of_message(data: bytes) -> dict[str, str]:
    """Read the parameters of a ``ModelInferRequest``; of anything else there are none."""
    head = open_inference.request_head(data, _NAMES, tensor_params.NAMES)
    named = {"model": head.model} if head.model else {}
    sent = [(place, tensor_params.read_tensor(tensor)) for place, tensor in head.tensors]
    return _written({**named, **head.parameters}, head.inputs, sent)


def _in_body(body: bytes) -> dict[str, str]:
    # Between two values is a comma; and what is nested without any soon is nested too deeply.
    if body.count(b",") > MAX_COMMAS:
        return {}
    try:
        members = encoding.read_foreign_numbers(body, what="request")
    except MalformedError:
        return {}
    if not isinstance(members, dict):
        return {}
    inputs = members.get("inputs")
    each = inputs[:MAX_TENSORS] if isinstance(inputs, list) else []
    own = (_nested(item) for item in each)
    sent = [(place, _sent(item)) for place, item in enumerate(each) if isinstance(item, dict)]
    return _written(_nested(members) | members, own, sent)


def _sent(item: Mapping[str, object]) -> Mapping[str, str]:
    name, datatype = item.get("name"), item.get("datatype")
    if not isinstance(name, str) or not isinstance(datatype, str):
        return {}
    if name not in tensor_params.NAMES:
        return {}
    return tensor_params.read_members(name, datatype, item.get("data"))


def _nested(members: object) -> dict[str, object]:
    nested = members.get("parameters") if isinstance(members, dict) else None
    return nested if isinstance(nested, dict) else {}


def _written(
    members: Mapping[str, object],
    inputs: Iterable[Mapping[str, object]],
    sent: Iterable[tuple[int, Mapping[str, str]]] = (),
) -> dict[str, str]:
    """What is written down of a request.

    Args:
        members: Its own parameters.
        inputs: Those of each input.
        sent: What inputs hold that are parameters, with their places.
    """
    found = {name: members[name] for name in _PARAMS if name in members}
    for place, held in sent:
        found |= {f"inputs[{place}].{name}": text for name, text in held.items()}
    for place, item in enumerate(inputs):
        if item:
            found |= {f"inputs[{place}].{name}": item[name] for name in _PARAMS if name in item}
    told = (
        (name, _whole(value))
        for name, value in found.items()
        if isinstance(value, str) and value.isprintable() and _whole(value)
    )
    return dict(itertools.islice(told, MAX_PARAMS))


def _whole(value: str) -> str:
    # A number of a document is a text of a kind of its own, which no record can hold.
    return str.__str__(value) if len(value) <= MAX_CHARACTERS else ""
