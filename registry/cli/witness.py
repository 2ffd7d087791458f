"""``provreg witness``: cosign the checkpoints of other people's logs."""

from pathlib import Path

import click

from registry.config import DEFAULT_WITNESS_LISTEN, WitnessSettings

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def command() -> None:
    """Cosign the checkpoints of other people's logs."""


@command.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("witness-data"),
    show_default=True,
    help="The witness's folder; made on first start, with its key.",
)
@click.option(
    "--logs",
    type=_FILE,
    required=True,
    help="Whose checkpoints to cosign: the log lines of a C2SP tlog-policy.",
)
@click.option("--listen", default=DEFAULT_WITNESS_LISTEN, show_default=True, metavar="HOST:PORT")
@click.option("--name", metavar="NAME", help="The witness's name; made up if absent.")
@click.option(
    "--post-quantum",
    is_flag=True,
    help="Make an ML-DSA-44 key that cosigns beside the Ed25519 key, for good.",
)
@click.option("--tls-cert", type=_FILE, help="PEM certificate chain.")
@click.option("--tls-key", type=_FILE, help="PEM private key.")
def serve(
    *,
    data: Path,
    logs: Path,
    listen: str,
    name: str | None,
    post_quantum: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Run a witness until it is told to stop."""
    # Other commands need no code of the server.
    from registry.server.witness import run  # noqa: PLC0415

    run(WitnessSettings(data, logs, listen, name, tls_cert, tls_key, post_quantum))
