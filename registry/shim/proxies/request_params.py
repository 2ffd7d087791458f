"""The sampling parameters of a request and the model that it names, as it spells them.

OpenAI's requests have them at the top, those of the Open Inference Protocol under ``parameters``
and, over REST, the model in their path, as ``name`` or ``name/version``.
"""

import re

from registry.core import encoding
from registry.errors import MalformedError

MAX_CHARACTERS = 128
"""Characters of one parameter that are written down."""

MAX_COMMAS = 250_000
"""Commas of a request that is read: as many values take half a second, and some 30 MB."""

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


_MODEL_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/[^/]+/?$")


def params_of(body: bytes, path: str = "") -> dict[str, str]:
    """Read the parameters of a request; of a body that is no JSON object there are none.

    None are found in one of more than :data:`MAX_COMMAS`, either.
    """
    params = _in_body(body)
    if found := _MODEL_PATH.search(path):
        params["model"] = "/".join(filter(None, found.groups()))[:MAX_CHARACTERS]
    return params


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
    nested = members.get("parameters")
    if isinstance(nested, dict):
        members = nested | members
    found = {name: members[name] for name in _PARAMS if name in members}
    return {
        name: str(value)[:MAX_CHARACTERS]
        for name, value in found.items()
        if isinstance(value, str) and value.isprintable()
    }
