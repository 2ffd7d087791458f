"""Gathering: what one call says, held while it passes, for as long as it is not too long."""

from typing import cast

from registry.core import encoding
from registry.core.records.field_commitments import Json
from registry.errors import MalformedError
from registry.shim.privacy.keeping import Content
from registry.shim.privacy.sealed_payload import MAX_PAYLOAD_BYTES


class Gathering:
    """The request and the answer of one call."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._answer: list[bytes] = []
        self._size = len(request)

    def take(self, piece: bytes) -> None:
        """Take a piece of the answer; once it is too long nothing of it is held."""
        if self._size > MAX_PAYLOAD_BYTES:
            return
        self._size += len(piece)
        self._answer.append(piece)
        if self._size > MAX_PAYLOAD_BYTES:
            self._answer.clear()

    def content(self, answer: Json = None) -> Content:
        """What was gathered.

        Args:
            answer: The document that a stream stands for, such as the choices of a chat; None reads
                the answer's bytes.
        """
        whole = b"".join(self._answer)
        document: dict[str, Json] = {
            "request": _read(self._request),
            "response": answer or _read(whole),
        }
        found: dict[str, Json] = {side: said for side, said in document.items() if said is not None}
        return Content(self._request, whole, found, too_large=self._size > MAX_PAYLOAD_BYTES)


def _read(data: bytes) -> Json:
    try:
        return plain(encoding.read_foreign_numbers(data, what="document"))
    except MalformedError:
        return None


def plain(value: object) -> Json:
    """A document with every number as the text that spells it."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    return cast("Json", value)
