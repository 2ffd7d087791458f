"""Appraisal policies of a registry: register and list them."""

from pathlib import Path

import click
import msgspec

from registry.cli.connection import connect
from registry.cli.output import json_option, show
from registry.cli.policy_file import file_argument, policy_lines, read_policy
from registry.client.evidence import EvidenceCalls
from registry.client.statements import LoggedStatement
from registry.core.encoding import write_json
from registry.core.evidence.appraisal import policy_digest
from registry.core.evidence.policy import Policy
from registry.errors import NotFoundError, Reason


@click.command()
@file_argument
@json_option
@click.pass_context
def register(ctx: click.Context, *, file: Path, as_json: bool) -> None:
    """Register the policy in FILE; a later one of the same name takes its place."""
    policy = read_policy(file)
    with connect(ctx) as client:
        logged = EvidenceCalls(client).put_policy(policy)
    show(_value(logged), _lines(logged), as_json=as_json)


@click.command("show")
@click.argument("policy", metavar="NAME|sha256:HEX")
@click.pass_context
def show_one(ctx: click.Context, *, policy: str) -> None:
    """Print a policy as provreg policy register takes it: the newest of a name, or a certain one.

    It is named by the record that register said, or by the digest that results name it by.
    """
    with connect(ctx) as client:
        found = EvidenceCalls(client).policies()
    for item in reversed(found):
        said: Policy = item.statement.predicate
        if policy in (said.name, item.record_id, f"sha256:{policy_digest(said)}"):
            click.echo(msgspec.json.format(write_json(said), indent=2).decode())
            return
    raise NotFoundError(
        Reason.UNKNOWN_APPRAISAL_POLICY,
        "no such appraisal policy is registered here",
        where=policy[:200],
        hint="run: provreg policy list",
    )


@click.command("list")
@json_option
@click.pass_context
def list_all(ctx: click.Context, *, as_json: bool) -> None:
    """List all policies, oldest first."""
    with connect(ctx) as client:
        found = EvidenceCalls(client).policies()
    show(
        [_value(item) for item in found],
        [line for item in found for line in _lines(item)],
        as_json=as_json,
    )


def _value(logged: LoggedStatement) -> dict[str, object]:
    policy: Policy = logged.statement.predicate
    return {
        "name": policy.name,
        "family": policy.family,
        "sha256": policy_digest(policy),
        "record_id": logged.record_id,
        "index": logged.index,
        "policy": policy,
    }


def _lines(logged: LoggedStatement) -> list[str]:
    return [
        *policy_lines(logged.statement.predicate),
        f"  record      {logged.record_id}",
        f"  entry       {logged.index}",
    ]
