"""OCSP answers (RFC 6960) at a stated time: whose they are, who gave them, and what they say.

An answer is checked once and remembered; when it counts is asked each time. Its responder must be
the issuer of the certificate or somebody to whom the issuer delegated it, and the responder's
certificate must have been valid when the answer was given: that it ends before the answer is
looked at, months later, takes nothing back.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from registry.core.certificates.chain import find
from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity, missing
from registry.core.evidence.endorsements import Role
from registry.core.evidence.nvidia import chain
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.validity import Validity, seconds

MAX_ANSWER_BYTES: Final = 16 * 1024
"""Bytes of one answer; NVIDIA's take about 1,000."""

MAX_CERTIFICATES: Final = 4
"""Certificates that come with one answer."""

_CACHED_ANSWERS = 512
_ECDSA = ec.ECDSA(hashes.SHA384())
_DAY = timedelta(days=1)
_RETROACTIVE = (x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise)


@dataclass(frozen=True, slots=True)
class Subject:
    """A certificate that is asked about, and who issued it.

    Attributes:
        certificate: DER.
        issuer: DER of the issuer's certificate.
    """

    certificate: bytes
    issuer: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One OCSP response, read but not believed.

    Attributes:
        data: The response, DER.
        serial: The serial number that it speaks of.
        issuer: The names of its issuer: hash algorithm, hash of the name, hash of the key.
        status: What it says.
        produced_at: When it was signed.
        this_update: When it was true.
        next_update: When there will be a newer one; None if at any time.
        revoked_at: Since when the certificate is revoked.
        reason: Why it is.
    """

    data: bytes
    serial: int
    issuer: tuple[str, bytes, bytes]
    status: ocsp.OCSPCertStatus
    produced_at: datetime
    this_update: datetime
    next_update: datetime | None
    revoked_at: datetime | None
    reason: x509.ReasonFlags | None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a successful response about one certificate.

        Raises:
            CheckError: ``OCSP_MALFORMED``.
        """
        try:
            return cls._read(data)
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
            raise _malformed("it cannot be read", str(error)[:200]) from error

    @classmethod
    def _read(cls, data: bytes) -> Self:
        response = _loaded(data)
        singles = list(response.responses)
        if len(singles) != 1:
            raise _malformed("it speaks of another number of certificates", str(len(singles)))
        single = singles[0]
        extensions = (*response.extensions, *response.single_extensions)
        if any(extension.critical for extension in extensions):
            raise _malformed("it has a critical extension")
        if single.next_update_utc is not None and single.next_update_utc <= single.this_update_utc:
            raise _malformed("its window ends before it begins")
        return cls(
            data=data,
            serial=single.serial_number,
            issuer=(single.hash_algorithm.name, single.issuer_name_hash, single.issuer_key_hash),
            status=single.certificate_status,
            produced_at=response.produced_at_utc,
            this_update=single.this_update_utc,
            next_update=single.next_update_utc,
            revoked_at=single.revocation_time_utc,
            reason=single.revocation_reason,
        )

    def window(self, days: int | None) -> Validity:
        """When it counts: its own window, or so many days from when it was true."""
        if days is not None:
            start = seconds(self.this_update)
            return Validity(start, start + days * int(_DAY.total_seconds()))
        end = self.next_update or self.this_update + timedelta(seconds=1)
        return Validity.until_next(self.this_update, end)


class Answers:
    """All answers at hand.

    Args:
        data: Each response, DER.
        days: How long an answer counts; None means within its own window.
    """

    def __init__(self, data: Sequence[bytes], days: int | None) -> None:
        self._answers: dict[int, list[Answer]] = {}
        self._broken: list[CheckError] = []
        self._days = days
        for item in data:
            try:
                answer = _parsed(item)
            except CheckError as error:
                self._broken.append(error)
            else:
                self._answers.setdefault(answer.serial, []).append(answer)

    def check_readable(self) -> None:
        """Refuse what claims to be an answer and is none.

        Raises:
            CheckError: ``OCSP_MALFORMED``.
        """
        if self._broken:
            raise self._broken[0]

    def strays(self, known: Collection[Subject]) -> tuple[Answer, ...]:
        """The answers that speak of none of these certificates."""
        by_serial: dict[int, list[Subject]] = {}
        for subject in known:
            # What cannot be read is nobody's to answer for.
            with suppress(CheckError):
                chain.certificate(subject.issuer)
                serial = chain.certificate(subject.certificate).serial_number
                by_serial.setdefault(serial, []).append(subject)
        return tuple(
            item
            for serial, answers in self._answers.items()
            for item in answers
            if not any(_about(item, subject) for subject in by_serial.get(serial, ()))
        )

    def about(self, subject: Subject) -> tuple[bytes, ...]:
        """The answers that speak of a certificate, as their responders gave them."""
        return tuple(item.data for item in self._with_serial(subject) if _about(item, subject))

    def check(self, ledger: Ledger, name: str, subject: Subject, strays: Sequence[Answer]) -> None:
        """Check that a certificate was not revoked at the ledger's moment.

        That it is on hold is noted for the policy to weigh; the answer must still count.

        Args:
            ledger: The examination.
            name: The check that this is a part of.
            subject: Which certificate.
            strays: Answers about nothing here; one by the same issuer shows a mistake.

        Raises:
            CheckError: ``OCSP_RESPONDER``, ``REVOKED``, ``OCSP_UNKNOWN``,
                ``OCSP_OTHER_CERTIFICATE``, ``NOT_YET_VALID``, ``EXPIRED`` or ``MISSING``.
        """
        own = [item for item in self._with_serial(subject) if _about(item, subject)]
        if not own:
            raise _nothing(subject, strays)
        who = chain.named(chain.certificate(subject.certificate))
        for item in own:
            check_responder(item.data, subject.issuer)
        for item in own:
            _check_not_revoked(item, who, ledger, name)
        good = [item for item in own if item.status is not ocsp.OCSPCertStatus.UNKNOWN]
        if not good:
            raise CheckError(
                Found.OCSP_UNKNOWN,
                "the responder does not know this certificate",
                severity=Severity.TIME,
                where=who,
            )
        # The newest that counts; else the newest that was true before; else the first to come.
        best = max(good, key=lambda item: self._preference(item, ledger.at))
        ledger.within(f"the OCSP answer about {who}", best.window(self._days))

    def _with_serial(self, subject: Subject) -> list[Answer]:
        return self._answers.get(chain.certificate(subject.certificate).serial_number, [])

    def _preference(self, answer: Answer, at: int) -> tuple[int, int]:
        window = answer.window(self._days)
        if at in window:
            return (2, window.start)
        return (1, window.start) if window.start <= at else (0, -window.start)


@lru_cache(maxsize=_CACHED_ANSWERS)
def _parsed(data: bytes) -> Answer:
    return Answer.parse(data)


def _loaded(data: bytes) -> ocsp.OCSPResponse:
    if len(data) > MAX_ANSWER_BYTES:
        raise _malformed("it is too long", f"{len(data)} bytes")
    response = ocsp.load_der_ocsp_response(data)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise _malformed("the responder did not answer", response.response_status.name)
    return response


def _check_not_revoked(answer: Answer, who: str, ledger: Ledger, name: str) -> None:
    """Entries that took effect later say nothing of then, unless the key was stolen."""
    if answer.status is not ocsp.OCSPCertStatus.REVOKED or answer.revoked_at is None:
        return
    if answer.reason not in _RETROACTIVE and seconds(answer.revoked_at) > ledger.at:
        return
    since = Validity.text(seconds(answer.revoked_at))
    if answer.reason is x509.ReasonFlags.certificate_hold:
        ledger.find(name, Found.CERTIFICATE_HOLD, f"{who} is on hold since {since}")
        return
    raise CheckError(
        Finding.REVOKED,
        "a certificate is revoked",
        severity=Severity.IDENTITY,
        where=who,
        actual=f"since {since}, {answer.reason.value if answer.reason else 'unspecified'}",
    )


@lru_cache(maxsize=_CACHED_ANSWERS)
def check_responder(data: bytes, issuer_der: bytes) -> None:
    """Check that an answer was signed by an issuer, or by whom that issuer let answer.

    Raises:
        CheckError: ``OCSP_RESPONDER``.
    """
    try:
        response = _loaded(data)
        signer = _responder(response, issuer_der)
        if not isinstance(response.signature_hash_algorithm, hashes.SHA384):
            raise _responder_error("the answer is not signed with SHA-384")
        window = (signer.not_valid_before_utc, signer.not_valid_after_utc)
        if not window[0] <= response.produced_at_utc <= window[1]:
            raise _responder_error("the responder's certificate was not valid at that time")
        key = chain.public_key(signer)
        key.verify(response.signature, response.tbs_response_bytes, _ECDSA)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise _responder_error("the answer's signature does not verify") from error


def _responder(response: ocsp.OCSPResponse, issuer_der: bytes) -> x509.Certificate:
    """Who answered: the issuer, or whom it lets answer."""
    issuer = chain.certificate(issuer_der)
    if _names(response, issuer):
        return issuer
    embedded = [item.public_bytes(serialization.Encoding.DER) for item in response.certificates]
    if len(embedded) > MAX_CERTIFICATES:
        raise _responder_error("too many certificates come with the answer")
    try:
        named = [item for item in embedded if _names(response, chain.certificate(item))]
        if len(named) != 1:
            raise _responder_error("the answer does not come with its responder's certificate")
        signer = chain.certificate(named[0])
        chain.check_leaf(signer)
        chain.check_issued(named[0], issuer_der, 0)
    except CheckError as error:
        raise _responder_error(error.what, error.actual) from error
    usage = find(signer, x509.ExtendedKeyUsage)
    if usage is None or ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
        raise _responder_error("the responder's certificate is not for OCSP", chain.named(signer))
    return signer


def _names(response: ocsp.OCSPResponse, candidate: x509.Certificate) -> bool:
    if response.responder_key_hash is not None:
        # RFC 6960 §4.2.1: the SHA-1 of the key; it only finds the certificate.
        digest = x509.SubjectKeyIdentifier.from_public_key(chain.public_key(candidate)).digest
        return response.responder_key_hash == digest
    return response.responder_name == candidate.subject


def _nothing(subject: Subject, strays: Sequence[Answer]) -> CheckError:
    certificate = chain.certificate(subject.certificate)
    who = chain.named(certificate)
    # The same serial number by another issuer is an answer about another certificate, too.
    near = [
        item
        for item in strays
        if item.serial == certificate.serial_number or _by(item, subject.issuer)
    ]
    if not near:
        return missing(f"the OCSP answer about {who}", Role.NVIDIA_OCSP)
    return CheckError(
        Found.OCSP_OTHER_CERTIFICATE,
        "an OCSP answer is about another certificate",
        severity=Severity.TIME,
        where=who,
        actual=f"serial number {near[0].serial:x}",
    )


def _about(answer: Answer, subject: Subject) -> bool:
    serial = chain.certificate(subject.certificate).serial_number
    return answer.serial == serial and _by(answer, subject.issuer)


def _by(answer: Answer, issuer_der: bytes) -> bool:
    algorithm, name_hash, key_hash = answer.issuer
    return (name_hash, key_hash) == _issuer_hashes(issuer_der, algorithm)


@lru_cache(maxsize=_CACHED_ANSWERS)
def _issuer_hashes(issuer_der: bytes, algorithm: str) -> tuple[bytes, bytes] | None:
    kinds: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
        "sha256": hashes.SHA256,
        "sha384": hashes.SHA384,
        "sha512": hashes.SHA512,
    }
    kind = kinds.get(algorithm)
    if kind is None:
        return None
    issuer = chain.certificate(issuer_der)
    point = chain.public_key(issuer).public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    return _hash(kind(), issuer.subject.public_bytes()), _hash(kind(), point)


def _hash(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    state = hashes.Hash(algorithm)
    state.update(data)
    return state.finalize()


def _malformed(what: str, actual: str = "") -> CheckError:
    return CheckError(
        Found.OCSP_MALFORMED, f"this is not an OCSP answer that counts: {what}", actual=actual
    )


def _responder_error(what: str, actual: str = "") -> CheckError:
    return CheckError(Found.OCSP_RESPONDER, what, actual=actual)
