"""What evidence is judged by: appraisal policies and the distrust list, as the log says.

The operator signs both. Nothing is taken back: a policy is replaced by a later one of its name, and
results go on naming the one that they were made by; an entry of the distrust list stays.
"""

import threading
from typing import Any

from registry.core import digest
from registry.core.attestation.dsse import Envelope
from registry.core.encoding import read_json
from registry.core.evidence.appraisal import policy_digest
from registry.core.evidence.distrust import Entry, check_names
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import Policy, check
from registry.core.records import appraisal_policy, distrust_entry, predicate
from registry.errors import (
    ConflictError,
    LimitExceededError,
    NotFoundError,
    Reason,
    UnavailableError,
)
from registry.services.operator import Operator
from registry.storage.sql import catalog
from registry.storage.sql.engine import Connection, Database
from registry.storage.sql.log import StoredEntry

MAX_POLICY_BYTES = 256 * 1024
"""Bytes of a policy or a distrust entry; a thousand reference values take 100 KiB."""

MAX_POLICIES = 10_000
"""Policies that one registry keeps."""

MAX_DISTRUSTED = 1000
"""Entries of the distrust list."""


Policies = tuple[tuple[StoredEntry, Policy], ...]
Distrusted = tuple[tuple[StoredEntry, Entry], ...]


class AppraisalPolicies:
    """Registers policies and distrust entries; all are in memory, as the log says, in its order."""

    def __init__(self, database: Database, operator: Operator) -> None:
        """Read all policies and the distrust list from the log."""
        self._database = database
        self._operator = operator
        self._lock = threading.Lock()
        self._policies: Policies = ()
        self._distrust: Distrusted = ()
        self._load()

    def _load(self) -> None:
        with self._database.read() as connection:
            policies = _all(connection, appraisal_policy.PREDICATE_TYPE, MAX_POLICIES)
            entries = _all(connection, distrust_entry.PREDICATE_TYPE, MAX_DISTRUSTED)
        # Never changed, only replaced: whoever reads one has a snapshot.
        self._policies = tuple(
            (entry, said) for entry, said in policies if isinstance(said, Policy)
        )
        self._distrust = tuple((entry, said) for entry, said in entries if isinstance(said, Entry))

    def put(self, data: bytes) -> StoredEntry:
        """Register a policy, in its one spelling; the same one again keeps its entry.

        Raises:
            MalformedError: ``POLICY_UNSET``, ``POLICY_EMPTY``, ``MALFORMED_POLICY``, or what is
                wrong with the JSON.
            ConflictError: ``POLICY_REPLACED`` if a later one of its name took its place.
            LimitExceededError: ``MESSAGE_TOO_LARGE``.
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        policy = read_json(_bounded(data), Policy, what="appraisal policy")
        check(policy, rules_of(policy.family))
        with self._lock:
            for entry, known in self._policies:
                if known == policy:
                    self.require_newest(policy)
                    return entry
            _require_room(len(self._policies), MAX_POLICIES)
            entry = self._say(appraisal_policy.build(policy))
            self._policies = (*self._policies, (entry, policy))
            return entry

    def registered(self) -> list[StoredEntry]:
        """All policies, oldest first."""
        return [entry for entry, _ in self._policies]

    def find(self, reference: str) -> tuple[StoredEntry, Policy]:
        """A policy by record id (``sha256:…``), or the newest one of a name.

        Raises:
            NotFoundError: ``UNKNOWN_APPRAISAL_POLICY``.
            MalformedError: ``MALFORMED_DIGEST``.
        """
        name = digest.parse(reference) if reference.startswith("sha256:") else b""
        for entry, policy in reversed(self._policies):
            if name == entry.record_id or (not name and policy.name == reference):
                return entry, policy
        raise _unknown(reference)

    def require_newest(self, policy: Policy) -> None:
        """Check that a registered policy was not replaced: whoever is judged must not pick.

        Raises:
            ConflictError: ``POLICY_REPLACED`` if a later one of its name took its place.
        """
        newest = [known for _, known in self._policies if known.name == policy.name][-1]
        if newest != policy:
            raise ConflictError(
                Reason.POLICY_REPLACED,
                "a later policy of this name took its place",
                where=policy.name,
                expected=policy_digest(newest),
                actual=policy_digest(policy),
                hint="have evidence judged by the later one; an old one comes back by another name",
            )

    def of_digest(self, sha256: str) -> Policy:
        """The policy that results name by this digest.

        Raises:
            NotFoundError: ``UNKNOWN_APPRAISAL_POLICY``.
        """
        for _, policy in self._policies:
            if policy_digest(policy) == sha256:
                return policy
        raise _unknown(sha256)

    def put_distrust(self, data: bytes) -> StoredEntry:
        """Put an entry on the distrust list; the same one again keeps its place.

        Raises:
            MalformedError: ``MALFORMED_FIELD`` for one that would match everything, or nothing, or
                what is wrong with the JSON.
            LimitExceededError: ``MESSAGE_TOO_LARGE``.
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        said = read_json(_bounded(data), Entry, what="distrust entry")
        statement = distrust_entry.build(said)
        distrust_entry.validate(statement.subject, said)
        check_names(said, rules_of(said.selector.family))
        with self._lock:
            for entry, known in self._distrust:
                if known == said:
                    return entry
            _require_room(len(self._distrust), MAX_DISTRUSTED)
            entry = self._say(statement)
            self._distrust = (*self._distrust, (entry, said))
            return entry

    def list_distrust(self) -> list[StoredEntry]:
        """The distrust list, oldest entry first."""
        return [entry for entry, _ in self._distrust]

    def distrusted(self) -> tuple[Entry, ...]:
        """The distrust list as it is now: a snapshot."""
        return tuple(said for _, said in self._distrust)

    def _say(self, statement: Any) -> StoredEntry:
        try:
            return self._operator.enter(statement)
        except UnavailableError:
            # It may be in the log all the same, as when too few witnesses have seen it so far.
            self._load()
            raise


def _all(
    connection: Connection, predicate_type: str, limit: int
) -> list[tuple[StoredEntry, object]]:
    found = catalog.find(connection, predicate_type, limit=limit)
    return [
        (entry, predicate.parse(Envelope.parse(entry.envelope).payload).predicate)
        for _, entry in found
    ]


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_POLICY_BYTES:
        raise LimitExceededError(
            Reason.MESSAGE_TOO_LARGE,
            "this is too large for a policy or a distrust entry",
            expected=f"at most {MAX_POLICY_BYTES} bytes",
            actual=f"{len(data)} bytes",
        )
    return data


def _require_room(known: int, limit: int) -> None:
    if known >= limit:
        raise LimitExceededError(
            Reason.MESSAGE_TOO_LARGE,
            "this registry keeps no more of them",
            expected=f"at most {limit}",
        )


def _unknown(reference: str) -> NotFoundError:
    return NotFoundError(
        Reason.UNKNOWN_APPRAISAL_POLICY,
        "no such appraisal policy is registered here",
        where=reference[:200],
        hint="run: provreg policy list",
    )
