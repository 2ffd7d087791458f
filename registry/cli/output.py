"""Text or JSON on standard output, never both; everything else goes to standard error."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from registry.core import encoding
from registry.core.verdict import Verdict
from registry.errors import (
    Reason,
    RegistryError,
    UnavailableError,
)

VERIFIED = 0
"""Exit status: done, or proved."""

REFUSED = 1
"""Exit status: invalid, or refused."""

USAGE = 2
"""Exit status: the command was not understood."""

UNAVAILABLE = 3
"""Exit status: the registry, or a file, could not be reached; trying again may help."""

INDETERMINATE = 4
"""Exit status: neither proved nor refuted."""

INTERRUPTED = 130
"""Exit status: stopped by the user."""

VERDICT_STATUS = {
    Verdict.VALID: VERIFIED,
    Verdict.INVALID: REFUSED,
    Verdict.INDETERMINATE: INDETERMINATE,
}
"""The exit status of a verdict."""

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON for machines.")
"""``--json``, on every command that reads."""


def show(value: object, text: Iterable[str], *, as_json: bool) -> None:
    """Write one answer: ``value`` as JSON, or ``text`` line by line."""
    if as_json:
        click.echo(encoding.write_json(value).decode())
    else:
        for line in text:
            click.echo(line)


def status_of(error: RegistryError) -> int:
    """The exit status of an error."""
    unreachable = error.reason in (Reason.UNREACHABLE, Reason.DEADLINE, Reason.INTERNAL)
    return UNAVAILABLE if isinstance(error, UnavailableError) or unreachable else REFUSED


def complain(error: RegistryError, *, as_json: bool) -> None:
    """Say on standard error what was refused, why, and what to do."""
    details = {
        "where": error.where,
        "expected": error.expected,
        "actual": error.actual,
        "hint": error.hint,
    }
    if as_json:
        told: Mapping[str, Any] = {
            "error": {"reason": str(error.reason), "what": error.what, **details}
        }
        click.echo(encoding.write_json(told).decode(), err=True)
        return
    click.echo(f"{click.style('refused', fg='red', bold=True)}: {error.what}", err=True)
    click.echo(f"  reason    {error.reason}", err=True)
    for name, value in details.items():
        if value:
            click.echo(f"  {'try' if name == 'hint' else name:9} {value}", err=True)


@contextmanager
def progress(label: str, total_bytes: int) -> Iterator[Any]:
    """A bar on standard error, if that is a terminal; call the value with bytes done."""
    stream = click.get_text_stream("stderr")
    if not stream.isatty() or not total_bytes:
        yield lambda _count: None
        return
    with click.progressbar(length=total_bytes, label=label, file=stream) as bar:
        yield bar.update
