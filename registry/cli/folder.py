"""``--data``, ``--database``, ``--checkpoint-lock``: for work on a stopped registry."""

from pathlib import Path
from typing import Any

import click


def data_options(function: Any) -> Any:
    """Give a command the parameters ``data``, a folder that is there, and ``database``."""
    return _options(function, exists=True)


def new_data_options(function: Any) -> Any:
    """Give a command the parameters ``data``, a folder perhaps a new one, and ``database``."""
    return _options(function, exists=False)


def _options(function: Any, *, exists: bool) -> Any:
    function = click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False, exists=exists),
        default=Path("provreg-data"),
        show_default=True,
        help="The data folder.",
    )(function)
    return click.option("--database", metavar="URL", help="As given to serve.")(function)


def lock_option(function: Any) -> Any:
    """Give a command the parameter ``checkpoint_lock``."""
    return click.option("--checkpoint-lock", metavar="URL", help="As given to serve.")(function)
