"""Registering datasets, and what a model version owes to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from registry.client.registry import RegistryClient
from registry.core import digest
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.digest import DigestSet
from registry.core.encoding import time_text
from registry.core.records import attribution, dataset, predicate
from registry.core.records.attribution import Attribution, DatasetShare, Method
from registry.core.records.dataset import Contributor, Dataset, DatasetFile
from registry.core.records.manifest import File
from registry.core.records.names import check_name, check_version, split_reference
from registry.core.tlog.receipt import Receipt
from registry.errors import ConflictError, NotFoundError, Reason
from registry.signing.signer import Signer


@dataclass(frozen=True, slots=True)
class Registered:
    """A statement that is in the log; ``fresh`` is False if it was there before."""

    record_id: str
    receipt: Receipt
    fresh: bool


def register_dataset(
    client: RegistryClient,
    files: Sequence[File],
    contributors: Sequence[Contributor],
    signer: Signer,
    at: datetime,
    *,
    name: str,
    version: str,
    licence: str,
    description: str = "",
) -> Registered:
    """Say what a dataset is. Only digests of its files leave this machine.

    Registering again what is registered already changes nothing and answers the first receipt.

    Raises:
        MalformedError: What is wrong with the description.
        ConflictError: ``VERSION_EXISTS`` if the version is another dataset already.
        RegistryError: Why the registry refuses, or cannot be reached.
    """
    check_name(name)
    check_version(version)
    listed = tuple(
        DatasetFile(path=file.path, size=file.size, digest=file.digest)
        for file in sorted(files, key=lambda file: file.path.encode())
    )
    said = Dataset(
        name=name,
        version=version,
        files=listed,
        merkle_root=dataset.merkle_root(listed).hex(),
        licence=licence,
        contributors=tuple(sorted(contributors, key=lambda item: item.id.encode())),
        issued_at=time_text(at),
        description=description,
    )
    subject = Subject.of(f"{name}@{version}", DigestSet.of(dataset.files_bytes(said)))
    envelope = _sign(signer, dataset.PREDICATE_TYPE, subject, said)
    try:
        known = client.find_version(dataset.PREDICATE_TYPE, name, version)
    except NotFoundError as error:
        if error.reason is not Reason.UNKNOWN_VERSION:
            raise
        return _register(client, envelope, signer)
    before: Dataset = known.statement.predicate
    if msgspec.structs.replace(said, issued_at=before.issued_at) != before:
        raise ConflictError(
            Reason.VERSION_EXISTS,
            f"{name}@{version} is registered already, with other content; it can never change",
            where=f"entry {known.index}",
            expected=known.statement.subject[0].digest.sha256,
            actual=subject.digest.sha256,
            hint="register it under a new version",
        )
    return Registered(known.record_id, known.receipt, fresh=False)


def register_attribution(
    client: RegistryClient,
    model: str,
    shares: Mapping[str, int],
    signer: Signer,
    at: datetime,
    *,
    method: Method = "declared",
    note: str = "",
) -> Registered:
    """Say which datasets a release owes how much to: a signed estimate, not a proof.

    Args:
        client: The registry.
        model: The release, as ``name@version``.
        shares: Dataset, as ``name@version``, to its share.
        signer: Whoever says so.
        at: The time that they claim.
        method: How the shares were found.
        note: Free text.

    Raises:
        NotFoundError: ``UNKNOWN_VERSION``.
        RegistryError: Why the registry refuses, or cannot be reached.
    """
    known = client.release(*split_reference(model))
    owed = [
        DatasetShare(
            dataset=client.find_version(
                dataset.PREDICATE_TYPE, *split_reference(reference)
            ).record_id,
            share=share,
        )
        for reference, share in shares.items()
    ]
    said = Attribution(
        release=known.logged.record_id,
        name=known.release.name,
        version=known.release.version,
        scope="model",
        method=method,
        datasets=tuple(sorted(owed, key=lambda item: item.dataset)),
        issued_at=time_text(at),
        note=note,
    )
    subject = Subject.named(model, known.version_id)
    return _register(client, _sign(signer, attribution.PREDICATE_TYPE, subject, said), signer)


def _sign(
    signer: Signer, predicate_type: str, subject: Subject, said: Dataset | Attribution
) -> Envelope:
    envelope = signer.sign(
        Statement(
            type_=STATEMENT_TYPE, predicate=said, predicate_type=predicate_type, subject=(subject,)
        )
    )
    # What a registry would refuse to read is refused before anything is sent.
    predicate.parse(envelope.payload)
    return envelope


def _register(client: RegistryClient, envelope: Envelope, signer: Signer) -> Registered:
    receipt = client.register(envelope, signer.public_key)
    return Registered(digest.text(envelope.record_id), receipt, fresh=True)
