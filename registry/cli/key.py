"""``provreg key``: make and show keys."""

from pathlib import Path

import click

from registry.cli.output import json_option, show
from registry.core.keys import PublicKey
from registry.errors import ConflictError, Reason
from registry.signing.file import StatementSigner, write_public


@click.group()
def command() -> None:
    """Make and show keys."""


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
def generate(path: Path) -> None:
    """Make a P-256 key in PATH, and its public half in PATH.pub."""
    public = path.with_name(path.name + ".pub")
    if public.exists():
        raise ConflictError(Reason.TARGET_EXISTS, "this file exists already", where=str(public))
    signer = StatementSigner.generate()
    signer.save(path)
    write_public(public, signer.public_key)
    click.echo(f"private key  {path}  (keep it secret)")
    click.echo(f"public key   {public}  (give it to the operator)")
    click.echo(f"key id       {signer.public_key.key_id}")


@command.command("show")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def show_key(path: Path, *, as_json: bool) -> None:
    """Show the id of the public key in PATH."""
    key = PublicKey.parse(path.read_bytes())
    show({"key_id": key.key_id}, [key.key_id], as_json=as_json)
