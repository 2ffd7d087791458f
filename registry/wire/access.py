"""Principals ↔ protobuf."""

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from registry.api.v1 import access_pb2
from registry.core.access import Principal
from registry.errors import MalformedError, Reason

_ROLES = {
    "publisher": access_pb2.ROLE_PUBLISHER,
    "node": access_pb2.ROLE_NODE,
    "auditor": access_pb2.ROLE_AUDITOR,
    "admin": access_pb2.ROLE_ADMIN,
}
_NAMES = {number: name for name, number in _ROLES.items()}


def roles_to_proto(roles: Iterable[str]) -> "list[access_pb2.Role.ValueType]":
    """Write roles."""
    return [_ROLES[role] for role in roles]


def roles_from_proto(roles: "Iterable[access_pb2.Role.ValueType]") -> tuple[str, ...]:
    """Read roles.

    Raises:
        MalformedError: ``MALFORMED_FIELD`` for an unknown role.
    """
    try:
        return tuple(_NAMES[role] for role in roles)
    except KeyError as error:
        raise MalformedError(
            Reason.MALFORMED_FIELD, "this is not a role", actual=str(error)
        ) from error


def time_to_proto(at: datetime | None) -> Timestamp | None:
    """Write a time; None stays absent."""
    if at is None:
        return None
    message = Timestamp()
    message.FromDatetime(at)
    return message


def time_from_proto(message: Timestamp) -> datetime:
    """Read a time.

    Raises:
        MalformedError: ``MALFORMED_FIELD`` if it is not between the years 1 and 9999.
    """
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedError(
            Reason.MALFORMED_FIELD, "this is not a time", actual=f"{message.seconds} s"
        ) from error


def principal_to_proto(principal: Principal) -> access_pb2.Principal:
    """Write a principal."""
    return access_pb2.Principal(
        name=principal.name,
        roles=roles_to_proto(principal.roles),
        namespaces=principal.namespaces,
        key_ids=principal.key_ids,
        expires_at=time_to_proto(principal.expires_at),
        revoked_at=time_to_proto(principal.revoked_at),
        identities=[
            access_pb2.Identity(issuer=issuer, name=name) for issuer, name in principal.identities
        ],
    )


def principal_from_proto(message: access_pb2.Principal) -> Principal:
    """Read a principal.

    Raises:
        MalformedError: ``MALFORMED_FIELD`` for an unknown role or an impossible time.
    """
    return Principal(
        message.name,
        roles_from_proto(message.roles),
        tuple(message.namespaces),
        tuple(message.key_ids),
        time_from_proto(message.expires_at) if message.HasField("expires_at") else None,
        time_from_proto(message.revoked_at) if message.HasField("revoked_at") else None,
        tuple((item.issuer, item.name) for item in message.identities),
    )
