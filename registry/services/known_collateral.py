"""The newest TCB evaluation that is known of a kind of platform: nobody is judged by an older one.

Intel's TCB info counts for thirty days, also after a later evaluation said that its platforms are
out of date, and a submitter could bring the older one, or none. What others brought, or was
fetched, is known by the results about platforms of the same kind, and judges beside what was
submitted: the examination takes the later evaluation.
"""

import threading
from typing import Final

from registry.core.attestation.dsse import Envelope
from registry.core.evidence.checks import Severity
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import MAX_ENDORSEMENT_BYTES, Role
from registry.core.evidence.result import AttestationResult, Environment
from registry.core.records import predicate
from registry.errors import RegistryError
from registry.services.artifacts import Artifacts
from registry.storage.sql import attestations, log
from registry.storage.sql.engine import Database
from registry.storage.sql.log import StoredEntry

MAX_LOOKED_AT: Final = 256
"""Results that are looked at at once; after a start, how many of the newest."""

MAX_KINDS: Final = 1024
"""Kinds of platforms that are remembered, those with the newest evaluations."""

FAMILIES: Final = (Family.INTEL_DCAP, Family.AZURE_TDX_VTPM)
"""Evidence whose platforms have TCB info."""

_ROLES: Final = (
    Role.INTEL_TCB_INFO,
    Role.INTEL_TCB_CHAIN,
    Role.INTEL_QE_IDENTITY,
    Role.INTEL_QE_CHAIN,
    Role.INTEL_ROOT_CRL,
    Role.INTEL_PCK_CRL,
)
_VERIFIED: Final = frozenset(("I4", "I5", "I6", "I7", "I8", "I9"))
"""Checks that fail if certificates or collateral are not Intel's, or not of their time."""

_EVALUATION: Final = "tcb_evaluation_data_number"
_Kind = tuple[str, str, tuple[str, ...]]


class KnownCollateral:
    """Remembers, for each kind of platform, the latest evaluation that some result rests on."""

    def __init__(self, database: Database, artifacts: Artifacts) -> None:
        self._database = database
        self._artifacts = artifacts
        self._lock = threading.Lock()
        self._latest: dict[_Kind, tuple[int, Environment]] = {}
        self._next: int | None = None

    def later(self, family: Family, environment: Environment) -> list[tuple[Role, bytes]]:
        """Collateral of a later evaluation than a result rests on; nothing if none is known.

        Also of the same one, if the result lacks collateral or has it of another time.

        Args:
            family: What kind of evidence the result is about.
            environment: What the result says.
        """
        if family not in FAMILIES:
            return []
        with self._lock:
            self._look()
            number, latest = self._latest.get(_kind(environment), (-1, environment))
        dated = any(
            item.outcome == "fail" and item.severity is Severity.TIME and item.check in _VERIFIED
            for item in environment.checks
        )
        if number < _stated(environment) + (not dated):
            return []
        try:
            return [
                (item.role, self._artifacts.read(bytes.fromhex(item.sha256), MAX_ENDORSEMENT_BYTES))
                for item in latest.endorsements
                if item.role in _ROLES
            ]
        except RegistryError:
            # What is lost is told by fsck; evidence is then judged by what was submitted.
            return []

    def _look(self) -> None:
        """Take in what was logged since the last look; at first, what was logged last."""
        with self._database.read() as connection:
            families = [str(item) for item in FAMILIES]
            rows = attestations.of_families(connection, families, self._next, MAX_LOOKED_AT)
            for row in rows:
                entry = log.entry(connection, row.index)
                if entry is not None:
                    self._learn(_environment(entry, row.family))
                self._next = max(self._next or 0, row.index + 1)

    def _learn(self, environment: Environment) -> None:
        number, kind = _evaluation(environment), _kind(environment)
        if number is None or number <= self._latest.get(kind, (-1, environment))[0]:
            return
        self._latest.pop(kind, None)
        self._latest[kind] = (number, environment)
        while len(self._latest) > MAX_KINDS:
            del self._latest[next(iter(self._latest))]


def _environment(entry: StoredEntry, family: str) -> Environment:
    payload = Envelope.parse(entry.envelope).payload
    said: AttestationResult = predicate.parse(payload).predicate
    return said.submods[Family(family)]


def _stated(environment: Environment) -> int:
    """The evaluation that a result had at hand; none is the lowest."""
    text = environment.claims.get(_EVALUATION, "")
    return int(text) if text.isdecimal() else 0


def _evaluation(environment: Environment) -> int | None:
    """The evaluation that a result rests on; None if it rests on no collateral that verified."""
    failed = {item.check for item in environment.checks if item.outcome == "fail"}
    return None if failed & _VERIFIED else _stated(environment)


def _kind(environment: Environment) -> _Kind:
    """What two platforms of one kind have in common: the root, too, that vouches for them."""
    return (
        environment.claims.get("fmspc", ""),
        environment.claims.get("tee", ""),
        environment.configured_roots,
    )
