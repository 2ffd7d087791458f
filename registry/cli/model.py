"""``provreg model``: publish, fetch, show and list model versions."""

from contextlib import ExitStack
from pathlib import Path

import click

from registry.cli.connection import connect, settings
from registry.cli.output import json_option, progress, show
from registry.cli.signing import (
    KEY_HELP,
    BundleFile,
    SigstoreOptions,
    certified_signer,
)
from registry.client.fetch import fetch as fetch_release
from registry.client.publish import Publication
from registry.client.publish import publish as publish_folder
from registry.client.registry import KnownRelease
from registry.client.statements import LoggedStatement
from registry.core import digest
from registry.core.digest import DigestSet
from registry.core.records import dataset, release
from registry.core.records.names import check_name, split_reference
from registry.core.records.release import Release
from registry.signing.signer import Signer

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def command() -> None:
    """Publish, fetch, show and list model versions."""


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--name", required=True, metavar="acme/x")
@click.option("--version", required=True, metavar="1.2.0")
@click.option("--key", metavar="FILE|URI", help=KEY_HELP)
@click.option(
    "--sigstore",
    is_flag=True,
    help="Sign with a new key: certified for an identity token if given, by the registry if not.",
)
@click.option(
    "--trust-config", type=_FILE, help="With --sigstore: whom to ask; see log trust-config."
)
@click.option(
    "--identity-token",
    type=_FILE,
    help="With --sigstore: sign as whom it names, into a bundle. [SIGSTORE_IDENTITY_TOKEN]",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Where the bundle goes, a new file; FOLDER.sigstore.json if absent.",
)
@click.option("--licence", "--license", default="", help="An SPDX expression, or words.")
@click.option("--description", default="")
@click.option(
    "--trained-on",
    multiple=True,
    metavar="acme/corpus@1",
    help="A registered dataset that the model was trained on.",
)
@click.option(
    "--parent",
    "parents",
    multiple=True,
    metavar="acme/base@1",
    help="A published version that this one was derived from.",
)
@json_option
@click.pass_context
def publish(
    ctx: click.Context,
    *,
    folder: Path,
    name: str,
    version: str,
    key: str | None,
    sigstore: bool,
    trust_config: Path | None,
    identity_token: Path | None,
    bundle: Path | None,
    licence: str,
    description: str,
    trained_on: tuple[str, ...],
    parents: tuple[str, ...],
    as_json: bool,
) -> None:
    """Publish all files in FOLDER as one version, which can never change."""
    given = SigstoreOptions.read(key, trust_config, identity_token, wanted=sigstore)
    bundle = bundle or folder.resolve().with_name(f"{folder.resolve().name}.sigstore.json")
    now = ctx.obj["now"]
    with connect(ctx) as client, ExitStack() as resources:
        signer: Signer | BundleFile
        if not isinstance(given, SigstoreOptions):
            signer = given
        elif given.token is not None:
            signer = BundleFile(given.config, given.token, bundle)
        else:
            own = certified_signer(client, given.config, settings(ctx), now)
            signer = resources.enter_context(own)

        def record_ids(predicate_type: str, references: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(
                client.find_version(predicate_type, *split_reference(reference)).record_id
                for reference in references
            )

        published = publish_folder(
            client,
            folder,
            Publication(
                name=name,
                version=version,
                licence=licence,
                description=description,
                trained_on=record_ids(dataset.PREDICATE_TYPE, trained_on),
                parents=record_ids(release.PREDICATE_TYPE, parents),
            ),
            signer,
            now(),
            stages=progress,
        )
    bundled: dict[str, str] = {}
    if isinstance(signer, BundleFile) and published.fresh:
        bundled = {"bundle": str(bundle), "identity": signer.identity}
    files = published.manifest.files
    size = sum(file.size for file in files)
    show(
        {
            "name": name,
            "version": version,
            "version_id": digest.text(published.version_id),
            "record_id": published.record_id,
            "index": published.receipt.index,
            "fresh": published.fresh,
            "sent_bytes": published.sent_bytes,
            **bundled,
        },
        [
            f"{'published' if published.fresh else 'unchanged'}   {name}@{version}",
            f"files       {len(files)}, {size} bytes, of which {published.sent_bytes} were sent",
            f"version id  {digest.text(published.version_id)}",
            f"record      {published.record_id}",
            f"log entry   {published.receipt.index}, proof checked",
            *(f"{name:11} {value}" for name, value in bundled.items()),
        ],
        as_json=as_json,
    )


@command.command()
@click.argument("reference", metavar="NAME@VERSION")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def fetch(
    ctx: click.Context,
    *,
    reference: str,
    folder: Path,
    as_json: bool,
) -> None:
    """Fetch a version into FOLDER, which appears only when every byte was verified."""
    name, version = split_reference(reference)
    with connect(ctx) as client:
        fetched = fetch_release(client, name, version, folder, stages=progress)
    known = fetched.known
    show(
        {
            "name": name,
            "version": version,
            "version_id": digest.text(known.version_id),
            "record_id": known.logged.record_id,
            "index": known.logged.index,
            "publisher": known.logged.granted.principal,
            "folder": str(fetched.folder),
            "received_bytes": fetched.received_bytes,
            "kept_bytes": fetched.kept_bytes,
        },
        [
            f"fetched     {name}@{version} into {fetched.folder}",
            f"files       {len(known.manifest.files)}, {fetched.received_bytes} bytes received"
            + (f", {fetched.kept_bytes} kept from before" if fetched.kept_bytes else ""),
            f"version id  {digest.text(known.version_id)}",
            f"signed by   {known.logged.granted.principal}, key {known.logged.key.key_id[:16]}…",
            f"log entry   {known.logged.index}, proof checked",
        ],
        as_json=as_json,
    )


@command.command("show")
@click.argument("reference", metavar="NAME@VERSION")
@json_option
@click.pass_context
def show_version(ctx: click.Context, *, reference: str, as_json: bool) -> None:
    """Show what was published, checked down to the log."""
    name, version = split_reference(reference)
    with connect(ctx) as client:
        known = client.release(name, version)
    show(_value(known), _lines(known), as_json=as_json)


@command.command("list")
@click.argument("name", default="")
@json_option
@click.pass_context
def list_versions(ctx: click.Context, *, name: str, as_json: bool) -> None:
    """List published versions, of NAME or of all models; oldest first."""
    if name:
        check_name(name)
    with connect(ctx) as client:
        found = list(client.list_statements(release.PREDICATE_TYPE, name))
    show(
        [_summary(item) for item in found],
        [
            f"{item.statement.predicate.name}@{item.statement.predicate.version}"
            f"  {digest.text(_version_id(item))}  {item.granted.principal}, entry {item.index}"
            for item in found
        ],
        as_json=as_json,
    )


def _version_id(item: LoggedStatement) -> bytes:
    return bytes.fromhex(item.statement.subject[0].digest.sha256)


def _summary(item: LoggedStatement) -> dict[str, object]:
    said: Release = item.statement.predicate
    return {
        "name": said.name,
        "version": said.version,
        "version_id": digest.text(_version_id(item)),
        "record_id": item.record_id,
        "index": item.index,
        "publisher": item.granted.principal,
        "issued_at": said.issued_at,
        "licence": said.licence,
    }


def _value(known: KnownRelease) -> dict[str, object]:
    said = known.release
    return _summary(known.logged) | {
        "description": said.description,
        "trained_on": said.trained_on,
        "parents": said.parents,
        "key_id": known.logged.key.key_id,
        "files": [
            {
                "path": file.path,
                "size": file.size,
                "digest": file.digest,
                "role": told.role,
                "structure": told.structure if isinstance(told.structure, DigestSet) else None,
            }
            for file, told in zip(known.manifest.files, said.files, strict=True)
        ],
    }


def _lines(known: KnownRelease) -> list[str]:
    said, logged = known.release, known.logged
    lines = [
        f"{said.name}@{said.version}",
        f"  version id  {digest.text(known.version_id)}",
        f"  publisher   {logged.granted.principal}, key {logged.key.key_id}",
        f"  claimed at  {said.issued_at}",
        f"  log entry   {logged.index}, proof checked",
        f"  record      {logged.record_id}",
    ]
    if said.licence:
        lines.append(f"  licence     {said.licence}")
    if said.description:
        lines.append(f"  about       {said.description}")
    lines += [f"  trained on  {item}" for item in said.trained_on]
    lines += [f"  parent      {item}" for item in said.parents]
    for file, told in zip(known.manifest.files, said.files, strict=True):
        lines.append(f"  file        {file.path}  {file.size} bytes, {told.role}")
        lines.append(f"              sha256:{file.digest.sha256}")
    return lines
