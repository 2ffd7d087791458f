"""``provreg dataset``: say what a dataset is, under which licence, and who contributed it."""

from pathlib import Path

import click

from registry.cli.connection import connect
from registry.cli.output import json_option, progress, show
from registry.client.files import hash_folder, walk
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.digest import DigestSet
from registry.core.digest import text as digest_text
from registry.core.encoding import time_text
from registry.core.records import dataset
from registry.core.records.dataset import Contributor, Dataset, DatasetFile
from registry.core.records.names import check_name, check_version
from registry.signing.file import StatementSigner


@click.group()
def command() -> None:
    """Register datasets."""


def _contributor(given: str) -> Contributor:
    who, found, rest = given.partition("=")
    share, _, name = rest.partition(":")
    if not found or not who or not share.isascii() or not share.isdigit() or int(share[:16]) < 1:
        raise click.BadParameter(
            f"{given!r} is not ID=SHARE or ID=SHARE:NAME", param_hint="--contributor"
        )
    return Contributor(id=who, share=int(share), name=name)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
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
@click.option(
    "--key", required=True, type=click.Path(path_type=Path), help="Your private key."
)
@json_option
@click.pass_context
def register(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    folder: Path,
    name: str,
    version: str,
    licence: str,
    contributors: tuple[str, ...],
    description: str,
    key: Path,
    as_json: bool,  # noqa: FBT001 - click passes it
) -> None:
    """Register the files in FOLDER as a dataset. Only their digests leave this machine."""
    check_name(name)
    check_version(version)
    signer = StatementSigner.load(key)
    found = walk(folder)
    with progress("hashing", sum(item.size for item in found)) as advance:
        files = tuple(
            DatasetFile(path=file.path, size=file.size, digest=file.digest)
            for file in hash_folder(found, advance).files
        )
    said = Dataset(
        name=name,
        version=version,
        files=files,
        merkle_root=dataset.merkle_root(files).hex(),
        licence=licence,
        contributors=tuple(
            sorted(map(_contributor, contributors), key=lambda item: item.id.encode())
        ),
        issued_at=time_text(ctx.obj["now"]()),
        description=description,
    )
    subject = Subject.of(f"{name}@{version}", DigestSet.of(dataset.files_bytes(said)))
    dataset.validate((subject,), said)
    envelope = signer.sign(
        Statement(
            type_=STATEMENT_TYPE,
            predicate=said,
            predicate_type=dataset.PREDICATE_TYPE,
            subject=(subject,),
        )
    )
    with connect(ctx) as client:
        receipt = client.register(envelope, signer.public_key)
    record_id = digest_text(envelope.record_id)
    show(
        {"name": name, "version": version, "record_id": record_id, "index": receipt.index},
        [
            f"registered  {name}@{version}, {len(files)} files",
            f"record      {record_id}",
            f"log entry   {receipt.index}, proof checked",
        ],
        as_json=as_json,
    )
