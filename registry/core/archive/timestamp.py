"""RFC 3161 tokens: proof that bytes existed at a time, by a pinned authority.

A token is believed if, in this order: it is strict DER with one signer; the signer is the pinned
authority's own certificate, bound by the signed attribute of RFC 5816 and equal to the one that
comes with the token, if one does; the imprint is that of our bytes; policy and nonce are those that
were asked for; the stamped time lies in the authority's window and in the life of every certificate
of its chain; and the signature verifies.

All of it is done here, since ``rfc3161-client``, which the tests ask for a second opinion, refuses
what it should not: the last second of a certificate's life (RFC 5280 §4.1.2.5 includes it; OpenSSL
does not) and certificates in another order than a DER set's (RFC 5652 §5.1 leaves it open). It also
does not look at the digest by which a signature binds its certificate, nor at critical extensions.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from registry.core import der
from registry.core.archive import cms, tsp
from registry.core.archive.authority import Authority, certificates
from registry.core.archive.tsp import HASH_BYTES, HASHES, HashName, check_size, malformed
from registry.errors import MalformedError, Reason, VerificationError

MAX_TOKEN_BYTES: Final = tsp.MAX_RESPONSE_BYTES - 64
"""Bytes of a token: a response less its status."""

_ALGORITHMS: Final[dict[HashName, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_RSA_ENCRYPTION: Final = "1.2.840.113549.1.1.1"
_RSA_SIGNATURES: Final[dict[str, HashName]] = {
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
}
_ECDSA_SIGNATURES: Final[dict[str, HashName]] = {
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}
_DIRECTORY_NAME: Final = b"\xa4"
"""The tag of GeneralName's directoryName: [4], explicit, for a Name is a choice."""


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A token that was verified: ``authority`` saw the digest ``imprint`` at ``at``, at latest.

    Attributes:
        at: The stamped time.
        accuracy: How far ``at`` may be from the true time, as the authority says; None if it is
            silent.
        authority: The subject of the authority's certificate (RFC 4514).
        policy: The policy under which it stamped, dotted.
        serial: The token's number at this authority.
        algorithm: The digest algorithm of the imprint.
        imprint: The digest that was stamped.
        nonce: The nonce of the request, if it had one.
    """

    at: datetime
    accuracy: timedelta | None
    authority: str
    policy: str
    serial: int
    algorithm: HashName
    imprint: bytes
    nonce: int | None


def open_response(
    response: bytes,
    message: bytes,
    authority: Authority,
    *,
    policy: str | None = None,
    nonce: int | None = None,
) -> Timestamp:
    """Verify the token in a TimeStampResp; otherwise as :func:`open_token`.

    Raises:
        MalformedError: As :func:`open_token`.
        LimitExceededError: ``TIMESTAMP_TOO_LARGE``.
        VerificationError: ``TIMESTAMP_REJECTED``, or as :func:`open_token`.
    """
    token = tsp.granted_token(response)
    return open_token(token, message, authority, policy=policy, nonce=nonce)


def open_token(
    token: bytes,
    message: bytes,
    authority: Authority,
    *,
    policy: str | None = None,
    nonce: int | None = None,
) -> Timestamp:
    """Verify a TimeStampToken of ``authority`` over ``message``.

    ``policy`` (dotted) and ``nonce`` are compared if given: who asked for a token gives them, who
    finds one later need not.

    Raises:
        MalformedError: ``MALFORMED_TIMESTAMP``.
        LimitExceededError: ``TIMESTAMP_TOO_LARGE``.
        VerificationError: ``TIMESTAMP_SIGNER``, ``TIMESTAMP_IMPRINT``, ``TIMESTAMP_POLICY``,
            ``TIMESTAMP_NONCE``, ``TIMESTAMP_VALIDITY`` or ``TIMESTAMP_SIGNATURE``.
    """
    read = _read(token)
    digest = hashlib.new(read.algorithm, message).digest()
    return _open(read, digest, authority, policy, nonce)


def open_digest(
    token: bytes,
    digest: bytes,
    authority: Authority,
    *,
    policy: str | None = None,
    nonce: int | None = None,
) -> Timestamp:
    """As :func:`open_token`, over a message of which only the SHA-256, -384 or -512 is at hand.

    Raises:
        MalformedError: As :func:`open_token`.
        LimitExceededError: As :func:`open_token`.
        VerificationError: As :func:`open_token`.
    """
    return _open(_read(token), digest, authority, policy, nonce)


def check_imprint(response: bytes, message: bytes) -> None:
    """Check that a response is over ``message``, whoever made it: for who passes it on.

    Raises:
        MalformedError: As :func:`open_token`.
        LimitExceededError: As :func:`open_token`.
        VerificationError: ``TIMESTAMP_REJECTED`` or ``TIMESTAMP_IMPRINT``.
    """
    check_message(tsp.granted_token(response), message)


def check_message(token: bytes, message: bytes) -> datetime:
    """Check that a token says to be over ``message``, whoever made it; the time that it says.

    Raises:
        MalformedError: As :func:`open_token`.
        LimitExceededError: As :func:`open_token`.
        VerificationError: ``TIMESTAMP_IMPRINT``.
    """
    read = _read(token)
    _check_imprint(read, hashlib.new(read.algorithm, message).digest())
    return read.at


@dataclass(frozen=True, slots=True)
class _Token:
    """A token as it was read, nothing of it verified yet."""

    signed: cms.SignedData
    signer: cms.SignerInfo
    info: tsp.TSTInfo
    algorithm: HashName
    digest_algorithm: HashName
    at: datetime
    accuracy: timedelta | None


def _read(token: bytes) -> _Token:
    check_size(token, MAX_TOKEN_BYTES, "timestamp token")
    try:
        shell = der.read(cms.ContentInfo, token, what="timestamp token")
        signed = shell.content
        info = der.read(tsp.TSTInfo, signed.content.content, what="timestamp")
        at = info.gen_time.as_datetime()
    except MalformedError as error:
        raise malformed(error.what, actual=error.actual) from error
    except (ValueError, OverflowError) as error:
        raise malformed("the stamped time is none", actual=str(error)[:200]) from error
    if shell.type != cms.SIGNED_DATA or signed.content.type != tsp.TST_INFO:
        raise malformed("this is signed data, but no timestamp")
    signers = signed.signers.as_list()
    if len(signers) != 1:
        raise malformed("a timestamp has one signature", actual=str(len(signers)))
    versions = (signed.version, signers[0].version, info.version)
    if versions != (cms.SIGNED_DATA_VERSION, cms.SIGNER_VERSION, 1):
        raise malformed("this timestamp is of another version", actual=str(versions)[:80])
    # Authorities have given negative numbers (RFC 5280 §4.1.2.2 says to bear them); the number
    # is only repeated, so its size alone matters.
    tsp.check_integer(abs(info.serial_number), "serial number")
    if info.nonce is not None:
        tsp.check_integer(info.nonce, "nonce")
    if any(extension.critical for extension in info.extensions or ()):
        raise malformed("the timestamp has a critical extension, and none is understood")
    algorithm = _hash_name(info.message_imprint.hash_algorithm)
    if len(info.message_imprint.hashed_message) != HASH_BYTES[algorithm]:
        raise malformed("the imprint is not as long as its algorithm makes it")
    digest_algorithm = _hash_name(signers[0].digest_algorithm)
    announced = {item.algorithm for item in signed.digest_algorithms.as_list()}
    if signers[0].digest_algorithm.algorithm not in announced:
        raise malformed("the signer's digest algorithm is not announced")
    return _Token(
        signed, signers[0], info, algorithm, digest_algorithm, at, _accuracy(info.accuracy)
    )


def _hash_name(identifier: cms.AlgorithmIdentifier) -> HashName:
    name = HASHES.get(identifier.algorithm)
    if name is None:
        raise malformed(
            "a digest algorithm is not accepted",
            expected=", ".join(HASHES.values()),
            actual=identifier.algorithm.dotted_string,
        )
    return name


def _accuracy(accuracy: tsp.Accuracy | None) -> timedelta | None:
    if accuracy is None:
        return None
    seconds = 0 if accuracy.seconds is None else accuracy.seconds
    # RFC 3161 §2.4.2: a part that is there is from 1 to 999.
    millis = 1 if accuracy.millis is None else accuracy.millis
    micros = 1 if accuracy.micros is None else accuracy.micros
    if not (0 <= seconds < 2**31 and 1 <= millis <= 999 and 1 <= micros <= 999):  # noqa: PLR2004
        raise malformed("the accuracy is out of range")
    return timedelta(
        seconds=seconds,
        milliseconds=accuracy.millis or 0,
        microseconds=accuracy.micros or 0,
    )


def _open(
    read: _Token, digest: bytes, authority: Authority, policy: str | None, nonce: int | None
) -> Timestamp:
    info, leaf = read.info, certificates(authority.chain)[0]
    _check_signer(read, leaf)
    attributes = _single_values(read.signer.signed_attributes)
    _check_attributes(read, attributes, leaf)
    _check_imprint(read, digest)
    if policy is not None and info.policy.dotted_string != policy:
        raise VerificationError(
            Reason.TIMESTAMP_POLICY,
            "the timestamp was made under another policy",
            expected=policy,
            actual=info.policy.dotted_string,
        )
    if nonce is not None and info.nonce != nonce:
        raise VerificationError(
            Reason.TIMESTAMP_NONCE,
            "the timestamp answers another request",
            hint="an old answer was played again",
        )
    authority.check_validity(read.at)
    _check_signature(read, leaf)
    return Timestamp(
        at=read.at,
        accuracy=read.accuracy,
        authority=authority.subject,
        policy=info.policy.dotted_string,
        serial=info.serial_number,
        algorithm=read.algorithm,
        imprint=digest,
        nonce=info.nonce,
    )


def _check_imprint(read: _Token, digest: bytes) -> None:
    imprint = read.info.message_imprint.hashed_message
    if imprint != digest:
        raise VerificationError(
            Reason.TIMESTAMP_IMPRINT,
            "the timestamp is over other bytes",
            expected=digest.hex(),
            actual=imprint.hex(),
        )


def _wrong_signer(what: str, actual: str = "") -> VerificationError:
    return VerificationError(
        Reason.TIMESTAMP_SIGNER,
        what,
        actual=actual,
        hint="pin the chain of the authority that made this timestamp",
    )


def _check_signer(read: _Token, leaf: x509.Certificate) -> None:
    """The token says, everywhere where it says so, that ``leaf`` signed it."""
    sid = read.signer.sid
    if not _names(sid.issuer, leaf.issuer) or sid.serial_number != leaf.serial_number:
        raise _wrong_signer("the timestamp was signed with another certificate")
    # More certificates may come along. They add nothing, but what names the signer must be it.
    embedded = [der.element(item) for item in read.signed.certificates or ()]
    if embedded and leaf.public_bytes(Encoding.DER) not in embedded:
        raise _wrong_signer("the timestamp comes with another certificate than the pinned one")
    if read.info.tsa is not None:
        # RFC 3161 §2.4.2: the hint at the signer's name must be one of the certificate's.
        inner = read.info.tsa[0] if len(read.info.tsa) == 1 else None
        if inner is None or inner.tag_bytes != _DIRECTORY_NAME:
            raise malformed("the authority is not named by a directory name")
        if bytes(inner.data) != leaf.subject.public_bytes():
            raise _wrong_signer("the timestamp names another authority than its certificate")


def _names(name: asn1.TLV, expected: x509.Name) -> bool:
    return der.element(name) == expected.public_bytes()


def _single_values(attributes: asn1.SetOf[cms.Attribute]) -> dict[str, bytes]:
    """The signed attributes by type; each may stand there once, with one value."""
    values: dict[str, bytes] = {}
    for attribute in attributes.as_list():
        inner = attribute.values.as_list()
        if attribute.type.dotted_string in values or len(inner) != 1:
            raise malformed("a signed attribute is there twice", actual=str(attribute.type)[:80])
        values[attribute.type.dotted_string] = der.element(inner[0])
    return values


def _check_attributes(read: _Token, attributes: dict[str, bytes], leaf: x509.Certificate) -> None:
    content_type = attributes.get(cms.CONTENT_TYPE.dotted_string)
    message_digest = attributes.get(cms.MESSAGE_DIGEST.dotted_string)
    signing_certificate = attributes.get(cms.SIGNING_CERTIFICATE_V2.dotted_string)
    if content_type is None or message_digest is None or signing_certificate is None:
        raise malformed(
            "a signed attribute is missing",
            expected="content type, message digest, and signing certificate v2 (RFC 5816)",
        )
    if content_type != der.write(tsp.TST_INFO):
        raise malformed("the signature is over another type of content")
    content = read.signed.content.content
    if message_digest != der.write(hashlib.new(read.digest_algorithm, content).digest()):
        raise VerificationError(
            Reason.TIMESTAMP_SIGNATURE, "the signature is over another timestamp"
        )
    try:
        bound = der.read(cms.SigningCertificateV2, signing_certificate, what="certificate binding")
    except MalformedError as error:
        raise malformed(error.what, actual=error.actual) from error
    if not bound.certs:
        raise malformed("the signature binds no certificate")
    first = bound.certs[0]
    algorithm = _hash_name(first.hash_algorithm) if first.hash_algorithm else "sha256"
    if first.cert_hash != hashlib.new(algorithm, leaf.public_bytes(Encoding.DER)).digest():
        raise _wrong_signer("the signature binds another certificate")
    serial = first.issuer_serial
    if serial is not None:
        names = [bytes(each.data) for each in serial.issuer if each.tag_bytes == _DIRECTORY_NAME]
        if leaf.issuer.public_bytes() not in names or serial.serial_number != leaf.serial_number:
            raise _wrong_signer("the signature binds another certificate")


def _check_signature(read: _Token, leaf: x509.Certificate) -> None:
    # RFC 5652 §5.4: signed is the set with its own tag, not the implicit one.
    signed = der.write(read.signer.signed_attributes)
    oid, key = read.signer.signature_algorithm.algorithm.dotted_string, leaf.public_key()
    expected, algorithm = read.digest_algorithm, _ALGORITHMS[read.digest_algorithm]
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and _ECDSA_SIGNATURES.get(oid) == expected:
            key.verify(read.signer.signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and (
            oid == _RSA_ENCRYPTION or _RSA_SIGNATURES.get(oid) == expected
        ):
            key.verify(read.signer.signature, signed, padding.PKCS1v15(), algorithm)
        else:
            raise malformed("the signature's algorithm does not fit the key or digest", actual=oid)
    except (InvalidSignature, UnsupportedAlgorithm) as error:
        raise VerificationError(
            Reason.TIMESTAMP_SIGNATURE, "the authority's signature does not verify"
        ) from error
