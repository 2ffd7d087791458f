"""Which keys are attested: a session key speaks from a known environment while a result says so.

A result is in force for a key if it is valid, was logged before, has not ended, and nothing that
was found of the same evidence afterwards says otherwise. The log decides, so that a rebuilt
registry and an auditor come to the same answer.
"""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from registry.core.attestation.dsse import Envelope
from registry.core.capsule.covering import gpu_of
from registry.core.digest import text as digest_text
from registry.core.evidence.binding import GPU_FAMILIES
from registry.core.evidence.checks import Severity
from registry.core.evidence.claims import Family
from registry.core.evidence.result import AttestationResult, Environment
from registry.core.evidence.validity import seconds
from registry.core.keys import PublicKey
from registry.core.records import attestation_result, predicate
from registry.core.records.batch import Batch
from registry.core.registration import AFTER_EVERYTHING
from registry.errors import Reason, RefusedError
from registry.services.challenges import Clock
from registry.storage.sql import attestations, log
from registry.storage.sql.attestations import StoredResult
from registry.storage.sql.engine import Connection, Database
from registry.storage.sql.log import StoredEntry

MAX_VERIFIER_CHARACTERS = 256
"""Characters of a verifier's name by which results are found."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """The result that admits a key.

    Attributes:
        listed: What it says, in short.
        entry: It, as it stands in the log.
    """

    listed: StoredResult
    entry: StoredEntry

    @property
    def record_id(self) -> str:
        """How other statements name it."""
        return digest_text(self.entry.record_id)


class Attested:
    """Answers whether a key is attested."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def in_force(
        self, key: PublicKey, at: datetime, *, before: int = AFTER_EVERYTHING
    ) -> Attestation | None:
        """The newest result that admits ``key`` at a moment; None if it is unattested then.

        Args:
            key: The session key that signs.
            at: The moment that counts.
            before: Only results of earlier entries of the log count, such as those before a batch.
        """
        with self._database.read() as connection:
            return find_in_force(connection, key.key_id, at, before)

    def of_batch(self, index: int) -> Attestation | None:
        """The result that admitted the key of batch ``index`` when it was closed; None if none did.

        The node says when it closed the batch; that the result was there before, the log says.
        """
        with self._database.read() as connection:
            return of_batch(connection, index)

    def require(self, key: PublicKey) -> Attestation:
        """The result that admits ``key`` now.

        Raises:
            RefusedError: ``UNATTESTED``.
        """
        now = self._clock()
        with self._database.read() as connection:
            found = find_in_force(connection, key.key_id, now, AFTER_EVERYTHING)
            gpu = b"" if found is None else _gpu_of(found)
            if gpu and not attestations.gpus_in_force(connection, gpu, seconds(now)):
                raise RefusedError(
                    Reason.UNATTESTED,
                    "the GPUs that the evidence for this key is bound to are not attested",
                    where=f"key {key.key_id}",
                    expected=f"a valid result in force about evidence {gpu.hex()}",
                    actual="none that holds now",
                    hint="have GPUs and CPU attested again",
                )
        if found is None:
            raise RefusedError(
                Reason.UNATTESTED,
                "no attestation result is in force for this key",
                where=f"key {key.key_id}",
                expected="a valid result about evidence that is bound to this key",
                actual="none that holds now",
                hint="run: provreg evidence challenge, then provreg evidence submit",
            )
        return found


def find_in_force(
    connection: Connection, key_id: str, at: datetime, before: int
) -> Attestation | None:
    """As :meth:`Attested.in_force`, in a transaction that is under way."""
    listed = attestations.in_force(connection, key_id, seconds(at), before)
    entry = None if listed is None else log.entry(connection, listed.index)
    return None if listed is None or entry is None else Attestation(listed, entry)


def _gpu_of(found: Attestation) -> bytes:
    """The evidence of GPUs that a result is bound to; nothing if there are none."""
    said: AttestationResult = predicate.parse(
        Envelope.parse(found.entry.envelope).payload
    ).predicate
    return bytes.fromhex(gpu_of(said.submods[Family(found.listed.family)]))


def of_batch(connection: Connection, index: int) -> Attestation | None:
    """As :meth:`Attested.of_batch`, in a transaction that is under way."""
    entry = log.entry(connection, index)
    if entry is None or not entry.envelope:
        return None
    envelope = Envelope.parse(entry.envelope)
    said = predicate.parse(envelope.payload).predicate
    if not isinstance(said, Batch):
        return None
    closed_at = datetime.fromisoformat(said.closed_at)
    return find_in_force(connection, envelope.keyid, closed_at, index)


def result_rows(said: AttestationResult, index: int = -1) -> tuple[StoredResult, ...]:
    """How a result is listed."""
    return tuple(
        StoredResult(
            index=index,
            family=family.value,
            evidence=bytes.fromhex(attestation_result.evidence_name(environment)),
            raw_evidence=bytes.fromhex(environment.raw_evidence),
            # A GPU commits to no key, whatever whoever submits its evidence may say.
            key_id="" if family in GPU_FAMILIES else attestation_result.session_key(environment),
            question=environment.question,
            verdict=environment.verdict.value,
            is_authentic=is_authentic(environment),
            issued_at=said.issued_at,
            expires_at=said.expires_at,
            verifier=said.verifier.build[:MAX_VERIFIER_CHARACTERS],
        )
        for family, environment in sorted(said.submods.items())
    )


def is_authentic(environment: Environment) -> bool:
    """Whether evidence could be read, and nothing in its cryptography is broken."""
    return not isinstance(environment.evidence_id, msgspec.UnsetType) and not any(
        item.outcome == "fail" and item.severity is Severity.CRYPTO for item in environment.checks
    )
