"""Tickets: who may read or store one blob, for a minute, where no token has to be shown.

A caller who has shown a token over gRPC gets a ticket, and shows that over HTTP. The port there is
one that the caller was told of, not one that the caller chose: behind a tunnel another program may
answer it. All that such a program learns is how to read this blob within this minute, or how to
store exactly these bytes. ::

    provregticket_<expires>.<64 hexadecimal digits>.<principal>

The digits are an HMAC-SHA-256, with a key that this process made for itself, over what the ticket
is good for and the two other parts. Whose principal was revoked meanwhile is refused.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final, Self

from registry.core import encoding
from registry.core.access import Principal
from registry.core.digest import SHA256_SIZE
from registry.errors import MalformedError, Reason, UnauthenticatedError
from registry.services.access import Access, Clock

PREFIX: Final = "provregticket_"
"""What every ticket starts with; no token does."""

SECONDS: Final = 60
"""How long a transfer may begin after its ticket was issued; it may then take its time."""

MAX_CHARACTERS: Final = 256
"""Characters of a ticket that are looked at."""


@dataclass(frozen=True, slots=True)
class Right:
    """The one thing that a ticket is good for.

    Attributes:
        said: What is signed; no two rights are said in the same words.
    """

    said: str

    @classmethod
    def to_read(cls, sha256: bytes) -> Self:
        """To read this blob."""
        return cls(f"read.{sha256.hex()}")

    @classmethod
    def to_store(cls, sha256: bytes, size: int) -> Self:
        """To store this blob, of so many bytes."""
        return cls(f"store.{sha256.hex()}.{size}")


class Tickets:
    """Issues tickets, and knows its own."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def issue(self, principal: str, right: Right) -> str:
        """A ticket for a principal, who is known to have this right."""
        expires = int(self._clock().timestamp()) + SECONDS
        return f"{PREFIX}{expires}.{self._mac(right, expires, principal).hex()}.{principal}"

    def authenticate(self, ticket: str, right: Right) -> Principal:
        """Who was given this ticket for this right.

        Raises:
            UnauthenticatedError: ``UNKNOWN_TOKEN``, ``TOKEN_EXPIRED`` or ``TOKEN_REVOKED``.
        """
        try:
            text, digits, name = ticket[:MAX_CHARACTERS].removeprefix(PREFIX).split(".", 2)
            expires, mac = encoding.decimal(text), encoding.hex_bytes(digits, SHA256_SIZE)
        except (ValueError, MalformedError):
            raise _unknown() from None
        if not hmac.compare_digest(mac, self._mac(right, expires, name)):
            raise _unknown()
        if self._clock().timestamp() >= expires:
            raise UnauthenticatedError(
                Reason.TOKEN_EXPIRED, "this ticket has expired", hint="ask for another"
            )
        return self._access.current(name)

    def _mac(self, right: Right, expires: int, name: str) -> bytes:
        said = f"{right.said}.{expires}.{name}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, said, hashlib.sha256)


def _unknown() -> UnauthenticatedError:
    return UnauthenticatedError(
        Reason.UNKNOWN_TOKEN,
        "this ticket is not known here, or not for this blob",
        hint="ask for another",
    )
