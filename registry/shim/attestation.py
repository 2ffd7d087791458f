"""The attestation of the shim's key: evidence at the start, and again long before a result ends.

The device is asked with a nonce of the registry, and commits to it, to the key that signs batches,
and to the model version that answers. GPUs, which can commit to a nonce alone, are asked first; the
device then commits to their evidence. What the registry makes of it is logged. Batches that follow
while the result is in force are attested, others are not, and every reader of a capsule can tell.

=====================================  ==========================================================
goes wrong                             afterwards
=====================================  ==========================================================
registry or device not available       asked again after 1, 2, 4 … 60 s, and sooner near the end
registry refuses, device cannot        asked again after 1, 2, 4 … 300 s: a policy may change
answer lost after the result's commit  the next attempt has a nonce of its own; one result more
result ends meanwhile                  calls are recorded and unattested; or refused, if required
shim dies                              the next start attests anew
=====================================  ==========================================================
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from registry.core.evidence.binding import Binding
from registry.core.evidence.result import AttestationResult, Environment
from registry.core.evidence.trust import Tier, tier_of
from registry.core.keys import PublicKey
from registry.core.records import attestation_result
from registry.core.verdict import Verdict
from registry.errors import (
    Reason,
    RefusedError,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.shim.attester.port import Attester, Collected
from registry.shim.ports import EvidenceRegistry
from registry.shim.recorder.sequence import Clock

FIRST_PAUSE_SECONDS: Final = 1.0
"""The pause after the first vain attempt; it doubles with each further one."""

MAX_PAUSE_SECONDS: Final = 60.0
"""The longest pause while the registry or the device is not available."""

MAX_REFUSED_PAUSE_SECONDS: Final = 300.0
"""The longest pause while the registry refuses, or the device cannot attest."""

LEAST_WAIT_SECONDS: Final = 1.0
"""The shortest time between an attestation and its renewal, however soon a result ends."""

STOP_SECONDS: Final = 5.0
"""How long the end of an attempt that is under way is waited for."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    """Whom to ask for evidence, and by which appraisal policy it is judged: record id or name."""

    attester: Attester
    policy: str


@dataclass(frozen=True, slots=True)
class Attesting:
    """How the key of a shim is attested.

    Attributes:
        registry: Judges what the devices say.
        device: What holds the key: a CPU's environment.
        gpus: Where the model runs; None if that is in the same environment.
        required: Whether calls are refused while no result is in force.
    """

    registry: EvidenceRegistry
    device: Device
    gpus: Device | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Attested:
    """A result that admits the key.

    Attributes:
        evidence_id: What it is about.
        index: Its entry in the log.
        issued_at: From when it is in force, by the registry's clock.
        expires_at: From when it no longer is.
        measured: Whether what runs there was compared with what somebody expects.
        configured_roots: Roots that are no vendor's, on which it rests.
    """

    evidence_id: bytes
    index: int
    issued_at: datetime
    expires_at: datetime
    measured: bool = False
    configured_roots: tuple[str, ...] = ()

    def holds(self, at: datetime) -> bool:
        """Whether what the key signs at a moment is attested."""
        return self.issued_at <= at < self.expires_at


@dataclass(frozen=True, slots=True)
class AttestationStatus:
    """How it stands with the key.

    Attributes:
        newest: The newest result that admitted it, in force or not; None if there was none.
        before: The one before it: by a clock that is late, the newest may not be in force yet.
        failed: Why the last attempt was in vain; None after a success.
    """

    newest: Attested | None = None
    before: Attested | None = None
    failed: RegistryError | None = None


Listener = Callable[[Attested], None]
"""Told of every result that admits the key."""


class KeyAttestation:
    """Keeps one key attested, in the background. For any number of threads."""

    def __init__(self, attesting: Attesting, key: PublicKey, model: bytes, *, clock: Clock) -> None:
        """Ask nobody yet.

        Args:
            attesting: Whom to ask, and by which policies.
            key: The key that signs batches.
            model: The manifest digest of the model version that answers, 32 bytes.
            clock: Says until when a result is in force.
        """
        self._attesting = attesting
        self._key = key
        self._model = model
        self._clock = clock
        self._jitter = random.Random()  # noqa: S311 - pauses are no secret
        self._changed = threading.Condition()
        self._status = AttestationStatus()
        self._pause = FIRST_PAUSE_SECONDS
        self._stopping = False
        # Held while listeners are told, so that each is told of results in their order.
        self._telling = threading.Lock()
        self._listeners: list[Listener] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Try once, here, and go on in the background, whatever came of it."""
        wait = self.attempt()
        self._thread = threading.Thread(
            target=self._run, args=(wait,), name="attestation", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Attest no more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            # An attempt under way may wait for device or network; it ends with the process.
            self._thread.join(STOP_SECONDS)

    def status(self) -> AttestationStatus:
        """How it stands now."""
        with self._changed:
            return self._status

    def holds(self, attested: Attested) -> bool:
        """Whether a result is in force now."""
        return attested.holds(self._clock())

    @property
    def evidence(self) -> str:
        """The evidence id of the newest result that is in force now; empty if none is."""
        status = self.status()
        for each in (status.newest, status.before):
            if each is not None and self.holds(each):
                return each.evidence_id.hex()
        return ""

    def require(self) -> None:
        """Let a call be made, or not.

        Raises:
            RefusedError: ``UNATTESTED`` if attestation is required and no result is in force. Never
                an :class:`UnavailableError`: no mode may let this pass.
        """
        if self._attesting.required:
            self.check()

    def check(self) -> None:
        """Find out whether a result is in force.

        Raises:
            RefusedError: ``UNATTESTED`` if none is.
        """
        if self.evidence:
            return
        status = self.status()
        raise RefusedError(
            Reason.UNATTESTED,
            "this node's key is not attested now",
            expected="an attestation result that is in force",
            actual=_stands(status.newest),
            hint="" if status.failed is None else f"{status.failed.reason}: {status.failed.what}",
        )

    def follow(self, listener: Listener) -> None:
        """Have a listener told of the newest result, and of each that comes.

        Raises:
            RegistryError: Whatever the listener raises now; later ones are written into the log of
                the process, and change nothing.
        """
        with self._telling:
            newest = self.status().newest
            if newest is not None:
                listener(newest)
            self._listeners.append(listener)

    def attempt(self) -> float:
        """Attest once; how many seconds to wait until the next time."""
        try:
            attested = self._attest()
        except UnavailableError as error:
            return self._failed(error, MAX_PAUSE_SECONDS)
        except RegistryError as error:
            return self._failed(error, MAX_REFUSED_PAUSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - a thread that dies silently renews nothing
            failed = RegistryError(Reason.INTERNAL, "attesting failed", actual=repr(error)[:400])
            return self._failed(failed, MAX_REFUSED_PAUSE_SECONDS)
        with self._telling:
            with self._changed:
                self._status = AttestationStatus(attested, self._status.newest)
                self._pause = FIRST_PAUSE_SECONDS
            for listener in self._listeners:
                self._tell(listener, attested)
        logger.info("attested by entry %d until %s", attested.index, attested.expires_at)
        return max(LEAST_WAIT_SECONDS, self._left(attested) / 2)

    def _run(self, wait: float) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, wait):
                    return
            wait = self.attempt()

    def _tell(self, listener: Listener, attested: Attested) -> None:
        try:
            listener(attested)
        except RegistryError as error:
            logger.warning("what runs cannot be said to be attested: %s", error)

    def _failed(self, error: RegistryError, longest: float) -> float:
        with self._changed:
            newest = self._status.newest
            self._status = AttestationStatus(newest, self._status.before, error)
            pause = min(self._pause, longest)
            self._pause = 2 * pause
        logger.warning("the key could not be attested (%s): %s", _stands(newest), error)
        left = 0.0 if newest is None else self._left(newest)
        if left > 0:
            # A result that is about to end is worth more attempts.
            pause = min(pause, max(LEAST_WAIT_SECONDS, left / 2))
        # Half to all of it, so that nodes do not come back all at once.
        return pause * self._jitter.uniform(0.5, 1.0)

    def _left(self, attested: Attested) -> float:
        """Seconds for which a result is still in force; a clock that is late adds none."""
        left = attested.expires_at - max(self._clock(), attested.issued_at)
        return left.total_seconds()

    def _attest(self) -> Attested:
        attesting, key = self._attesting, self._key
        nonce = attesting.registry.challenge(key.der).nonce
        gpus = None
        binding = Binding(nonce=nonce, session_key=key.der, model=self._model)
        if attesting.gpus is not None:
            alone = Binding(nonce=nonce)
            gpus = self._judged(attesting.gpus, alone)
            binding = Binding(
                nonce=nonce, session_key=key.der, model=self._model, gpu=gpus.evidence_id
            )
        found = self._judged(attesting.device, binding)
        if gpus is None:
            return found
        return Attested(
            found.evidence_id,
            found.index,
            max(found.issued_at, gpus.issued_at),
            min(found.expires_at, gpus.expires_at),
            measured=found.measured,
            configured_roots=(*found.configured_roots, *gpus.configured_roots),
        )

    def _judged(self, device: Device, binding: Binding) -> Attested:
        """Ask a device, and have what it says judged."""
        by_tpm = device.attester.commits_to == "tpm_nonce"
        collected = device.attester.evidence(
            binding.tpm_nonce() if by_tpm else binding.report_data(),
            binding.nonce or b"",
            self._key.der,
        )
        logged = self._attesting.registry.submit(
            collected.family,
            collected.evidence,
            binding,
            device.policy,
            collected.endorsements,
        )
        said: AttestationResult = logged.statement.predicate
        environment = said.submods[collected.family]
        ends = datetime.fromtimestamp(said.expires_at, UTC)
        if environment.verdict is not Verdict.VALID or self._clock() >= ends:
            raise _refused(collected, environment, ends)
        return Attested(
            evidence_id=bytes.fromhex(attestation_result.evidence_name(environment)),
            index=logged.index,
            issued_at=datetime.fromtimestamp(said.issued_at, UTC),
            expires_at=ends,
            measured=tier_of(environment.trust.get("executables", 0)) is Tier.AFFIRMING,
            configured_roots=environment.configured_roots,
        )


def _stands(newest: Attested | None) -> str:
    if newest is None:
        return "no result yet"
    return f"entry {newest.index}, in force until {newest.expires_at.isoformat()}"


def _refused(collected: Collected, environment: Environment, ends: datetime) -> VerificationError:
    failed = ", ".join(
        f"{item.check} {item.finding}" for item in environment.checks if item.outcome == "fail"
    )
    return VerificationError(
        Reason.ATTESTATION_REFUSED,
        "the registry does not admit the key by this evidence",
        where=collected.family,
        expected="a valid result that is in force now",
        actual=f"{environment.verdict}: {failed or 'no finding'}; until {ends.isoformat()}"[:400],
        hint="compare the policy with: provreg evidence show",
    )
