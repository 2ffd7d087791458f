"""The command tree, the exit statuses and the clock.

Nouns are imported when they are used: ``provreg verify`` runs without the code of server, client
and database, and starts in a fraction of the time.
"""

import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import click

from registry.cli import output
from registry.cli.lazy import LazyGroup
from registry.errors import MalformedError, Reason, RegistryError, UnavailableError

NOUNS = {
    "serve": "Run a registry.",
    "key": "Make and show keys.",
    "principal": "Let publishers, nodes and auditors in, and out again.",
    "model": "Publish, fetch, show and list model versions.",
    "dataset": "Register datasets.",
    "attribution": "Say which datasets a model version owes how much to.",
    "shim": "Record every output of a model server.",
    "import": "Keep other systems' proofs of outputs, checked.",
    "trace": "Find where an output comes from.",
    "verify": "Judge a capsule, offline.",
    "receipt": "Look at one inference receipt.",
    "payload": "Open, disclose, check, replay and erase what shims keep of calls.",
    "replay": "Run a recorded call again, and log how the outputs compare.",
    "costs": "Sum what verification cost.",
    "audit": "Check that every call has its record.",
    "evidence": "Submit and judge evidence of trusted execution environments.",
    "policy": "Say what evidence must say.",
    "distrust": "Say which devices are no longer believed.",
    "witness": "Cosign the checkpoints of other people's logs.",
    "bundle": "Verify Sigstore bundles, and register the statements in them.",
    "log": "Read and check the transparency log.",
    "monitor": "Follow a log, and notice when it contradicts itself.",
    "db": "Upgrade and rebuild the database.",
}
"""Every first word after ``provreg``, and what it is for."""

_MODULES = {"import": "foreign"}
"""Nouns whose module cannot have their name."""

_UNDECODED = re.compile("[\udc80-\udcff]")


def now() -> datetime:
    """The clock of the command line."""
    return datetime.now(UTC)


@click.group(
    cls=LazyGroup,
    lazy={
        noun: (f"registry.cli.{_MODULES.get(noun, noun)}:command", what)
        for noun, what in NOUNS.items()
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="provreg")
@click.option("--server", metavar="HOST:PORT", help="The registry. [PROVREG_SERVER]")
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(),
    help="A file with your token. [PROVREG_TOKEN_FILE, or the token itself in PROVREG_TOKEN]",
)
@click.option(
    "--log-key",
    metavar="VKEY|@FILE",
    help="The log's verifier key to insist on. [PROVREG_LOG_KEY]",
)
@click.option(
    "--ca-file",
    metavar="FILE",
    type=click.Path(),
    help="TLS: whom to believe. [PROVREG_CA_FILE]",
)
@click.pass_context
def provreg(context: click.Context, /, **settings: Any) -> None:
    """Prove, offline and months later, which model version made an AI output."""
    context.obj = {**settings, "now": now}


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit. No traceback reaches the user."""
    given = sys.argv[1:] if arguments is None else arguments
    sys.exit(run(given))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit status."""
    status: object
    try:
        # Not provreg.main(), which takes a reader that has gone away for a refusal.
        with provreg.make_context("provreg", list(arguments)) as context:
            status = provreg.invoke(context)
    except click.exceptions.Exit as finished:
        status = finished.exit_code
    except click.ClickException as error:
        error.show()
        status = output.USAGE
    except (click.Abort, KeyboardInterrupt):
        status = output.INTERRUPTED
    except BrokenPipeError:
        output.let_go()
        status = output.VERIFIED
    except Exception as error:  # noqa: BLE001 - no traceback reaches the user
        refusal = _refusal(error, arguments)
        output.complain(refusal, as_json="--json" in arguments)
        status = output.status_of(refusal)
    return status if isinstance(status, int) else output.VERIFIED


def _refusal(error: Exception, arguments: list[str]) -> RegistryError:
    if isinstance(error, RegistryError):
        return error
    if isinstance(error, UnicodeEncodeError) and (strange := _no_text(arguments)):
        # Names of files may be any bytes; what is signed or sent is text.
        return MalformedError(
            Reason.BAD_SETTING, "an argument is not valid UTF-8", where=", ".join(strange)
        )
    return _of_the_system(error) if isinstance(error, OSError) else _bug(error)


def _no_text(arguments: list[str]) -> list[str]:
    """The arguments that Python could not decode, with escapes."""
    return [ascii(each) for each in arguments if _UNDECODED.search(each)]


def _of_the_system(error: OSError) -> RegistryError:
    where = " → ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return UnavailableError(
        Reason.STORAGE_FAILED,
        "the operating system refused",
        where=where,
        actual=error.strerror or str(error),
    )


def _bug(error: Exception) -> RegistryError:
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return RegistryError(
        Reason.INTERNAL,
        "provreg failed; this is a mistake in provreg itself",
        where=where,
        actual=f"{type(error).__name__}: {error}"[:400],
    )
