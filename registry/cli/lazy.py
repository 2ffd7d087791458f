"""Groups of commands whose modules are imported when a command is asked for.

``provreg verify`` and ``provreg evidence verify`` run without the code of server, client and
database, and start in a fraction of the time.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """Commands by name: where each is (``module:attribute``), and what it is for."""

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, _context: click.Context) -> list[str]:
        """The names, in the order in which they were given."""
        return list(self._lazy)

    def get_command(self, _context: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and take the command."""
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in self._lazy.items()])
