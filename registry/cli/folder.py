"""``--data``, ``--database``, ``--checkpoint-lock``: for work on a stopped registry."""

from pathlib import Path
from typing import Any

import click


def data_options(function: Any) -> Any:
    """Give a command the parameters ``data`` and ``database``."""
    function = click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        default=Path("provreg-data"),
        show_default=True,
        help="The data folder.",
    )(function)
    return click.option("--database", metavar="URL", help="As given to serve.")(function)


def lock_option(function: Any) -> Any:
    """Give a command the parameter ``checkpoint_lock``."""
    return click.option("--checkpoint-lock", metavar="URL", help="As given to serve.")(function)
