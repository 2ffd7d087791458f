"""The sampling parameters of a request, as it spells them.

OpenAI's requests have them at the top, those of the Open Inference Protocol under ``parameters``.
"""

from registry.core import encoding
from registry.errors import MalformedError

MAX_CHARACTERS = 128
"""Characters of one parameter that are written down."""

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


def params_of(body: bytes) -> dict[str, str]:
    """Read the parameters of a request; none if it is no JSON object."""
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
