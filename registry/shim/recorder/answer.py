"""An answer on its way out, as what its record says of it is known to the proxy that passes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from registry.core.records import inference
from registry.shim.privacy.keeping import Content

Transport = Literal["in_process", "unary", "sse", "grpc_stream"]
"""How an answer goes out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as its proxy saw it.

    Attributes:
        chunks: Messages or events of a stream; 0 for a single one.
        finish_reasons: Why each choice ended.
        profile_error: Why it has no richer profile than its bytes.
        content: Tells what the call said, if anything of it is kept; reads whole documents.
    """

    response: inference.Response
    transport: Transport
    chunks: int = 0
    finish_reasons: tuple[str, ...] = ()
    profile_error: str = ""
    content: Callable[[], Content] | None = None
