"""Appraisal policies in files: read, checked and begun, without any registry."""

from pathlib import Path
from typing import TypeVar

import click
import msgspec

from registry.cli.input_file import read_input
from registry.cli.output import json_option, show
from registry.core import encoding
from registry.core.evidence.appraisal import policy_digest
from registry.core.evidence.claims import Family
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import Policy, check
from registry.core.evidence.starters import starter as starter_of
from registry.errors import MalformedError, Reason

MAX_POLICY_BYTES = 256 * 1024
"""Bytes of a policy or a distrust entry in a file."""

T = TypeVar("T")

file_argument = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
"""``FILE``, on commands that read one."""


def read_record(path: Path, kind: type[T], what: str) -> T:
    """What a person wrote in JSON, in whatever order and with whatever white space.

    Raises:
        MalformedError: It is not JSON, or not such a value.
        LimitExceededError: ``MESSAGE_TOO_LARGE``.
    """
    data = read_input(path, MAX_POLICY_BYTES, what)
    try:
        return encoding.convert(_members(data, what), kind)
    except MalformedError as error:
        # What is wrong within the file says where; a person wants the file, too.
        error.where = f"{path}: {error.where}" if error.where else str(path)
        raise


def _members(data: bytes, what: str) -> dict[str, object]:
    members = encoding.read_foreign_json(data, what=what)
    if not isinstance(members, dict):
        raise MalformedError(Reason.MALFORMED_JSON, f"this {what} is no JSON object")
    return members


def read_policy(path: Path) -> Policy:
    """The appraisal policy in a file, checked by the rules of its family.

    Raises:
        MalformedError: ``POLICY_UNSET``, ``POLICY_EMPTY``, ``MALFORMED_POLICY``, or what is wrong
            with the JSON.
    """
    policy = read_record(path, Policy, "appraisal policy")
    check(policy, rules_of(policy.family))
    return policy


@click.command()
@click.argument("family", type=click.Choice([item.value for item in Family]))
def starter(family: str) -> None:
    """Print a policy for evidence of FAMILY, to be filled in.

    It names everything that it does not compare under "skip"; move what you know to
    "reference_values", give it a name of your own, and register it.
    """
    click.echo(msgspec.json.format(encoding.write_json(starter_of(family)), indent=2).decode())


@click.command("check")
@file_argument
@json_option
def check_policy(*, file: Path, as_json: bool) -> None:
    """Check the policy in FILE, and say by which digest results will name it."""
    policy = read_policy(file)
    show(
        {"name": policy.name, "family": policy.family, "sha256": policy_digest(policy)},
        policy_lines(policy),
        as_json=as_json,
    )


def policy_lines(policy: Policy) -> list[str]:
    """A policy, for a person."""
    lines = [
        policy.name,
        f"  family      {policy.family}",
        f"  sha256      {policy_digest(policy)}",
        f"  compares    {', '.join(policy.reference_values) or 'no reference value'}",
        f"  skips       {', '.join(policy.skip) or 'nothing'}",
        f"  in force    {policy.result_seconds} seconds",
    ]
    lines += [f"  at least    {name} {floor}" for name, floor in policy.minimum.items()]
    lines += [f"  treats      {name} as {how}" for name, how in policy.treatments.items()]
    lines += [f"  requires    {name}" for name in policy.require]
    lines += [f"  ROOT OF NO VENDOR  {item.vendor} {item.sha256}" for item in policy.roots]
    return lines
