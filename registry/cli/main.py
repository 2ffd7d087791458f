"""The command tree, the exit statuses and the clock.

Nouns are imported when they are used: ``provreg verify`` runs without the code of server, client
and database, and starts in a fraction of the time.
"""

import importlib
import sys
from datetime import UTC, datetime
from typing import Any

import click

from registry.cli import output
from registry.errors import RegistryError

NOUNS = {
    "serve": "Run a registry.",
    "key": "Make and show keys.",
    "principal": "Let publishers, nodes and auditors in, and out again.",
    "model": "Publish, fetch, show and list model versions.",
    "dataset": "Register datasets.",
    "attribution": "Say which datasets a model version owes how much to.",
    "trace": "Find where an output comes from.",
    "verify": "Judge a capsule, offline.",
    "log": "Read and check the transparency log.",
    "db": "Upgrade and rebuild the database.",
}
"""Every first word after ``provreg``, and what it is for."""


def now() -> datetime:
    """The clock of the command line."""
    return datetime.now(UTC)


class Nouns(click.Group):
    """One module for each noun, imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The nouns, in the order of a first session."""
        return list(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a noun's module and take its command."""
        if cmd_name not in NOUNS:
            return None
        command: click.Command = importlib.import_module(f"registry.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the nouns without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(NOUNS.items()))


@click.group(cls=Nouns, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="provreg")
@click.option("--server", metavar="HOST:PORT", help="The registry. [PROVREG_SERVER]")
@click.option(
    "--token-file", metavar="FILE", type=click.Path(), help="A file with your token. "
    "[PROVREG_TOKEN_FILE, or the token itself in PROVREG_TOKEN]",
)
@click.option(
    "--log-key", metavar="VKEY|@FILE", help="The log's verifier key to insist on. "
    "[PROVREG_LOG_KEY]",
)
@click.option("--ca-file", metavar="FILE", type=click.Path(), help="TLS: whom to believe. "
    "[PROVREG_CA_FILE]")
@click.pass_context
def provreg(ctx: click.Context, **settings: Any) -> None:
    """Prove, offline and months later, which model version made an AI output."""
    ctx.obj = {**settings, "now": now}


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit. No traceback reaches the user."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = provreg.main(args=given, prog_name="provreg", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = output.USAGE
    except (click.Abort, KeyboardInterrupt):
        status = output.INTERRUPTED
    except RegistryError as error:
        output.complain(error, as_json="--json" in given)
        status = output.status_of(error)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        status = output.VERIFIED
    except OSError as error:
        click.echo(f"unavailable: {error.strerror}: {error.filename or ''}".rstrip(": "), err=True)
        status = output.UNAVAILABLE
    sys.exit(status if isinstance(status, int) else output.VERIFIED)
