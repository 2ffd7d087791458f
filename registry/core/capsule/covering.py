"""Covering: which attestation result admits the key that signed a batch, and why another does not.

The same rule for the registry that puts a result into a capsule, and for whoever reads it. A result
covers a record if it is about evidence that is bound to the signing key, and to the model if it
names one; if it stands in the log before the batch; if the record was made while it was in force;
and if nothing that the log said in between refutes it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from registry.core.evidence.binding import GPU_FAMILIES
from registry.core.evidence.claims import Family
from registry.core.evidence.result import AttestationResult, Environment
from registry.core.evidence.validity import Validity, seconds
from registry.core.records.attestation_result import evidence_name, session_key
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason, VerificationError


@dataclass(frozen=True, slots=True)
class Signing:
    """What an environment has to be attested for.

    Attributes:
        key_id: The key that signed the batch.
        manifest: The digest that names the model version, in hexadecimal.
        at: When the node says that it made the record, in Unix seconds.
        batch: The index of the batch in the log.
    """

    key_id: str
    manifest: str
    at: int
    batch: int

    @classmethod
    def of(cls, key_id: str, manifest: str, at: str, batch: int) -> "Signing":
        """As a record says it.

        Raises:
            MalformedError: ``BAD_TIME`` if no calendar has this time.
        """
        try:
            moment = datetime.fromisoformat(at)
        except ValueError as error:
            raise MalformedError(
                Reason.BAD_TIME, "no calendar has this time", where="record", actual=at
            ) from error
        return cls(key_id, manifest, seconds(moment), batch)


@dataclass(frozen=True, slots=True)
class Covering:
    """One environment of a logged result.

    Attributes:
        index: The index of the result in the log.
    """

    index: int
    said: AttestationResult
    family: Family
    environment: Environment

    @property
    def evidence(self) -> str:
        """The name of the evidence."""
        return evidence_name(self.environment)

    def again(self, earlier: "Covering") -> bool:
        """Whether this is what was made later of the same evidence, for the same purpose.

        Somebody who submits the evidence of others for a key of theirs must refute nothing.
        """
        return (
            self.index > earlier.index
            and self.evidence == earlier.evidence
            and self.environment.stated == earlier.environment.stated
        )


def environments(results: Sequence[tuple[int, AttestationResult]]) -> Iterator[Covering]:
    """Every environment of logged results, in log order."""
    for index, said in sorted(results, key=lambda item: item[0]):
        for family, environment in sorted(said.submods.items()):
            yield Covering(index, said, family, environment)


def find(
    results: Sequence[tuple[int, AttestationResult]], signing: Signing
) -> Covering | VerificationError:
    """The newest environment that covers a record; else the refusal that came nearest to it.

    Args:
        results: Genuine results with their index in the log.
        signing: What must be covered.
    """
    nearest = VerificationError(
        Reason.UNATTESTED, "no attestation result is about the environment of this key"
    )
    found: Covering | None = None
    every = list(environments(results))
    for item in every:
        if item.family in GPU_FAMILIES:
            continue
        try:
            verify(item, signing)
            _verify_unrefuted(item, every, signing)
        except VerificationError as error:
            if _ORDER.index(error.reason) >= _ORDER.index(nearest.reason):
                nearest = error
        else:
            found = item
    return found or nearest


def find_gpu(
    results: Sequence[tuple[int, AttestationResult]], signing: Signing, evidence_id: str
) -> Covering | VerificationError:
    """The newest environment about the GPUs that a CPU's evidence is bound to."""
    nearest = VerificationError(
        Reason.UNATTESTED,
        "no attestation result is about the GPUs that the evidence names",
        expected=evidence_id,
    )
    found: Covering | None = None
    every = list(environments(results))
    for item in every:
        if item.family not in GPU_FAMILIES or item.evidence != evidence_id:
            continue
        try:
            _verify_in_force(item, signing)
            _verify_unrefuted(item, every, signing)
        except VerificationError as error:
            nearest = error
        else:
            found = item
    return found or nearest


def gpu_of(environment: Environment) -> str:
    """The id of the GPU evidence that a CPU's evidence is bound to; empty if to none."""
    stated = environment.stated
    if isinstance(stated, msgspec.UnsetType) or isinstance(stated.gpu, msgspec.UnsetType):
        return ""
    return stated.gpu


def model_of(environment: Environment) -> str:
    """The manifest digest of the model that evidence is bound to; empty if to none."""
    stated = environment.stated
    if isinstance(stated, msgspec.UnsetType) or isinstance(stated.model, msgspec.UnsetType):
        return ""
    return stated.model


def verify(item: Covering, signing: Signing) -> None:
    """Check that one environment covers a record.

    Raises:
        VerificationError: ``WRONG_SESSION_KEY``, ``WRONG_MODEL``, ``EVIDENCE_AFTER_OUTPUT``,
            ``RESULT_NOT_IN_FORCE`` or ``ATTESTATION_REFUSED``.
    """
    bound = session_key(item.environment)
    if bound != signing.key_id:
        raise _refusal(
            item,
            Reason.WRONG_SESSION_KEY,
            "the evidence is bound to another key than the one that signed the batch",
            expected=signing.key_id,
            actual=bound or "no key",
        )
    model = model_of(item.environment)
    if model and model != signing.manifest:
        raise _refusal(
            item,
            Reason.WRONG_MODEL,
            "the evidence is bound to another model version than the one that answered",
            expected=f"manifest sha256:{signing.manifest}",
            actual=f"sha256:{model}",
        )
    _verify_in_force(item, signing)


def _verify_in_force(item: Covering, signing: Signing) -> None:
    said = item.said
    made = Validity.text(signing.at)
    if item.index >= signing.batch:
        raise _refusal(
            item,
            Reason.EVIDENCE_AFTER_OUTPUT,
            "the attestation result was logged only after the batch",
            expected=f"an entry before {signing.batch}",
            actual=f"entry {item.index}",
        )
    if signing.at < said.issued_at:
        raise _refusal(
            item,
            Reason.EVIDENCE_AFTER_OUTPUT,
            "the output was made before the environment was attested",
            expected=f"at {Validity.text(said.issued_at)} or later",
            actual=made,
        )
    if signing.at >= said.expires_at:
        raise _refusal(
            item,
            Reason.RESULT_NOT_IN_FORCE,
            "the attestation result was no longer in force when the output was made",
            expected=f"before {Validity.text(said.expires_at)}",
            actual=made,
        )
    if item.environment.verdict is not Verdict.VALID:
        raise _refused(item)


def _verify_unrefuted(item: Covering, every: Sequence[Covering], signing: Signing) -> None:
    for later in every:
        refuted = later.environment.verdict is Verdict.INVALID and later.again(item)
        if refuted and later.index < signing.batch:
            raise _refused(later)


def _refused(item: Covering) -> VerificationError:
    environment = item.environment
    found = ", ".join(f"{check.check} {check.finding}" for check in environment.checks)
    return _refusal(
        item,
        Reason.ATTESTATION_REFUSED,
        "the registry did not find this evidence valid",
        expected=Verdict.VALID,
        actual=f"{environment.verdict}: {found or 'no finding'}"[:300],
    )


def _refusal(
    item: Covering, reason: Reason, what: str, *, expected: str, actual: str
) -> VerificationError:
    where = f"{item.family} in entry {item.index}"
    return VerificationError(reason, what, where=where, expected=expected, actual=actual)


_ORDER: Sequence[str] = (
    Reason.UNATTESTED,
    Reason.WRONG_SESSION_KEY,
    Reason.WRONG_MODEL,
    Reason.RESULT_NOT_IN_FORCE,
    Reason.EVIDENCE_AFTER_OUTPUT,
    Reason.ATTESTATION_REFUSED,
)
"""Refusals, from the farthest from a result that covers to the nearest."""
