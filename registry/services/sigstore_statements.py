"""Statements that come in Sigstore bundles: two engines, one verdict, and a record of it.

The stock library verifies first and our verifier second; where they disagree nothing is taken. Then
the operator says in the log what was verified, and admits the signer's short-lived key for the
principal that the signer's identity speaks for. From there on the statement is one like all others.

==========================================  ====================================================
dies                                        afterwards
==========================================  ====================================================
before the verification is logged           nothing happened, but for a stored bundle
between it and the key event, or after      the key ends by itself; the caller asks again, and the
that and before the statement is logged     log may get a second verification of the bundle
after that                                  the caller asks again and gets the original index
==========================================  ====================================================
"""

import importlib.metadata
import threading
from dataclasses import replace
from datetime import timedelta

from registry.core import encoding
from registry.core.access import Principal
from registry.core.attestation.bundle import Bundle
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.identity import Identity
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import open_bundle
from registry.core.certificates.signing import SigningCertificate
from registry.core.records import predicate, verification
from registry.core.registration import admit
from registry.core.tlog.receipt import Receipt
from registry.errors import (
    ForbiddenError,
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RegistryError,
    VerificationError,
)
from registry.services import second_engine
from registry.services.access import Clock
from registry.services.artifacts import Artifacts
from registry.services.ephemeral import EphemeralKeys
from registry.services.keyring import Keyring
from registry.services.operator import Operator
from registry.services.registration import Registration
from registry.services.sequencing import Sequencer
from registry.services.vouched import Vouched

MAX_REGISTERED_BYTES = 2 * 1024 * 1024
"""Bytes of a bundle that is registered: the largest envelope in base64, and what proves it. A
capsule must have room for it."""

KEY_LIFE = timedelta(minutes=15)
"""How long a signer's key speaks here: several statements may be signed with one certificate."""


class SigstoreStatements:
    """Takes statements whose signers are known by name."""

    def __init__(
        self,
        trusted_root: bytes,
        *,
        artifacts: Artifacts,
        vouched: Vouched,
        keyring: Keyring,
        operator: Operator,
        ephemeral: EphemeralKeys,
        registration: Registration,
        sequencer: Sequencer,
        clock: Clock,
    ) -> None:
        """Pin a trusted root, and store it.

        Raises:
            MalformedError: ``MALFORMED_TRUSTED_ROOT``.
        """
        self._trust = Trust.parse(trusted_root)
        self._trusted_root = trusted_root
        self._root_digest = artifacts.put(trusted_root).sha256
        self._artifacts = artifacts
        self._vouched = vouched
        self._keyring = keyring
        self._operator = operator
        self._ephemeral = ephemeral
        self._registration = registration
        self._sequencer = sequencer
        self._clock = clock
        self._lock = threading.Lock()

    def register(self, data: bytes, caller: Principal) -> Receipt:
        """Verify a bundle and register its statement; durable and proven on return.

        Raises:
            MalformedError, VerificationError: What is wrong with the bundle or the statement;
                ``ENGINES_DISAGREE`` if one verifier takes it and the other does not.
            ForbiddenError: ``IDENTITY_NOT_YOURS``, ``ROLE`` or ``NAMESPACE``.
            RefusedError, LimitExceededError, ConflictError, UnavailableError: As registration.
        """
        if len(data) > MAX_REGISTERED_BYTES:
            raise LimitExceededError(
                Reason.ENVELOPE_TOO_LARGE,
                "this bundle is too large to be registered",
                expected=f"at most {MAX_REGISTERED_BYTES} bytes",
                actual=f"{len(data)} bytes",
            )
        bundle = Bundle.parse(data)
        if not isinstance(bundle.content, Envelope):
            raise MalformedError(
                Reason.MALFORMED_STATEMENT, "this bundle holds no statement, only a signature"
            )
        if not bundle.certificate:
            raise MalformedError(
                Reason.SIGSTORE_BUNDLE,
                "this bundle is signed with a bare key, which says nothing of who holds it",
                expected="a bundle with a certificate",
                hint="register the statement itself with that key, once it is admitted: "
                "provreg principal add NAME --key FILE",
            )
        certificate = SigningCertificate.parse(bundle.certificate)
        identity = Identity.of(certificate)
        granted = self._vouched.grant(identity)
        if granted.principal != caller.name:
            raise ForbiddenError(
                Reason.IDENTITY_NOT_YOURS,
                "the statement is signed by somebody else",
                expected=f"an identity of {caller.name}",
                actual=str(identity),
            )
        times = self._verified(data, bundle, identity)
        statement = predicate.parse(bundle.content.payload)
        admit(statement, granted)
        envelope = replace(bundle.content, keyid=certificate.key.key_id)
        with self._lock:
            known = self._known(envelope)
            if known is not None:
                return known
            self._registration.check_references(statement)
            said = verification.build(
                envelope.record_id,
                {
                    "bundle": self._artifacts.put(data).sha256.hex(),
                    "trusted_root": self._root_digest.hex(),
                    "key": certificate.key.key_id,
                    "issuer": identity.issuer,
                    "subject_name": identity.name,
                    "signed_at": times,
                    "verified_at": encoding.time_text(self._clock()),
                    "engines": engines(),
                },
            )
            self._operator.say(said)
            self._admit(certificate, caller)
            return self._finish(envelope, caller)

    def _verified(self, data: bytes, bundle: Bundle, identity: Identity) -> str:
        """The earliest proven time, if both engines take the bundle."""
        stock: RegistryError | None = None
        payload = None
        try:
            payload = second_engine.verify_statement(data, self._trusted_root, identity)
        except VerificationError as error:
            stock = error
        try:
            opened = open_bundle(bundle, self._trust, identity)
        except RegistryError as error:
            if stock is not None:
                raise
            raise _disagree("only the stock verifier takes this bundle", str(error)) from error
        if stock is not None:
            raise _disagree("only our verifier takes this bundle", str(stock)) from stock
        if payload != opened.payload:
            raise _disagree("the two verifiers read another statement", "")
        return encoding.time_text(min(opened.times))

    def _known(self, envelope: Envelope) -> Receipt | None:
        try:
            _, stored = self._registration.find(envelope.record_id)
        except NotFoundError:
            return None
        if stored.envelope != envelope.to_bytes():
            return None
        return self._sequencer.receipt(stored.index)

    def _admit(self, certificate: SigningCertificate, caller: Principal) -> None:
        """Let the signer's key speak for the caller, unless it does already."""
        if self._keyring.events(certificate.key.key_id):
            # Raises if it has ended: a key that ended never speaks again.
            self._keyring.grant(certificate.key.key_id)
            return
        until = self._clock() + KEY_LIFE
        self._ephemeral.admit(certificate.key, caller, certificate.der, until)

    def _finish(self, envelope: Envelope, caller: Principal) -> Receipt:
        return self._registration.register(envelope.to_bytes(), caller).result()


def engines() -> tuple[str, ...]:
    """The names and versions of both verifiers."""
    return second_engine.engine(), f"provreg {importlib.metadata.version('provreg')}"


def _disagree(what: str, actual: str) -> VerificationError:
    return VerificationError(
        Reason.ENGINES_DISAGREE,
        what,
        expected="the same verdict from both",
        actual=actual[:300],
        hint="nothing is taken on one verifier's word; sign again with a current client",
    )
