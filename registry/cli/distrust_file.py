"""Distrust entries in files: what ``provreg distrust list --json`` prints, without any registry."""

from pathlib import Path
from typing import Final

import click
import msgspec

from registry.cli.input_file import read_input
from registry.cli.policy_file import MAX_POLICY_BYTES
from registry.core import encoding
from registry.core.evidence.distrust import Entry, check, check_names
from registry.core.evidence.families import rules_of
from registry.core.evidence.published import STARTER
from registry.errors import MalformedError, Reason

MAX_ENTRIES: Final = 1024
"""Entries of one file."""


def read_distrust(path: Path) -> tuple[Entry, ...]:
    """The entries in a file: a list of objects whose member ``entry`` is one.

    Raises:
        MalformedError: It is not such JSON, or an entry that would match everything.
        LimitExceededError: ``MESSAGE_TOO_LARGE``.
    """
    data = read_input(path, MAX_POLICY_BYTES, "distrust list")
    listed = encoding.read_foreign_json(data, what="distrust list")
    if not isinstance(listed, list) or len(listed) > MAX_ENTRIES:
        raise _no_list(path)
    entries = []
    for item in listed:
        members = item.get("entry") if isinstance(item, dict) else None
        if not isinstance(members, dict):
            raise _no_list(path)
        entry = encoding.convert(members, Entry)
        check(entry)
        check_names(entry, rules_of(entry.selector.family))
        entries.append(entry)
    return tuple(entries)


def _no_list(path: Path) -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_JSON,
        "this is no distrust list",
        where=str(path),
        expected=f"at most {MAX_ENTRIES} objects with an entry each",
        hint="as provreg distrust list --json, or provreg distrust starter, prints it",
    )


@click.command()
def starter() -> None:
    """Print what was published about vendors and verifiers, for provreg evidence verify.

    Read it before you believe it: provreg distrust add makes a registry distrust something.
    """
    listed = encoding.write_json([{"entry": entry} for entry in STARTER])
    click.echo(msgspec.json.format(listed, indent=2).decode())
