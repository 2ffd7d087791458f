"""The messages of a timestamp authority (RFC 3161, RFC 5816): request, response, token."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final, Literal, Self

from cryptography import x509
from cryptography.hazmat import asn1

from registry.core import der
from registry.core.archive.cms import AlgorithmIdentifier, ContentInfo
from registry.errors import LimitExceededError, MalformedError, Reason, VerificationError

MAX_REQUEST_BYTES: Final = 4096
"""Bytes of a request; with a SHA-512 imprint and a nonce it takes about 120."""

MAX_RESPONSE_BYTES: Final = 65_536
"""Bytes of a response; with a chain of RSA-4096 certificates it takes about 10,000."""

MAX_INTEGER_BITS: Final = 160
"""RFC 3161 §2.4.2: users must take serial numbers of up to so many bits; nonces as well here."""

TST_INFO: Final = x509.ObjectIdentifier("1.2.840.113549.1.9.16.1.4")
"""The content type of what a token signs."""

HashName = Literal["sha256", "sha384", "sha512"]

HASHES: Final[dict[x509.ObjectIdentifier, HashName]] = {
    x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1"): "sha256",
    x509.ObjectIdentifier("2.16.840.1.101.3.4.2.2"): "sha384",
    x509.ObjectIdentifier("2.16.840.1.101.3.4.2.3"): "sha512",
}
"""The digest algorithms that are taken, by object identifier."""

HASH_BYTES: Final[dict[HashName, int]] = {"sha256": 32, "sha384": 48, "sha512": 64}
"""Bytes of a digest."""


class Status(IntEnum):
    """What became of a request (RFC 3161 §2.4.2, PKIStatus)."""

    GRANTED = 0
    GRANTED_WITH_MODS = 1
    REJECTION = 2
    WAITING = 3
    REVOCATION_WARNING = 4
    REVOCATION_NOTIFICATION = 5


class Failure(IntEnum):
    """Why a request was rejected (RFC 3161 §2.4.2, PKIFailureInfo): the number of a bit."""

    BAD_ALG = 0
    BAD_REQUEST = 2
    BAD_DATA_FORMAT = 5
    TIME_NOT_AVAILABLE = 14
    UNACCEPTED_POLICY = 15
    UNACCEPTED_EXTENSION = 16
    ADD_INFO_NOT_AVAILABLE = 17
    SYSTEM_FAILURE = 25


@asn1.sequence
class MessageImprint:
    """The digest of what is stamped."""

    hash_algorithm: AlgorithmIdentifier
    hashed_message: bytes


@asn1.sequence
class Extension:
    """An extension (RFC 5280 §4.1)."""

    id: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(False)] = False  # noqa: FBT003 - the ASN.1 default
    value: bytes


@asn1.sequence
class Accuracy:
    """How far the stamp may be from the true time."""

    seconds: int | None = None
    millis: Annotated[int | None, asn1.Implicit(0)] = None
    micros: Annotated[int | None, asn1.Implicit(1)] = None


@asn1.sequence
class TSTInfo:
    """What an authority signs."""

    version: int
    policy: x509.ObjectIdentifier
    message_imprint: MessageImprint
    serial_number: int
    gen_time: asn1.GeneralizedTime
    accuracy: Accuracy | None = None
    ordering: Annotated[bool, asn1.Default(False)] = False  # noqa: FBT003 - the ASN.1 default
    nonce: int | None = None
    # [0] GeneralName: the tag of a choice is explicit, and so holds exactly one element.
    tsa: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)] = None
    extensions: Annotated[list[Extension] | None, asn1.Implicit(1)] = None


@asn1.sequence
class TimeStampReq:
    """What a client asks for."""

    version: int
    message_imprint: MessageImprint
    policy: x509.ObjectIdentifier | None = None
    nonce: int | None = None
    cert_req: Annotated[bool, asn1.Default(False)] = False  # noqa: FBT003 - the ASN.1 default
    extensions: Annotated[list[Extension] | None, asn1.Implicit(0)] = None


@asn1.sequence
class PKIStatusInfo:
    """What became of the request, in a number, in words, and as bits."""

    status: int
    status_string: list[str] | None = None
    fail_info: asn1.BitString | None = None


@asn1.sequence
class TimeStampResp:
    """What an authority answers."""

    status: PKIStatusInfo
    token: ContentInfo | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request, as far as it is understood.

    Attributes:
        algorithm: The digest algorithm of the imprint; empty if it is none that is taken.
        imprint: The digest to stamp.
        policy: The policy asked for, dotted; empty if any will do.
        nonce: To be repeated in the token.
        with_certificate: Whether the token shall carry the signer's certificate.
        null_parameters: Whether the digest algorithm was written with the parameters NULL, and so
            must be in the token (RFC 3161 §2.4.2: the same imprint).
        extensions: The dotted identifiers of the extensions asked for.
    """

    algorithm: HashName | Literal[""]
    imprint: bytes
    policy: str = ""
    nonce: int | None = None
    with_certificate: bool = False
    null_parameters: bool = False
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a request.

        Raises:
            MalformedError: ``MALFORMED_TIMESTAMP``.
            LimitExceededError: ``TIMESTAMP_TOO_LARGE``.
        """
        check_size(data, MAX_REQUEST_BYTES, "timestamp request")
        try:
            read = der.read(TimeStampReq, data, what="timestamp request")
        except MalformedError as error:
            raise malformed(error.what, actual=error.actual) from error
        if read.version != 1:
            raise malformed("this request is of another version", actual=str(read.version))
        if read.nonce is not None:
            check_integer(read.nonce, "nonce")
        imprint = read.message_imprint
        algorithm = HASHES.get(imprint.hash_algorithm.algorithm)
        if algorithm is not None and len(imprint.hashed_message) != HASH_BYTES[algorithm]:
            raise malformed("the imprint is not as long as its algorithm makes it")
        return cls(
            algorithm=algorithm or "",
            imprint=imprint.hashed_message,
            policy=read.policy.dotted_string if read.policy else "",
            nonce=read.nonce,
            with_certificate=read.cert_req,
            null_parameters=imprint.hash_algorithm.parameters is not None,
            extensions=tuple(item.id.dotted_string for item in read.extensions or ()),
        )

    def to_bytes(self) -> bytes:
        """Write a request that asks for no extensions."""
        return der.write(
            TimeStampReq(
                version=1,
                message_imprint=self.message_imprint(),
                policy=x509.ObjectIdentifier(self.policy) if self.policy else None,
                nonce=self.nonce,
                cert_req=self.with_certificate,
            )
        )

    def message_imprint(self) -> MessageImprint:
        """The imprint as it stands in the request, and in the token."""
        oid = next(oid for oid, name in HASHES.items() if name == self.algorithm)
        return MessageImprint(
            hash_algorithm=AlgorithmIdentifier(
                algorithm=oid, parameters=asn1.Null() if self.null_parameters else None
            ),
            hashed_message=self.imprint,
        )


def granted_token(response: bytes) -> bytes:
    """The token in a response that grants one.

    Raises:
        MalformedError: ``MALFORMED_TIMESTAMP``.
        LimitExceededError: ``TIMESTAMP_TOO_LARGE``.
        VerificationError: ``TIMESTAMP_REJECTED``: the authority granted none, or not as asked.
    """
    check_size(response, MAX_RESPONSE_BYTES, "timestamp response")
    try:
        read = der.read(TimeStampResp, response, what="timestamp response")
    except MalformedError as error:
        raise malformed(error.what, actual=error.actual) from error
    status, token = read.status, read.token
    if status.status != Status.GRANTED:
        raise VerificationError(
            Reason.TIMESTAMP_REJECTED,
            "the authority granted no timestamp",
            actual=_status_text(status),
        )
    if token is None or status.fail_info is not None:
        raise malformed("this response grants a token and has none, or names a failure")
    return der.write(token)


def bare_token(token: bytes) -> bytes:
    """A token without the certificates that came with it: nobody signed them.

    Raises:
        MalformedError: ``MALFORMED_TIMESTAMP``.
    """
    try:
        read = der.read(ContentInfo, token, what="timestamp token")
    except MalformedError as error:
        raise malformed(error.what, actual=error.actual) from error
    read.content.certificates = None
    return der.write(read)


def _status_text(status: PKIStatusInfo) -> str:
    names = {int(member): member.name for member in Status}
    text = names.get(status.status, str(status.status)[:20])
    if status.fail_info is not None:
        bits = int.from_bytes(status.fail_info.as_bytes()[:4].ljust(4, b"\0"), "big")
        text += "".join(f" {bit.name}" for bit in Failure if bits >> (31 - bit) & 1)
    return text + "".join(f": {line[:200]}" for line in (status.status_string or [])[:1])


def check_size(data: bytes, limit: int, what: str) -> None:
    """Refuse more than ``limit`` bytes before anything looks at them.

    Raises:
        LimitExceededError: ``TIMESTAMP_TOO_LARGE``.
    """
    if len(data) > limit:
        raise LimitExceededError(
            Reason.TIMESTAMP_TOO_LARGE,
            f"this {what} is too large",
            expected=f"at most {limit} bytes",
            actual=f"{len(data)} bytes",
        )


def check_integer(value: int, what: str) -> None:
    """Refuse an integer that not every user of timestamps would take.

    Raises:
        MalformedError: ``MALFORMED_TIMESTAMP``.
    """
    if value < 0 or value.bit_length() > MAX_INTEGER_BITS:
        raise malformed(f"the {what} is out of range", expected=f"0 to 2^{MAX_INTEGER_BITS} - 1")


def malformed(what: str, *, expected: str = "", actual: str = "") -> MalformedError:
    """The error for a message that is not as RFC 3161 wants it."""
    return MalformedError(Reason.MALFORMED_TIMESTAMP, what, expected=expected, actual=actual)
