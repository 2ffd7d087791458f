"""Datasets: these bytes, under this licence, contributed by these parties in these shares."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import msgspec

from registry.core import encoding
from registry.core.attestation.statement import Subject, check_subject
from registry.core.digest import DigestSet
from registry.core.encoding import MAX_SAFE_INTEGER, Count, Hex32, Text, Time, Value
from registry.core.records import NAMESPACE
from registry.core.records.manifest import MAX_FILES, check_paths
from registry.core.records.names import Name, Version
from registry.core.records.release import RecordId
from registry.core.tlog import merkle
from registry.errors import MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "dataset/v1"
"""The predicate type of a dataset."""

MAX_CONTRIBUTORS = 10_000
"""Contributors named in one dataset record."""


class DatasetFile(Value, frozen=True):
    """One file of a dataset; its bytes may stay with the publisher."""

    path: str
    size: Count
    digest: DigestSet


class Contributor(Value, frozen=True):
    """Who gave what part.

    Attributes:
        id: A stable id chosen by the publisher, such as a pseudonym or key digest.
        share: The part of this contributor; the whole is the sum of all shares.
    """

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    share: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    name: Text = ""


class Dataset(Value, frozen=True):
    """The publisher says: these files are version ``version`` of dataset ``name``."""

    name: Name
    version: Version
    files: Annotated[tuple[DatasetFile, ...], msgspec.Meta(min_length=1, max_length=MAX_FILES)]
    merkle_root: Hex32
    licence: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    contributors: Annotated[
        tuple[Contributor, ...], msgspec.Meta(min_length=1, max_length=MAX_CONTRIBUTORS)
    ]
    issued_at: Time
    description: Text = ""
    derived_from: tuple[RecordId, ...] = ()


def files_bytes(dataset: Dataset) -> bytes:
    """The RFC 8785 bytes of the file list: what a dataset statement has as its subject."""
    return encoding.write_json(dataset.files)


def merkle_root(files: Sequence[DatasetFile]) -> bytes:
    """RFC 6962 root over each file's RFC 8785 bytes, sorted by path."""
    return merkle.root([merkle.leaf_hash(encoding.write_json(file)) for file in files])


def validate(subject: tuple[Subject, ...], dataset: Dataset) -> None:
    """Check what types cannot express: paths, distinct contributors, a safe total, the subject.

    Raises:
        MalformedError: ``SHARES``, ``SUBJECT_MISMATCH``, or what is wrong with a path.
    """
    check_paths([file.path for file in dataset.files])
    ids = [contributor.id.encode() for contributor in dataset.contributors]
    if any(a >= b for a, b in pairwise(ids)):
        raise MalformedError(
            Reason.SHARES,
            "contributors are listed once each, by increasing id",
            where="contributors",
        )
    if sum(contributor.share for contributor in dataset.contributors) > MAX_SAFE_INTEGER:
        raise MalformedError(
            Reason.SHARES, "the shares add up to more than 2^53 - 1", where="contributors"
        )
    if merkle_root(dataset.files).hex() != dataset.merkle_root:
        raise MalformedError(Reason.SUBJECT_MISMATCH, "the Merkle root is not that of the files")
    check_subject(subject, f"{dataset.name}@{dataset.version}", DigestSet.of(files_bytes(dataset)))
