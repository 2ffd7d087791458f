"""Signers: the logged statements of a capsule, and which key event admits the key of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from registry.core import verdict
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import Statement
from registry.core.capsule.existence import CHECKPOINT, Seen
from registry.core.capsule.links import Link, judge, waiting
from registry.core.capsule.parts import LoggedEnvelope
from registry.core.keys import PublicKey
from registry.core.records import key_event, predicate
from registry.core.records.key_event import KeyEvent
from registry.core.registration import LoggedKeyEvent, admit, grant
from registry.core.tlog import entry, merkle
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.verdict import Check, Verdict
from registry.errors import MalformedError, Reason, RegistryError, VerificationError


@dataclass(frozen=True, slots=True)
class Read:
    """A statement that could be read.

    Attributes:
        name: Its part of the capsule, which is also the name of its link.
    """

    name: str
    logged: LoggedEnvelope
    envelope: Envelope
    statement: Statement[Any]

    @property
    def index(self) -> int:
        """Its index in the log."""
        return self.logged.index

    @property
    def record_id(self) -> str:
        """How other statements name it."""
        return f"sha256:{self.envelope.record_id.hex()}"


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement whose signature and place in the log were checked.

    Attributes:
        read: None if it cannot even be read.
        key: The key that signed; None if that is not known.
        genuine: Signature and inclusion, without regard to whether the key may say so.
    """

    name: str
    read: Read | None
    key: PublicKey | None
    genuine: Check

    def admitted_by(self, signer: "Signer") -> Link:
        """Genuine, and signed by a key that may say so."""
        if self.genuine.verdict is not Verdict.VALID or self.read is None:
            return Link.both(self.genuine)
        statement = self.read.statement

        def decide(granted: Check, event: KeyEvent | None) -> Check:
            if event is None:
                own = granted.link == self.name
                return granted if own else waiting(self.name, granted.link)
            return judge(self.name, lambda: self._admit(statement, event))

        return Link(decide(signer.link.then, signer.then), decide(signer.link.now, signer.now))

    def _admit(self, statement: Statement[Any], event: KeyEvent) -> str:
        admit(statement, event)
        return f"{self.genuine.detail}; said by {event.principal}"


@dataclass(frozen=True, slots=True)
class Signer:
    """Whether a key spoke for somebody when it signed, and for whom; on both clocks."""

    link: Link
    then: KeyEvent | None
    now: KeyEvent | None


def read(name: str, logged: LoggedEnvelope, predicate_type: str) -> Read | Check:
    """Read a statement exactly; the check says why that failed."""
    try:
        envelope = Envelope.parse(logged.envelope)
        statement = predicate.parse(envelope.payload)
        if statement.predicate_type != predicate_type:
            raise MalformedError(
                Reason.FOREIGN_PREDICATE,
                "this part of the capsule is another kind of statement",
                expected=predicate_type,
                actual=statement.predicate_type,
            )
    except RegistryError as error:
        return verdict.invalid(name, error)
    return Read(name, logged, envelope, statement)


class Signers:
    """The keys that a capsule introduces, and from which log entry to which they were admitted."""

    def __init__(
        self,
        head: Checkpoint | None,
        operator: Read | Check,
        key_events: Iterable[tuple[str, Read | Check]],
        seen: Seen | None = None,
    ) -> None:
        """Judge all key events, first to last.

        Args:
            head: The checkpoint, if it is genuine.
            operator: Entry 0 of the log.
            key_events: All other key events in log order, with their names.
            seen: What a trusted authority saw when; None if that is not known.
        """
        self._head = head
        self._seen = seen
        events = [("operator", operator), *key_events]
        self._keys = dict(_introduced(item) for _, item in events if isinstance(item, Read))
        self._then: dict[str, list[LoggedKeyEvent]] = {}
        self._now: dict[str, list[LoggedKeyEvent]] = {}
        signed = [(name, self.check(name, item)) for name, item in events]
        self.links: dict[str, Link] = {}
        # Later compromises count as-now, so all events are judged as-then before any is as-now.
        for known, clock in ((self._then, "then"), (self._now, "now")):
            for name, item in signed:
                link = self._judge_event(name, item)
                self.links[name] = link
                check: Check = getattr(link, clock)
                if check.verdict is Verdict.VALID and item.read is not None:
                    event: KeyEvent = item.read.statement.predicate
                    key_id = item.read.statement.subject[0].digest.sha256
                    known.setdefault(key_id, []).append(LoggedKeyEvent(item.read.index, event))

    def check(self, name: str, item: Read | Check) -> Signed:
        """Check signature and place in the log of a statement."""
        if isinstance(item, Check):
            return Signed(name, None, None, item)
        try:
            key = self._keys.get(item.envelope.keyid)
            if key is None:
                return Signed(
                    name,
                    item,
                    None,
                    verdict.indeterminate(
                        name,
                        Reason.UNKNOWN_SIGNER,
                        f"the capsule holds no key event for the key {item.envelope.keyid or '?'}",
                    ),
                )
            item.envelope.verify(key)
            if self._head is None:
                return Signed(name, item, key, waiting(name, CHECKPOINT))
            _verify_logged(item, key, self._head)
        except RegistryError as error:
            return Signed(name, item, None, verdict.invalid(name, error))
        detail = f"signed by key {key.key_id[:16]}…, entry {item.index} of {self._head.size}"
        return Signed(name, item, key, verdict.valid(name, detail))

    def signer(self, name: str, item: Signed) -> Signer:
        """Whether the key of a statement was admitted when the statement was logged."""
        if item.read is None or item.key is None:
            return Signer(Link.both(waiting(name, item.name)), None, None)
        then, event_then = _granted(name, item.key, item.read.index, self._then)
        now, event_now = _granted(name, item.key, item.read.index, self._now)
        if event_now is not None:
            shaken = self._shaken(name, item.key, item.read.index)
            if shaken is not None:
                now, event_now = shaken, None
        return Signer(Link(then, now), event_then, event_now)

    def _judge_event(self, name: str, item: Signed) -> Link:
        if name != "operator":
            return item.admitted_by(self.signer(name, item))
        own = item.genuine
        if own.verdict is Verdict.VALID and item.read is not None and item.key is not None:
            read, key = item.read, item.key
            own = judge(name, lambda: _verify_operator(read, key))
        if own.verdict is not Verdict.VALID or item.read is None or item.key is None:
            return Link.both(own)
        return Link(own, self._shaken(name, item.key, item.read.index) or own)

    def _shaken(self, name: str, key: PublicKey, index: int) -> Check | None:
        """Why entry ``index``, signed by ``key``, is doubted as-now; None if it is not."""
        for later in self._then.get(key.key_id, ()):
            compromised = later.event.action == "compromise" and later.index > index
            if compromised and not _seen_before(later, index, self._seen):
                return _compromised(name, index, later)
        return None


def _introduced(item: Read) -> tuple[str, PublicKey]:
    key = key_event.public_key(item.statement.predicate)
    return key.key_id, key


def _verify_logged(item: Read, key: PublicKey, head: Checkpoint) -> None:
    body = entry.write(item.envelope.record_id, item.envelope.signature, key.der)
    merkle.verify_inclusion(
        merkle.leaf_hash(body), item.index, head.size, item.logged.proof, head.root
    )


def _verify_operator(item: Read, key: PublicKey) -> str:
    event: KeyEvent = item.statement.predicate
    if item.index or key_event.public_key(event) != key or event.action != "add":
        raise VerificationError(
            Reason.UNKNOWN_SIGNER,
            "the operator's key is admitted by entry 0 of the log, signed by itself",
            where=f"entry {item.index}",
            actual=f"{event.action}, signed by key {key.key_id[:16]}…",
        )
    admit(item.statement, event)
    return f"key {key.key_id[:16]}… of {event.principal}, entry 0, signed by itself"


def _granted(
    name: str, key: PublicKey, index: int, known: Mapping[str, list[LoggedKeyEvent]]
) -> tuple[Check, KeyEvent | None]:
    events = known.get(key.key_id, [])
    if not any(item.event.action == "add" for item in events):
        text = f"no key event that holds admits the key {key.key_id[:16]}…"
        return verdict.indeterminate(name, Reason.CAPSULE_LINK, text), None
    try:
        event = grant(events, index)
    except RegistryError as error:
        return verdict.invalid(name, error), None
    text = f"key {key.key_id[:16]}… of {event.principal}, admitted before entry {index}"
    return verdict.valid(name, text), event


def _seen_before(later: LoggedKeyEvent, index: int, seen: Seen | None) -> bool:
    """Whether entry ``index`` was seen before others had the key: then its owner signed."""
    since = later.event.compromised_since
    if seen is None or index >= seen.size or not isinstance(since, str):
        return False
    try:
        return seen.at < datetime.fromisoformat(since)
    except ValueError:
        # No calendar has this time.
        return False


def _compromised(name: str, index: int, later: LoggedKeyEvent) -> Check:
    """As-now, a key that others had proves nothing without a trusted time before they had it."""
    since = later.event.compromised_since
    if not isinstance(since, str):
        text = f"entry {later.index} reports the key compromised, without saying since when"
        return verdict.indeterminate(name, Reason.KEY_REVOKED, text)
    return verdict.invalid(
        name,
        VerificationError(
            Reason.KEY_REVOKED,
            f"entry {later.index} reports the key compromised since {since}",
            where=f"entry {index}",
            expected="a trusted timestamp from before that time",
            actual="none",
        ),
    )
