"""``provreg dataset``: say what a dataset is, under which licence, and who contributed it."""

from pathlib import Path

import click

from registry.cli.connection import connect
from registry.cli.output import json_option, progress, show
from registry.cli.signing import key_option, load_signer
from registry.client.data import register_dataset
from registry.client.files import hash_folder, walk
from registry.core import encoding
from registry.core.records.dataset import Contributor
from registry.core.records.manifest import MAX_MANIFEST_BYTES, Manifest


@click.group()
def command() -> None:
    """Register datasets."""


def share_of(given: str) -> int:
    """A share as people write it: a whole number of at least 1.

    Raises:
        BadParameter: It is none.
    """
    if not (given.isascii() and given.isdigit() and len(given) <= len(str(2**53))):
        raise click.BadParameter(f"{given[:40]!r} is not a share: a whole number from 1 on")
    share = encoding.decimal(given.lstrip("0") or "0")
    if share < 1:
        raise click.BadParameter("a share is at least 1")
    return share


def _contributor(given: str) -> Contributor:
    who, _, rest = given.partition("=")
    share, _, name = rest.partition(":")
    return Contributor(id=who, share=share_of(share), name=name)


@command.command()
@click.argument(
    "folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The files of the dataset, hashed elsewhere, instead of FOLDER.",
)
@click.option("--name", required=True, metavar="acme/corpus")
@click.option("--version", required=True)
@click.option("--licence", "--license", required=True, help="An SPDX expression, or words.")
@click.option(
    "--contributor",
    "contributors",
    multiple=True,
    required=True,
    metavar="ID=SHARE[:NAME]",
    help="Who gave which part; the whole is the sum of all shares.",
)
@click.option("--description", default="")
@key_option
@json_option
@click.pass_context
def register(
    ctx: click.Context,
    *,
    folder: Path | None,
    manifest: Path | None,
    name: str,
    version: str,
    licence: str,
    contributors: tuple[str, ...],
    description: str,
    key: str,
    as_json: bool,
) -> None:
    """Register the files in FOLDER as a dataset. Only their digests leave this machine."""
    signer = load_signer(key)
    who = [_contributor(given) for given in contributors]
    if manifest is not None and folder is None:
        with manifest.open("rb") as file:
            files = Manifest.parse(file.read(MAX_MANIFEST_BYTES + 1)).files
    elif folder is not None and manifest is None:
        found = walk(folder)
        with progress("hashing", sum(item.size for item in found)) as advance:
            files = hash_folder(found, advance).files
    else:
        raise click.UsageError("give either FOLDER or --manifest")
    with connect(ctx) as client:
        done = register_dataset(
            client,
            files,
            who,
            signer,
            ctx.obj["now"](),
            name=name,
            version=version,
            licence=licence,
            description=description,
        )
    show(
        {
            "name": name,
            "version": version,
            "record_id": done.record_id,
            "index": done.receipt.index,
            "fresh": done.fresh,
        },
        [
            f"{'registered' if done.fresh else 'unchanged'}  {name}@{version}, {len(files)} files",
            f"record      {done.record_id}",
            f"log entry   {done.receipt.index}, proof checked",
        ],
        as_json=as_json,
    )
