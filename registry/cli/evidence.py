"""``provreg evidence``: submit and judge evidence of trusted execution environments."""

import click

from registry.cli.lazy import LazyGroup

_AT = "registry.cli.evidence_service"


@click.group(
    cls=LazyGroup,
    lazy={
        "challenge": (f"{_AT}:challenge", "Get a nonce that evidence must commit to."),
        "submit": (f"{_AT}:submit", "Have evidence judged, archived and logged."),
        "show": (f"{_AT}:show_results", "Show what was made of evidence."),
        "verify": ("registry.cli.evidence_verify:command", "Judge evidence in a file, offline."),
        "reappraise": (f"{_AT}:reappraise", "Judge known evidence again, as of now."),
    },
)
def command() -> None:
    """Submit and judge evidence of trusted execution environments."""
