"""Releases: one version of a model, bound to the digest of its manifest."""

from typing import Annotated, Literal

import msgspec

from registry.core.attestation.statement import Subject, check_subject
from registry.core.digest import DigestSet
from registry.core.encoding import Hex32, Text, Time, Value
from registry.core.records import NAMESPACE
from registry.core.records.manifest import MAX_FILES, Manifest, check_paths
from registry.core.records.names import Name, Version
from registry.errors import MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "release/v1"
"""The predicate type of a release."""

Role = Literal["weights", "config", "tokenizer", "template", "code", "doc", "data", "other"]
"""What a file is for."""

RecordId = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
"""The name of another statement: SHA-256 of its PAE."""


class ReleaseFile(Value, frozen=True):
    """What is known of one file beyond its bytes.

    Attributes:
        path: The path in the manifest.
        role: What the file is for.
        structure: Digests of the description of its tensors or inputs and outputs, stored as a
            blob; absent for formats that are not inspected.
    """

    path: str
    role: Role
    structure: DigestSet | msgspec.UnsetType = msgspec.UNSET


class Release(Value, frozen=True):
    """The publisher says: this manifest is version ``version`` of ``name``.

    Attributes:
        files_root: RFC 6962 root over the manifest's files.
        trained_on: Record ids of datasets, as far as known at release time.
        parents: Record ids of the releases it was derived from.
        issued_at: The publisher's clock; a claim. Proven time comes from the log.
    """

    name: Name
    version: Version
    files_root: Hex32
    files: Annotated[tuple[ReleaseFile, ...], msgspec.Meta(min_length=1, max_length=MAX_FILES)]
    issued_at: Time
    licence: Text = ""
    description: Text = ""
    trained_on: tuple[RecordId, ...] = ()
    parents: tuple[RecordId, ...] = ()


def validate(subject: tuple[Subject, ...], release: Release) -> None:
    """Check what types cannot express: the paths, and that the subject bears the release's name.

    Raises:
        MalformedError: ``SUBJECT_MISMATCH``, or what is wrong with a path.
    """
    check_paths([file.path for file in release.files])
    check_subject(subject, f"{release.name}@{release.version}")


def validate_manifest(subject: tuple[Subject, ...], release: Release, manifest: bytes) -> Manifest:
    """Check that ``manifest`` is what the release is bound to, and read it.

    Raises:
        MalformedError: ``SUBJECT_MISMATCH`` if digest, paths or root differ, or what is wrong with
            the manifest.
    """
    check_subject(subject, f"{release.name}@{release.version}", DigestSet.of(manifest))
    parsed = Manifest.parse(manifest)
    if [file.path for file in parsed.files] != [file.path for file in release.files]:
        raise MalformedError(
            Reason.SUBJECT_MISMATCH, "the release and its manifest list different files"
        )
    if parsed.files_root.hex() != release.files_root:
        raise MalformedError(
            Reason.SUBJECT_MISMATCH,
            "the files root is not that of the manifest",
            expected=parsed.files_root.hex(),
            actual=release.files_root,
        )
    return parsed
