"""Training data in a capsule: whether its statements name the datasets and the release it holds."""

from collections.abc import Iterable

from registry.core import verdict
from registry.core.capsule.links import Link
from registry.core.capsule.signers import Read
from registry.core.records import attribution, release
from registry.core.verdict import Check
from registry.errors import Reason, RegistryError, VerificationError


def references(name: str, wanted: Iterable[str], held: set[str]) -> Check:
    """Whether all datasets that something names are held."""
    missing = [item for item in wanted if item not in held]
    if missing:
        text = f"the capsule does not hold {len(missing)} of the datasets, such as {missing[0]}"
        return verdict.indeterminate(name, Reason.UNKNOWN_REFERENCE, text)
    return verdict.valid(name, "every dataset that is named is in the capsule")


def about(item: Read, said: Read | None) -> Link:
    """Whether an attribution is about the release; open if that is not there."""
    claim: attribution.Attribution = item.statement.predicate
    if said is not None:
        predicate: release.Release = said.statement.predicate
        expected = f"{predicate.name}@{predicate.version}, release {said.record_id}"
        actual = f"{claim.name}@{claim.version}, release {claim.release}"
        if actual != expected:
            error = VerificationError(
                Reason.SUBJECT_MISMATCH,
                "this attribution is about another release",
                expected=expected,
                actual=actual,
            )
            return Link.both(verdict.invalid(item.name, error))
    return Link.both(verdict.valid(item.name))


def unnamed(item: Read) -> RegistryError:
    """The refusal of a dataset that nothing names."""
    return VerificationError(
        Reason.CAPSULE_LINK,
        "neither the release nor an attribution in the capsule names this dataset",
        actual=item.record_id,
    )
