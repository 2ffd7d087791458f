"""What evidence is judged by: appraisal policies and the distrust list, as the log says.

The operator signs both. Nothing is taken back: a policy is replaced by a later one of its name, and
results go on naming the one that they were made by; an entry of the distrust list stays.
"""

import threading
from typing import Any

from registry.core import digest
from registry.core.attestation.dsse import Envelope
from registry.core.digest import DigestSet
from registry.core.encoding import read_json, write_json
from registry.core.evidence.distrust import Entry
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import Policy, check
from registry.core.records import appraisal_policy, distrust_entry, predicate
from registry.errors import LimitExceededError, NotFoundError, Reason
from registry.services.operator import Operator
from registry.storage.sql import catalog, log
from registry.storage.sql.engine import Connection, Database
from registry.storage.sql.log import StoredEntry

MAX_POLICY_BYTES = 256 * 1024
"""Bytes of a policy or a distrust entry; a thousand reference values take 100 KiB."""

MAX_POLICIES = 10_000
"""Policies that one registry keeps."""

MAX_DISTRUSTED = 1000
"""Entries of the distrust list."""


class AppraisalPolicies:
    """Registers policies and distrust entries, and finds them again."""

    def __init__(self, database: Database, operator: Operator) -> None:
        self._database = database
        self._operator = operator
        self._lock = threading.Lock()

    def put(self, data: bytes) -> StoredEntry:
        """Register a policy, in its one spelling; the same one again keeps its entry.

        Raises:
            MalformedError: ``POLICY_UNSET``, ``POLICY_EMPTY``, ``MALFORMED_POLICY``, or what is
                wrong with the JSON.
            LimitExceededError: ``MESSAGE_TOO_LARGE``.
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        policy = read_json(_bounded(data), Policy, what="appraisal policy")
        check(policy, rules_of(policy.family))
        statement = appraisal_policy.build(policy)
        with self._lock:
            known = self.registered()
            _require_room(known, MAX_POLICIES)
            name = statement.subject[0].digest.sha256
            return self._known(known, name) or self._say(statement)

    def registered(self) -> list[StoredEntry]:
        """All policies, oldest first."""
        with self._database.read() as connection:
            return _all(connection, appraisal_policy.PREDICATE_TYPE, MAX_POLICIES)

    def find(self, reference: str) -> tuple[StoredEntry, Policy]:
        """A policy by record id (``sha256:…``), or the newest one of a name.

        Raises:
            NotFoundError: ``UNKNOWN_APPRAISAL_POLICY``.
            MalformedError: ``MALFORMED_DIGEST``.
        """
        with self._database.read() as connection:
            if reference.startswith("sha256:"):
                entry = log.entry_of_record(connection, digest.parse(reference))
                found = [] if entry is None else [entry]
            else:
                named = catalog.find(
                    connection,
                    appraisal_policy.PREDICATE_TYPE,
                    name=reference or "\0",
                    limit=MAX_POLICIES,
                )
                found = [entry for _, entry in named]
        policy = _policy(found[-1]) if found else None
        if policy is None:
            raise _unknown(reference)
        return found[-1], policy

    def of_digest(self, sha256: str) -> Policy:
        """The policy that results name by this digest.

        Raises:
            NotFoundError: ``UNKNOWN_APPRAISAL_POLICY``.
        """
        with self._database.read() as connection:
            named = catalog.find(
                connection, appraisal_policy.PREDICATE_TYPE, version=sha256, limit=1
            )
        policy = _policy(named[0][1]) if named else None
        if policy is None:
            raise _unknown(sha256)
        return policy

    def put_distrust(self, data: bytes) -> StoredEntry:
        """Put an entry on the distrust list; the same one again keeps its place.

        Raises:
            MalformedError: ``MALFORMED_FIELD`` for one that would match everything, or what is
                wrong with the JSON.
            LimitExceededError: ``MESSAGE_TOO_LARGE``.
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        entry = read_json(_bounded(data), Entry, what="distrust entry")
        statement = distrust_entry.build(entry)
        distrust_entry.validate(statement.subject, entry)
        with self._lock:
            known = self.list_distrust()
            _require_room(known, MAX_DISTRUSTED)
            name = statement.subject[0].digest.sha256
            return self._known(known, name) or self._say(statement)

    def list_distrust(self) -> list[StoredEntry]:
        """The distrust list, oldest entry first."""
        with self._database.read() as connection:
            return _all(connection, distrust_entry.PREDICATE_TYPE, MAX_DISTRUSTED)

    def distrusted(self) -> tuple[Entry, ...]:
        """The distrust list as it is now: a snapshot."""
        said = [_said(entry) for entry in self.list_distrust()]
        return tuple(entry for entry in said if isinstance(entry, Entry))

    def _known(self, entries: list[StoredEntry], sha256: str) -> StoredEntry | None:
        for entry in entries:
            if DigestSet.of(write_json(_said(entry))).sha256 == sha256:
                return entry
        return None

    def _say(self, statement: Any) -> StoredEntry:
        receipt = self._operator.say(statement)
        with self._database.read() as connection:
            stored = log.entry(connection, receipt.index)
        if stored is None:
            raise AssertionError("what was logged can be read")
        return stored


def _all(connection: Connection, predicate_type: str, limit: int) -> list[StoredEntry]:
    return [entry for _, entry in catalog.find(connection, predicate_type, limit=limit)]


def _said(entry: StoredEntry) -> object:
    return predicate.parse(Envelope.parse(entry.envelope).payload).predicate


def _policy(entry: StoredEntry) -> Policy | None:
    said = _said(entry)
    return said if isinstance(said, Policy) else None


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_POLICY_BYTES:
        raise LimitExceededError(
            Reason.MESSAGE_TOO_LARGE,
            "this is too large for a policy or a distrust entry",
            expected=f"at most {MAX_POLICY_BYTES} bytes",
            actual=f"{len(data)} bytes",
        )
    return data


def _require_room(known: list[StoredEntry], limit: int) -> None:
    if len(known) >= limit:
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
