"""``provreg principal``: let publishers, nodes and auditors in, and out again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

from registry.cli.connection import connect
from registry.cli.output import json_option, show
from registry.client.principals import PrincipalCalls
from registry.core.access import ROLES, Principal
from registry.core.attestation.identity import Identity
from registry.core.encoding import time_text
from registry.core.keys import MAX_KEY_BYTES, PublicKey
from registry.errors import ConflictError, Reason

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])


@click.group()
def command() -> None:
    """Let publishers, nodes and auditors in, and out again."""


@command.command()
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES))
@click.option(
    "--namespace", "namespaces", multiple=True, metavar="acme/*", help="May publish under this."
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A public key, as key generate writes it.",
)
@click.option(
    "--identity",
    "identities",
    multiple=True,
    nargs=2,
    metavar="ISSUER SUBJECT",
    help="A certified name that may sign for it in Sigstore bundles.",
)
@click.option(
    "--expires",
    type=_TIME,
    help="When the token stops working (UTC); never if absent.",
)
@click.option(
    "--token-out",
    type=click.Path(path_type=Path),
    help="Write the token to this new file instead of showing it.",
)
@json_option
@click.pass_context
def add(
    ctx: click.Context,
    *,
    name: str,
    roles: tuple[str, ...],
    namespaces: tuple[str, ...],
    keys: tuple[Path, ...],
    identities: tuple[tuple[str, str], ...],
    expires: datetime | None,
    token_out: Path | None,
    as_json: bool,
) -> None:
    """Add the principal NAME. Its token is shown once."""
    if "publisher" in roles and not namespaces:
        # Nothing is added to a principal later, and its name is never given again.
        message = "a publisher needs --namespace, or may publish nothing"
        raise click.UsageError(message)
    if expires is not None and expires.replace(tzinfo=UTC) <= ctx.obj["now"]():
        message = "this token would never work"
        raise click.BadParameter(message, param_hint="--expires")
    public = [_public_key(path) for path in keys]
    with _token_file(token_out) as file, connect(ctx) as client:
        token, added = PrincipalCalls(client).add(
            name,
            roles,
            namespaces,
            public,
            None if expires is None else expires.replace(tzinfo=UTC),
            identities=[Identity(issuer, subject) for issuer, subject in identities],
        )
        if file is not None:
            file.write(token + "\n")
            token = f"in {token_out}"
    show(
        {"principal": _value(added), "token": token},
        [*_lines(added), f"  token       {token}"],
        as_json=as_json,
    )


@command.command()
@click.argument("name")
@click.option("--compromised", is_flag=True, help="Somebody else may have had its keys.")
@click.option(
    "--compromised-since",
    type=_TIME,
    help="Since when, as far as is known (UTC); says --compromised as well.",
)
@json_option
@click.pass_context
def revoke(
    ctx: click.Context,
    *,
    name: str,
    compromised: bool,
    compromised_since: datetime | None,
    as_json: bool,
) -> None:
    """End the tokens and keys of the principal NAME."""
    since = None if compromised_since is None else compromised_since.replace(tzinfo=UTC)
    with connect(ctx) as client:
        principal = PrincipalCalls(client).revoke(
            name, compromised=compromised or since is not None, compromised_since=since
        )
    show(_value(principal), _lines(principal), as_json=as_json)


@command.command("list")
@json_option
@click.pass_context
def list_all(ctx: click.Context, *, as_json: bool) -> None:
    """List all principals."""
    with connect(ctx) as client:
        found = PrincipalCalls(client).list()
    show(
        [_value(item) for item in found],
        [line for item in found for line in _lines(item)],
        as_json=as_json,
    )


def _public_key(path: Path) -> PublicKey:
    with path.open("rb") as file:
        return PublicKey.parse(file.read(MAX_KEY_BYTES + 1))


@contextmanager
def _token_file(path: Path | None) -> Iterator[TextIO | None]:
    """A new file that nobody else can read; made before a token exists that could get lost."""
    if path is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise ConflictError(
            Reason.TARGET_EXISTS, "this file exists already", where=str(path)
        ) from error
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        # Also when interrupted: a file without a token in it would be taken for one.
        path.unlink(missing_ok=True)
        raise


def _value(principal: Principal) -> dict[str, object]:
    return {
        "name": principal.name,
        "roles": principal.roles,
        "namespaces": principal.namespaces,
        "key_ids": principal.key_ids,
        "identities": [{"issuer": issuer, "name": name} for issuer, name in principal.identities],
        "expires_at": _time(principal.expires_at),
        "revoked_at": _time(principal.revoked_at),
    }


def _lines(principal: Principal) -> list[str]:
    lines = [
        principal.name,
        f"  roles       {', '.join(principal.roles)}",
        f"  namespaces  {', '.join(principal.namespaces) or 'none'}",
    ]
    lines += [f"  key         {key_id}" for key_id in principal.key_ids]
    lines += [f"  identity    {name} by {issuer}" for issuer, name in principal.identities]
    if principal.expires_at is not None:
        lines.append(f"  expires     {_time(principal.expires_at)}")
    if principal.revoked_at is not None:
        lines.append(f"  revoked     {_time(principal.revoked_at)}")
    return lines


def _time(at: datetime | None) -> str:
    return "" if at is None else time_text(at)
