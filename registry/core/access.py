"""Principals: who calls, and what they may do."""

from dataclasses import dataclass
from datetime import datetime

ROLES = ("publisher", "node", "auditor", "admin")
"""Every role that a principal can be given."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who may call.

    Attributes:
        name: A short lowercase name.
        roles: What it may do; see :data:`ROLES`.
        namespaces: Names it may publish under, such as ``acme/*``.
        key_ids: Ids of the keys that speak for it now.
        expires_at: When its newest token stops working; None for never.
        revoked_at: When it was revoked; None if it was not.
        identities: Certified names that speak for it, each with its issuer before it.
    """

    name: str
    roles: tuple[str, ...]
    namespaces: tuple[str, ...] = ()
    key_ids: tuple[str, ...] = ()
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    identities: tuple[tuple[str, str], ...] = ()
