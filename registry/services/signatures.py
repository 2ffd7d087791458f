"""Signatures that are logged without what was signed: the way in for Sigstore's own clients.

Nobody needs a token: the signature itself shows who asks. Admitted are keys that speak for a
publisher of this registry, and whomever the operator's admission policy names; nobody else. What
Sigstore clients log here, they may register as a statement afterwards.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from registry.core.attestation.admission import AdmissionPolicy
from registry.core.attestation.identity import Identity
from registry.core.tlog.entry_request import EntryRequest, VerifiedRequest
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.receipt import Receipt
from registry.errors import ConflictError, ForbiddenError, Reason, VerificationError
from registry.services.keyring import Keyring
from registry.services.sequencing import Sequencer
from registry.services.submission import Submission
from registry.storage.sql import log
from registry.storage.sql.engine import Database

ROLE = "publisher"
"""The role whose keys are admitted without a rule."""

Clock = Callable[[], datetime]
"""Gives the time, UTC."""


@dataclass(frozen=True, slots=True)
class Logging:
    """A signature on its way into the log.

    Attributes:
        body: The entry.
        receipt: Done when the entry is durable and proven.
    """

    body: bytes
    receipt: "Future[Receipt]"


class Signatures:
    """Admits signatures to the log. Any thread may ask."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        sequencer: Sequencer,
        policy: AdmissionPolicy,
        clock: Clock,
        *,
        refuse_duplicates: bool = False,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._sequencer = sequencer
        self._policy = policy
        self._clock = clock
        self._refuse_duplicates = refuse_duplicates
        self._in_flight: set[bytes] = set()
        self._lock = Lock()

    def register(self, request: EntryRequest) -> Logging:
        """Verify, admit, and let a signature wait for its place in the log.

        A signature that is in the log already keeps its index and gets a fresh proof.

        Raises:
            MalformedError, VerificationError: As :meth:`EntryRequest.verified`.
            ForbiddenError: ``NOT_ADMITTED``.
            ConflictError: ``ENTRY_EXISTS``, if duplicates are to be refused.
            UnavailableError: ``LOG_BUSY``, ``LOG_LATCHED`` or ``DISK_LOW``.
            UnsupportedError: ``LOG_FROZEN``, whatever else is wrong with the request.
        """
        self.check_open()
        verified = request.verified()
        key_id, principal = self._admit(verified)
        body = verified.entry.to_bytes()
        submission = Submission(
            record_id=verified.entry.digest,
            leaf_hash=leaf_hash(body),
            body=body,
            envelope=b"",
            predicate_type="",
            name="",
            version="",
            key_id=key_id,
            principal=principal,
        )
        if self._refuse_duplicates:
            return Logging(body, self._submit_once(submission))
        return Logging(body, self._sequencer.submit(submission))

    def check_open(self) -> None:
        """Refuse everybody if the log has ended, before anything is read.

        Raises:
            UnsupportedError: ``LOG_FROZEN``.
        """
        if self._sequencer.frozen is not None:
            raise self._sequencer.frozen

    def _admit(self, verified: VerifiedRequest) -> tuple[str, str]:
        """The key that must still be admitted when the entry gets its place, and whose it is."""
        if verified.certificate is not None:
            self._policy.verify_admitted(verified.certificate, self._clock())
            return "", str(Identity.of(verified.certificate))
        key_id = verified.key.key_id
        if self._policy.admits_key(key_id):
            return "", key_id
        try:
            granted = self._keyring.grant(key_id)
        except VerificationError as error:
            raise _not_admitted(key_id, str(error.reason)) from error
        if ROLE not in granted.roles:
            raise _not_admitted(key_id, f"{granted.principal}: {', '.join(granted.roles)}")
        return key_id, granted.principal

    def _submit_once(self, submission: Submission) -> "Future[Receipt]":
        leaf = submission.leaf_hash
        with self._lock:
            if leaf in self._in_flight:
                raise _exists("being registered")
            with self._database.read() as connection:
                known = log.find_leaves(connection, [leaf]).get(leaf)
            if known is not None:
                raise _exists(str(known))
            answer = self._sequencer.submit(submission)
            self._in_flight.add(leaf)
        answer.add_done_callback(lambda _: self._in_flight.discard(leaf))
        return answer


def _not_admitted(key_id: str, actual: str) -> ForbiddenError:
    return ForbiddenError(
        Reason.NOT_ADMITTED,
        "this log does not take signatures by this key",
        where=f"key {key_id}",
        expected=f"a key of a {ROLE}, or one that the admission policy names",
        actual=actual,
        hint="ask the operator to run: provreg principal add NAME --role publisher --key FILE",
    )


def _exists(index: str) -> ConflictError:
    return ConflictError(
        Reason.ENTRY_EXISTS,
        "an equivalent entry is in the transparency log already",
        where=f"index {index}",
        actual=index,
    )
