"""Certificates on request: authenticate, see that the key is held, log, and only then hand out.

Who may ask: holders of a token of a configured issuer (OpenID Connect), and publishers and nodes of
this registry with their own bearer token. Everybody else is refused.

Publishers and nodes for whom the operator admitted neither a lasting key nor a certified name may
then sign statements with the certified key, see :mod:`registry.services.ephemeral`. For all others
the bearer token alone never speaks.

==============================  ===================================================================
dies                            afterwards
==============================  ===================================================================
before the log has the record   no certificate was handed out; the client asks again
after that                      the log tells of a certificate that nobody has, or may have
==============================  ===================================================================
"""

import re
import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core.access import Principal
from registry.core.attestation.identity import Identity
from registry.core.certificates.chain import Authority
from registry.core.certificates.signing import SigningCertificate
from registry.core.encoding import time_text
from registry.core.keys import PublicKey
from registry.core.records import certificate
from registry.core.tlog.receipt import Receipt
from registry.errors import (
    ForbiddenError,
    LimitExceededError,
    MalformedError,
    Reason,
    UnauthenticatedError,
    VerificationError,
)
from registry.services.access import TOKEN_PREFIX, Access, Clock
from registry.services.ephemeral import EphemeralKeys
from registry.services.operator import Operator
from registry.services.tokens import Authenticated, Issuers
from registry.signing.authority import CertificateAuthority

MAX_CSR_BYTES = 8 * 1024
"""Bytes of a certificate signing request in PEM; a P-256 one takes about 400."""

WINDOW = timedelta(minutes=1)
"""The time over which certificates are counted."""

MAX_PER_IDENTITY = 30
"""Certificates for one identity in a window."""

MAX_PER_WINDOW = 600
"""Certificates for everybody together in a window: each is an entry of the log for ever."""

ROLES: Final = frozenset({"publisher", "node"})
"""Roles of principals that sign something, and so may have a certificate."""

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?", re.ASCII)
_PEM = b"-----BEGIN CERTIFICATE REQUEST-----"


@dataclass(frozen=True, slots=True)
class Possession:
    """A public key, and the signature that shows that the caller holds it."""

    public_key: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate that is in the log.

    Attributes:
        chain: PEM, the new certificate first and the authority's last.
        receipt: Where the log tells of it.
    """

    chain: tuple[str, ...]
    receipt: Receipt


class Certification:
    """Issues certificates. Any number of threads may ask."""

    def __init__(
        self,
        authority: CertificateAuthority,
        issuers: Issuers,
        access: Access,
        operator: Operator,
        ephemeral: EphemeralKeys,
        *,
        origin: str,
        clock: Clock,
    ) -> None:
        """Take the authority.

        Raises:
            MalformedError: ``BAD_SETTING`` if a configured issuer has this registry's own name, or
                if that name does not fit into a certificate.
        """
        self._authority = authority
        self._issuers = issuers
        self._access = access
        self._operator = operator
        self._ephemeral = ephemeral
        self._clock = clock
        self._own = own_issuer(origin)
        if not _HOST.fullmatch(origin):
            raise MalformedError(
                Reason.BAD_SETTING,
                "certificates need a log whose origin is a host name",
                where="--origin",
                actual=ascii(origin),
            )
        if self._own in issuers:
            raise MalformedError(
                Reason.BAD_SETTING, "this registry vouches for its own principals", where=self._own
            )
        self._rate = Rate()

    @property
    def authority(self) -> Authority:
        """What issues the certificates, for whoever has to believe them."""
        return self._authority.authority

    @property
    def chain(self) -> tuple[str, ...]:
        """The authority's own certificate, which clients pin."""
        return (self._authority.certificate_pem,)

    def issue(self, token: str | None, shown: Possession | bytes) -> Certified:
        """A certificate for whoever holds the token and the key; it is in the log already.

        Args:
            token: An identity token, or a bearer token of this registry.
            shown: A key with a signature over the caller's subject, or a PEM signing request.

        Raises:
            UnauthenticatedError: What is wrong with the token.
            ForbiddenError: ``ROLE`` for principals that sign nothing.
            MalformedError: ``MALFORMED_CERTIFICATE_REQUEST``, ``MALFORMED_KEY``,
                ``MALFORMED_SIGNATURE`` or ``KEY_ALGORITHM``.
            VerificationError: ``PROOF_OF_POSSESSION``.
            LimitExceededError: ``MESSAGE_TOO_LARGE`` or ``TOO_MANY_CERTIFICATES``.
            UnavailableError: ``LOG_BUSY``, ``LOG_LATCHED``, or the issuer cannot be asked.
        """
        at = self._clock()
        who = self._authenticate(token, at)
        key = requested_key(shown) if isinstance(shown, bytes) else _held_key(shown, who)
        self._rate.take(who.identity, at)
        issued = self._authority.issue(key, who.identity, at)
        # The log first: a certificate that nobody can see must not exist outside.
        how: Literal["oidc", "token"] = "oidc" if who.principal is None else "token"
        receipt = self._operator.say(certificate.build(issued, how, time_text(at)))
        if who.principal is not None and self._may_sign(who.principal):
            self._admit(key, who.principal, issued, token)
        return Certified((pem(issued.der), *self.chain), receipt)

    def _may_sign(self, principal: Principal) -> bool:
        """Whether the token alone is enough: the operator admitted neither a key nor a name."""
        return self._ephemeral.may(principal) and not self._access.vouched.identities_of(
            principal.name
        )

    def _admit(
        self, key: PublicKey, principal: Principal, issued: SigningCertificate, token: str | None
    ) -> None:
        until = issued.window.end or issued.window.start
        self._ephemeral.admit(key, principal, issued.der, until)
        try:
            # Whoever was revoked meanwhile had all known keys retired, but not yet this one.
            self._access.authenticate(token)
        except UnauthenticatedError:
            self._ephemeral.retire(key)
            raise

    def _authenticate(self, token: str | None, at: datetime) -> Authenticated:
        if token is None or token.startswith(TOKEN_PREFIX):
            principal = self._access.authenticate(token)
            if not ROLES.intersection(principal.roles):
                raise ForbiddenError(
                    Reason.ROLE,
                    "certificates are for principals that sign",
                    where=f"principal {principal.name}",
                    expected=" or ".join(sorted(ROLES)),
                    actual=", ".join(principal.roles),
                )
            identity = Identity(self._own, principal_uri(self._own, principal.name))
            return Authenticated(identity, (principal.name, identity.name), principal)
        return self._issuers.authenticate(token, at)


class Rate:
    """Counts what was taken lately: per identity, and by everybody together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: deque[tuple[datetime, Identity]] = deque()
        self._counts: dict[Identity, int] = {}

    def take(self, identity: Identity, at: datetime) -> None:
        """Count one more.

        Raises:
            LimitExceededError: ``TOO_MANY_CERTIFICATES``.
        """
        with self._lock:
            # Both are bounded by MAX_PER_WINDOW: what is refused is not counted. A clock that
            # goes backwards makes no room.
            while self._all and at - self._all[0][0] >= WINDOW:
                _, gone = self._all.popleft()
                left = self._counts[gone] - 1
                if left:
                    self._counts[gone] = left
                else:
                    del self._counts[gone]
            mine = self._counts.get(identity, 0)
            if mine >= MAX_PER_IDENTITY or len(self._all) >= MAX_PER_WINDOW:
                raise LimitExceededError(
                    Reason.TOO_MANY_CERTIFICATES,
                    "too many certificates were issued lately",
                    expected=f"at most {MAX_PER_IDENTITY} for one identity and {MAX_PER_WINDOW} "
                    f"for all in {WINDOW.total_seconds():g} seconds",
                    hint="one certificate signs any number of things while it lives",
                )
            self._all.append((at, identity))
            self._counts[identity] = mine + 1


def own_issuer(origin: str) -> str:
    """Under which name this registry vouches for its principals."""
    return f"https://{origin}"


def principal_uri(issuer: str, name: str) -> str:
    """How a certificate names a principal."""
    return f"{issuer}/principal/{name}"


def pem(der: bytes) -> str:
    """A certificate as PEM."""
    parsed = x509.load_der_x509_certificate(der)
    return parsed.public_bytes(serialization.Encoding.PEM).decode("ascii")


def requested_key(csr: bytes) -> PublicKey:
    """The key of a PEM PKCS #10 request that it signed itself; nothing else in it counts.

    Raises:
        LimitExceededError: ``MESSAGE_TOO_LARGE``.
        MalformedError: ``MALFORMED_CERTIFICATE_REQUEST`` or ``KEY_ALGORITHM``.
        VerificationError: ``PROOF_OF_POSSESSION``.
    """
    if len(csr) > MAX_CSR_BYTES:
        raise LimitExceededError(
            Reason.MESSAGE_TOO_LARGE,
            "this certificate signing request is too long",
            expected=f"at most {MAX_CSR_BYTES} bytes",
            actual=f"{len(csr)} bytes",
        )
    if csr.count(b"-----BEGIN") != 1 or not csr.startswith(_PEM):
        raise _malformed_request("it is not one PEM block")
    try:
        request = x509.load_pem_x509_csr(csr)
        public = request.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise _malformed_request(str(error)[:200]) from error
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise MalformedError(
            Reason.KEY_ALGORITHM,
            "certificates are for P-256 keys only",
            expected="a P-256 key",
            actual=type(public).__name__.strip("_"),
        )
    key = PublicKey(public)
    try:
        if not isinstance(request.signature_hash_algorithm, hashes.SHA256):
            raise _malformed_request("it is not signed with SHA-256")
        key.verify(request.signature, request.tbs_certrequest_bytes)
    except (VerificationError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise _not_held() from error
    return key


def _held_key(shown: Possession, who: Authenticated) -> PublicKey:
    key = PublicKey.parse(shown.public_key)
    for challenge in who.challenges:
        try:
            key.verify(shown.signature, challenge.encode())
        except VerificationError:
            continue
        return key
    raise _not_held()


def _not_held() -> VerificationError:
    return VerificationError(
        Reason.PROOF_OF_POSSESSION,
        "the caller did not show that it holds the private key",
        expected="a signature by the key over the caller's subject, or over the signing request",
    )


def _malformed_request(actual: str) -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_CERTIFICATE_REQUEST,
        "this is not a certificate signing request",
        actual=actual,
    )
