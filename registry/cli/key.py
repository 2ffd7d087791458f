"""``provreg key``: make and show keys."""

from pathlib import Path

import click

from registry.cli.output import json_option, show
from registry.cli.signing import load_signer
from registry.core.keys import MAX_KEY_BYTES, PublicKey
from registry.errors import ConflictError, Reason
from registry.signing.file import StatementSigner, write_public
from registry.signing.signer import is_uri


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
@click.argument("where", metavar="FILE|URI")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the public key to this new file."
)
@json_option
def show_key(where: str, *, out: Path | None, as_json: bool) -> None:
    """Show the id of a key: a public key in FILE, or a private one behind a URI."""
    key = load_signer(where).public_key if is_uri(where) else _read(Path(where))
    if out is not None:
        if out.exists():
            raise ConflictError(Reason.TARGET_EXISTS, "this file exists already", where=str(out))
        write_public(out, key)
    show({"key_id": key.key_id}, [key.key_id], as_json=as_json)


def _read(path: Path) -> PublicKey:
    if not path.is_file():
        raise click.BadParameter(f"there is no file {path}", param_hint="FILE")
    with path.open("rb") as file:
        return PublicKey.parse(file.read(MAX_KEY_BYTES + 1))
