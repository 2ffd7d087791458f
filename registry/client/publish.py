"""Publishing a folder: manifest, structures, blobs, signed release, verified receipt.

Running it again after an interruption sends what is still missing. Publishing again what is
published already changes nothing and answers the first receipt; other bytes, or other facts, under
a version that exists are refused before anything is sent.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from registry.client.files import FoundFile, hash_folder, open_unchanged, role_of, walk
from registry.client.registry import KnownRelease, RegistryClient
from registry.client.transfer import Progress, no_progress
from registry.core import digest, encoding
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.digest import DigestSet
from registry.core.encoding import time_text
from registry.core.formats.safetensors_index import MAX_INDEX_BYTES, check_indexes
from registry.core.formats.structure import parse_structure
from registry.core.records import predicate, release
from registry.core.records.manifest import Manifest
from registry.core.records.names import check_name, check_version
from registry.core.records.release import Release, ReleaseFile
from registry.core.tlog.receipt import Receipt
from registry.errors import ConflictError, LimitExceededError, NotFoundError, Reason
from registry.inspection import sandbox
from registry.signing.signer import Signer

Bundling = Callable[[bytes], bytes]
"""Signs the bytes of a statement into a Sigstore bundle."""

Stages = Callable[[str, int], AbstractContextManager[Progress]]
"""Is told of each stage, with its name and how many bytes it will move."""


def silent(_label: str, _total: int) -> AbstractContextManager[Progress]:
    """Tell nobody."""
    return nullcontext(no_progress)


@dataclass(frozen=True, slots=True)
class Publication:
    """What the publisher says of a folder.

    Attributes:
        trained_on: Record ids of datasets.
        parents: Record ids of the releases it was derived from.
    """

    name: str
    version: str
    licence: str = ""
    description: str = ""
    trained_on: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """A release that is in the log.

    Attributes:
        fresh: False if it had been published before.
        sent_bytes: How many bytes of files the registry did not have.
    """

    record_id: str
    version_id: bytes
    envelope: Envelope
    manifest: Manifest
    receipt: Receipt
    fresh: bool
    sent_bytes: int


def publish(
    client: RegistryClient,
    folder: Path,
    what: Publication,
    signer: Signer | Bundling,
    at: datetime,
    *,
    stages: Stages = silent,
) -> Published:
    """Publish ``folder`` as ``what``, signed at the claimed time ``at``.

    A ``signer`` that makes Sigstore bundles is asked when everything else is sent: what it asks
    others to log stays logged.

    Raises:
        MalformedError, LimitExceededError: What is wrong with the folder or a model file.
        ConflictError: ``VERSION_EXISTS``.
        RegistryError: Why the registry refuses, or cannot be reached.
    """
    check_name(what.name)
    check_version(what.version)
    found = walk(folder)
    with stages("hashing", sum(item.size for item in found)) as progress:
        manifest = hash_folder(found, progress)
    known = _known(client, what)
    if known is not None:
        _require_same(known, what, manifest)
        return Published(
            record_id=known.logged.record_id,
            version_id=known.version_id,
            envelope=known.logged.envelope,
            manifest=manifest,
            receipt=known.logged.receipt,
            fresh=False,
            sent_bytes=0,
        )
    structures = _inspect(found, manifest)
    statement = _statement(what, manifest, structures, at)
    # What the registry would refuse to read is refused before anything is sent.
    predicate.parse(encoding.write_json(statement))
    if callable(signer):
        sent = _send(client, found, manifest, structures, stages)
        envelope, receipt = client.register_bundle(signer(encoding.write_json(statement)))
    else:
        envelope = signer.sign(statement)
        sent = _send(client, found, manifest, structures, stages)
        receipt = client.register(envelope, signer.public_key)
    return Published(
        record_id=digest.text(envelope.record_id),
        version_id=digest.sha256(manifest.to_bytes()),
        envelope=envelope,
        manifest=manifest,
        receipt=receipt,
        fresh=True,
        sent_bytes=sent,
    )


def _known(client: RegistryClient, what: Publication) -> KnownRelease | None:
    try:
        return client.release(what.name, what.version)
    except NotFoundError as error:
        if error.reason is not Reason.UNKNOWN_VERSION:
            raise
        return None


def _require_same(known: KnownRelease, what: Publication, manifest: Manifest) -> None:
    said = known.release
    if known.manifest != manifest:
        raise _exists(
            what,
            "with other files",
            digest.text(known.version_id),
            digest.text(digest.sha256(manifest.to_bytes())),
        )
    before = {
        "licence": said.licence,
        "description": said.description,
        "trained_on": ", ".join(sorted(said.trained_on)),
        "parents": ", ".join(sorted(said.parents)),
    }
    now = {
        "licence": what.licence,
        "description": what.description,
        "trained_on": ", ".join(_ordered(what.trained_on)),
        "parents": ", ".join(_ordered(what.parents)),
    }
    for fact, value in before.items():
        if now[fact] != value:
            raise _exists(
                what, f"with another {fact}", value or f"no {fact}", now[fact] or f"no {fact}"
            )


def _exists(what: Publication, difference: str, expected: str, actual: str) -> ConflictError:
    return ConflictError(
        Reason.VERSION_EXISTS,
        f"{what.name}@{what.version} is published already, {difference}; it can never change",
        expected=expected,
        actual=actual,
        hint="publish under a new version",
    )


def _inspect(found: Sequence[FoundFile], manifest: Manifest) -> dict[str, bytes]:
    """What the model files say about themselves, by path."""
    sizes = {file.path: file.size for file in manifest.files}
    structures = {}
    for item in sorted(found, key=lambda item: item.path):
        structure = sandbox.inspect(item.location, item.path, sizes)
        if structure is not None:
            structures[item.path] = structure
    located = {item.path: item for item in found}
    check_indexes(
        {path: parse_structure(structures[path]) if path in structures else None for path in sizes},
        lambda path: _read_index(located[path]),
    )
    return structures


def _read_index(item: FoundFile) -> bytes:
    if item.size > MAX_INDEX_BYTES:
        raise LimitExceededError(
            Reason.INSPECTION_LIMIT,
            "this index is too large to be compared with its files",
            where=item.path,
            expected=f"at most {MAX_INDEX_BYTES} bytes",
            actual=f"{item.size} bytes",
        )
    with open_unchanged(item) as descriptor, io.FileIO(descriptor, closefd=False) as file:
        return file.readall()


def _send(
    client: RegistryClient,
    found: Sequence[FoundFile],
    manifest: Manifest,
    structures: Mapping[str, bytes],
    stages: Stages,
) -> int:
    """Send the files, structures and manifest that the registry does not have."""
    located = {item.path: item for item in found}
    files = {file.digest.raw: file for file in manifest.files}
    small = {digest.sha256(data): data for data in (*structures.values(), manifest.to_bytes())}
    missing = client.find_missing([*files, *(key for key in small if key not in files)])
    wanted = [files[key] for key in missing if key in files]
    total = sum(file.size for file in wanted)
    with stages("uploading", total) as progress:
        for file in wanted:
            with (
                open_unchanged(located[file.path]) as descriptor,
                io.FileIO(descriptor, closefd=False) as source,
            ):
                client.send(source, file.digest.raw, file.size, progress, file.path)
    for key in missing:
        if key not in files:
            client.upload_bytes(small[key])
    return total


def _statement(
    what: Publication, manifest: Manifest, structures: Mapping[str, bytes], at: datetime
) -> Statement[Release]:
    said = Release(
        name=what.name,
        version=what.version,
        files_root=manifest.files_root.hex(),
        files=tuple(
            ReleaseFile(
                path=file.path,
                role=role_of(file.path),
                structure=DigestSet.of(structures[file.path])
                if file.path in structures
                else msgspec.UNSET,
            )
            for file in manifest.files
        ),
        issued_at=time_text(at),
        licence=what.licence,
        description=what.description,
        trained_on=_ordered(what.trained_on),
        parents=_ordered(what.parents),
    )
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=said,
        predicate_type=release.PREDICATE_TYPE,
        subject=(Subject.of(f"{what.name}@{what.version}", DigestSet.of(manifest.to_bytes())),),
    )


def _ordered(record_ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(record_ids)))
