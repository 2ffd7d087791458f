"""``provreg log retire``: replace a key of the authorities beside the log."""

from datetime import datetime
from pathlib import Path

import click

from registry.cli.output import json_option, show


@click.command("retire")
@click.argument("kind", type=click.Choice(["ca", "ct", "tsa"]))
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("provreg-data"),
    show_default=True,
    help="The data folder.",
)
@click.confirmation_option(prompt="The key will be erased for good. Retire it?")
@json_option
@click.pass_context
def command(ctx: click.Context, *, kind: str, data: Path, as_json: bool) -> None:
    """Erase a key of serve --ca or --tsa; the next start makes a new one.

    With the registry stopped. KIND is ca (who issues certificates), ct (who signs their SCTs) or
    tsa (who stamps). Then start it, write a new trust config and give it to everybody: what was
    signed before stays good, since the old authority stays in it until its end.
    """
    # As in the other commands of this noun: they need no code of the server.
    from registry.server.retiring import retire  # noqa: PLC0415

    now: datetime = ctx.obj["now"]()
    kept = retire(data, kind, now)
    lines = [
        f"retired {kept}",
        f"Next: provreg serve --data {data} --{'tsa' if kind == 'tsa' else 'ca'}",
        f"then: provreg log trust-config DIR --data {data} --url URL",
    ]
    show({"kind": kind, "retired": str(kept)}, lines, as_json=as_json)
