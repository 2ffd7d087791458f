"""Attributions: which datasets a model version owes how much to. A signed estimate, not a proof."""

from itertools import pairwise
from typing import Annotated, Literal

import msgspec

from registry.core.attestation.statement import Subject, check_subject
from registry.core.encoding import MAX_SAFE_INTEGER, Text, Time, Value
from registry.core.records import NAMESPACE
from registry.core.records.names import Name, Version
from registry.core.records.release import RecordId
from registry.errors import MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "attribution/v1"
"""The predicate type of an attribution."""

MAX_DATASETS = 10_000
"""Datasets named in one attribution."""

Method = Literal[
    "declared",
    "token_count",
    "exact_ngram",
    "trak",
    "influence_ekfac",
    "tracin",
    "loo",
    "group_shapley",
    "retrieval",
]
"""How the shares were found."""


class DatasetShare(Value, frozen=True):
    """One dataset's part; the whole is the sum of all shares."""

    dataset: RecordId
    share: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]


class Attribution(Value, frozen=True):
    """The issuer says: this release owes these shares to these datasets."""

    release: RecordId
    name: Name
    version: Version
    scope: Literal["model"]
    method: Method
    datasets: Annotated[
        tuple[DatasetShare, ...], msgspec.Meta(min_length=1, max_length=MAX_DATASETS)
    ]
    issued_at: Time
    note: Text = ""


def validate(subject: tuple[Subject, ...], attribution: Attribution) -> None:
    """Check what types cannot express: distinct datasets in order, a safe total, the subject.

    Raises:
        MalformedError: ``SHARES`` or ``SUBJECT_MISMATCH``.
    """
    ids = [item.dataset for item in attribution.datasets]
    if any(a >= b for a, b in pairwise(ids)):
        raise MalformedError(
            Reason.SHARES, "datasets are listed once each, by increasing record id"
        )
    if sum(item.share for item in attribution.datasets) > MAX_SAFE_INTEGER:
        raise MalformedError(Reason.SHARES, "the shares add up to more than 2^53 - 1")
    check_subject(subject, f"{attribution.name}@{attribution.version}")
