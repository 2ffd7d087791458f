"""Principals and their tokens. A token itself is never stored, only its SHA-256."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from registry.errors import ConflictError, Reason
from registry.storage.sql import tables as t


@dataclass(frozen=True, slots=True)
class StoredPrincipal:
    """One row: who, with which rights. Times are Unix seconds."""

    name: str
    roles: tuple[str, ...]
    namespaces: tuple[str, ...]
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class StoredToken:
    """One token's hash and fate. Times are Unix seconds."""

    token_hash: bytes
    principal: str
    expires_at: int | None
    revoked_at: int | None


def add_principal(connection: Connection, principal: StoredPrincipal) -> None:
    """Add a principal.

    Raises:
        ConflictError: ``PRINCIPAL_EXISTS``.
    """
    row = {
        "name": principal.name,
        "roles": " ".join(principal.roles),
        "namespaces": " ".join(principal.namespaces),
        "revoked_at": principal.revoked_at,
    }
    try:
        connection.execute(insert(t.principals), row)
    except IntegrityError as error:
        raise ConflictError(
            Reason.PRINCIPAL_EXISTS, "there is a principal of this name", where=principal.name
        ) from error


def add_token(connection: Connection, token: StoredToken) -> None:
    """Add a token's hash."""
    connection.execute(
        insert(t.tokens),
        {
            "token_hash": token.token_hash,
            "principal": token.principal,
            "expires_at": token.expires_at,
            "revoked_at": token.revoked_at,
        },
    )


def revoke(connection: Connection, name: str, at: int) -> None:
    """Revoke a principal and all its tokens at Unix second ``at``."""
    connection.execute(
        update(t.tokens)
        .where(t.tokens.c.principal == name, t.tokens.c.revoked_at.is_(None))
        .values(revoked_at=at)
    )
    connection.execute(
        update(t.principals)
        .where(t.principals.c.name == name, t.principals.c.revoked_at.is_(None))
        .values(revoked_at=at)
    )


def principals(connection: Connection) -> list[StoredPrincipal]:
    """All principals, by name."""
    rows = connection.execute(select(t.principals).order_by(t.principals.c.name))
    return [
        StoredPrincipal(
            row.name, tuple(row.roles.split()), tuple(row.namespaces.split()), row.revoked_at
        )
        for row in rows
    ]


def tokens(connection: Connection) -> list[StoredToken]:
    """All tokens."""
    return [
        StoredToken(bytes(row.token_hash), row.principal, row.expires_at, row.revoked_at)
        for row in connection.execute(select(t.tokens))
    ]
