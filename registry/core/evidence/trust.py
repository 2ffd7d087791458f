"""AR4SI trustworthiness: what findings do to eight claims, and the tier of the worst.

Values are those of draft-ietf-rats-ar4si; the tier names are EAR's (draft-ietf-rats-ear-04).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Final, get_args

from registry.core.evidence.binding import Mismatch
from registry.core.evidence.checks import CheckResult, Finding, Severity
from registry.core.evidence.rules import TrustClaim, Weight

CRYPTO_FAILED = 99
"""Every claim of evidence whose cryptography is broken: kept apart from what a policy refuses."""

_AFFIRMING = range(2, 32)
_WARNING = range(32, 96)
_CONTRAINDICATED = range(96, 128)

CLAIMS: Final[tuple[TrustClaim, ...]] = get_args(TrustClaim)


class Tier(StrEnum):
    """EAR's ``ear.status``, from best to worst; ``none`` is no statement."""

    NONE = "none"
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


COMMON: Mapping[StrEnum, Weight] = {
    Finding.UNTRUSTED_ROOT: Weight("fatal", {"hardware": 97}),
    Finding.REVOKED: Weight("fatal", {"hardware": 96}),
    Finding.DISTRUSTED: Weight("fatal", {"hardware": 96}),
    Finding.REFERENCE_MISMATCH: Weight("fatal", {"executables": 96}),
    Finding.BELOW_MINIMUM: Weight("fatal", {"hardware": 96}),
    Mismatch.WRONG_COMMITMENT: Weight("fatal", {"instance-identity": 97}),
    Mismatch.WRONG_NONCE: Weight("fatal", {"instance-identity": 97}),
    Mismatch.WRONG_SESSION_KEY: Weight("fatal", {"instance-identity": 97}),
    Mismatch.WRONG_MODEL: Weight("fatal", {"executables": 96}),
    Mismatch.WRONG_GPU: Weight("fatal", {"sourced-data": 96}),
    Mismatch.WRONG_CONTEXT: Weight("fatal", {"instance-identity": 97}),
}
"""What findings mean that any family may have."""


_WORST_WARNING: Mapping[TrustClaim, int] = {"configuration": 36, "executables": 33}
_UNSAFE = 32


def softened(weight: Weight) -> Weight:
    """A weight that warns: what AR4SI calls contraindicated becomes unsafe, or not recognised."""
    trust: dict[TrustClaim, int] = {
        claim: _WORST_WARNING.get(claim, _UNSAFE) if value in _CONTRAINDICATED else value
        for claim, value in weight.trust.items()
    }
    return replace(weight, trust=trust)


def tier_of(value: int) -> Tier:
    """The tier of one claim's value; -2 to -32 affirm as 2 to 31 do, and so on."""
    size = value if value >= 0 else max(-value - 1, _AFFIRMING.start) if value < -1 else 0
    if size in _AFFIRMING:
        return Tier.AFFIRMING
    if size in _WARNING:
        return Tier.WARNING
    if size in _CONTRAINDICATED:
        return Tier.CONTRAINDICATED
    return Tier.NONE


def worst(values: Iterable[int]) -> Tier:
    """The tier of the worst claim; ``none`` if nothing is claimed."""
    order = list(Tier)
    return max((tier_of(value) for value in values), key=order.index, default=Tier.NONE)


def weigh(
    affirms: Mapping[TrustClaim, int],
    failed: Iterable[tuple[CheckResult, Weight | None]],
) -> dict[TrustClaim, int]:
    """The trustworthiness vector: each claim at the worst value that a failed check gives it.

    Args:
        affirms: The values of evidence about which nothing was found.
        failed: Every failed check that was not accepted, and what its finding means.
    """
    vector = dict(affirms)
    for result, weight in failed:
        if weight is not None and weight.trust:
            for claim, value in weight.trust.items():
                vector[claim] = max(vector.get(claim, 0), value)
        elif result.severity in (Severity.CRYPTO, Severity.IDENTITY):
            return dict.fromkeys(CLAIMS, CRYPTO_FAILED)
    return vector
