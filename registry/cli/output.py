"""Text or JSON on standard output, never both; everything else goes to standard error."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import click

from registry.core import encoding
from registry.core.verdict import Verdict
from registry.errors import Reason, RegistryError, UnavailableError

VERIFIED: Final = 0
"""Exit status: done, or proved."""

REFUSED: Final = 1
"""Exit status: invalid, or refused."""

USAGE: Final = 2
"""Exit status: the command or a setting was not understood."""

UNAVAILABLE: Final = 3
"""Exit status: the registry, or a file, could not be reached; trying again may help."""

INDETERMINATE: Final = 4
"""Exit status: neither proved nor refuted."""

INTERRUPTED: Final = 130
"""Exit status: stopped by the user."""

VERDICT_STATUS: Final = {
    Verdict.VALID: VERIFIED,
    Verdict.INVALID: REFUSED,
    Verdict.INDETERMINATE: INDETERMINATE,
}
"""The exit status of a verdict."""

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON for machines.")
"""``--json``, on every command that reads."""


def show(value: object, text: Iterable[str], *, as_json: bool) -> None:
    """Write one answer: ``value`` as JSON, or ``text`` line by line."""
    try:
        if as_json:
            click.echo(encoding.write_json(value).decode())
        else:
            for line in text:
                click.echo(plain(line))
    except BrokenPipeError:
        # Whoever read has seen enough; what was found out is still the exit status.
        let_go()


def let_go() -> None:
    """Write to nobody: at its end Python would try to write the rest to a reader that is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(line: str) -> None:
    """Tell the user something beside the answer."""
    click.echo(plain(line), err=True)


def status_of(error: RegistryError) -> int:
    """The exit status of an error."""
    if error.reason is Reason.BAD_SETTING:
        return USAGE
    if isinstance(error, UnavailableError) or error.reason is Reason.INTERNAL:
        return UNAVAILABLE
    return REFUSED


def complain(error: RegistryError, *, as_json: bool) -> None:
    """Say on standard error what was refused, why, and what to do."""
    details = {
        "where": error.where,
        "expected": error.expected,
        "actual": error.actual,
        "hint": error.hint,
    }
    if as_json:
        told = {"reason": str(error.reason), "what": error.what, **details}
        readable = {key: encodable(value) for key, value in told.items()}
        click.echo(encoding.write_json({"error": readable}).decode(), err=True)
        return
    kind = {USAGE: "usage", UNAVAILABLE: "unavailable"}.get(status_of(error), "refused")
    say(f"{kind}: {error.what}")
    say(f"  reason    {error.reason}")
    for name, value in details.items():
        if value:
            say(f"  {'try' if name == 'hint' else name:9} {value}")


def plain(line: str) -> str:
    """Names from elsewhere must not forge lines or drive a terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line
    )


def encodable(text: str) -> str:
    """Names that are not Unicode are shown with escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def progress(label: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, if that is a terminal; call the value with bytes done."""
    if not total_bytes or not sys.stderr.isatty():
        yield lambda _count: None
        return
    with click.progressbar(length=total_bytes, label=label, file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def steps() -> Iterator[Callable[[str, int], None]]:
    """Progress of unknown length on standard error, if that is a terminal: what, and how many."""
    if not sys.stderr.isatty():
        yield lambda _what, _done: None
        return
    yield lambda what, done: click.echo(f"\r\x1b[K{what} {done}", nl=False, err=True)
    click.echo("\r\x1b[K", nl=False, err=True)
