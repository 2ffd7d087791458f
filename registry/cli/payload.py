"""``provreg payload``: what a shim keeps of calls: open, disclose, check, replay and erase it."""

import click

from registry.cli.lazy import LazyGroup

_AT = "registry.cli.kept"


@click.group(
    cls=LazyGroup,
    lazy={
        "open": (f"{_AT}:open_command", "Open what is kept of one call."),
        "disclose": (f"{_AT}:disclose", "Show some fields of one call, provably."),
        "check": (f"{_AT}:check", "Check what somebody disclosed."),
        "erase": (f"{_AT}:erase", "Erase what is kept; records and proofs stand."),
        "replay": (f"{_AT}_replay:command", "Run again what callers asked to have recomputed."),
    },
)
def command() -> None:
    """Open, disclose, check, replay and erase what shims keep of calls."""
