"""Sigstore trusted roots: whose logs, authorities and timestamps are believed, and when.

``dev.sigstore.trustroot.v1.TrustedRoot`` (https://github.com/sigstore/protobuf-specs), JSON form.
Every window must say when it starts; windows are closed at both ends. Keys of kinds that nobody
here verifies with (RSA) are kept and never match.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import UNSET, UnsetType

from registry.core import encoding
from registry.core.certificates.chain import Authority, Window, load
from registry.core.certificates.sct import CTKey
from registry.core.encoding import Text, Value
from registry.core.keys import ALGORITHM, PublicKey
from registry.core.tlog.rekor import WireLogId
from registry.errors import MalformedError, Reason, VerificationError

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
"""The only version in use."""

MAX_TRUSTED_ROOT_BYTES = 4 * 1024 * 1024
"""Bytes of a trusted root; the public one has 7,000."""

ED25519_DETAILS: Final = "PKIX_ED25519"
"""How Sigstore names an Ed25519 key (``PublicKeyDetails``)."""

_Items = msgspec.Meta(max_length=256)
_Time = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
        r"(Z|[+-][0-9]{2}:[0-9]{2})\Z"
    ),
]


class ValidFor(Value, frozen=True):
    """A window as RFC 3339 times; the start may not be missing, though protobuf would let it."""

    start: _Time
    end: _Time | UnsetType = UNSET

    @property
    def window(self) -> Window:
        """The window.

        Raises:
            MalformedError: ``MALFORMED_TRUSTED_ROOT``.
        """
        try:
            end = None if isinstance(self.end, UnsetType) else datetime.fromisoformat(self.end)
            return Window(datetime.fromisoformat(self.start), end)
        except ValueError as error:
            raise _malformed("a time does not exist", str(error)) from error


class RootKey(Value, frozen=True, rename="camel"):
    """A public key, DER in base64."""

    raw_bytes: str
    key_details: Text
    valid_for: ValidFor


class LogInstance(Value, frozen=True, rename="camel"):
    """A transparency log, of entries or of certificates."""

    base_url: Text
    hash_algorithm: Literal["SHA2_256"]
    public_key: RootKey
    log_id: WireLogId
    checkpoint_key_id: WireLogId | UnsetType = UNSET
    operator: Text | UnsetType = UNSET


class Subject(Value, frozen=True, rename="camel"):
    """How an authority is called."""

    organization: Text | UnsetType = UNSET
    common_name: Text | UnsetType = UNSET


class RawCertificate(Value, frozen=True, rename="camel"):
    """A certificate, DER in base64."""

    raw_bytes: str


class CertificateChain(Value, frozen=True):
    """Certificates, the root last."""

    certificates: Annotated[tuple[RawCertificate, ...], msgspec.Meta(min_length=1, max_length=16)]


class CertificateAuthority(Value, frozen=True, rename="camel"):
    """An authority, of certificates or of time."""

    cert_chain: CertificateChain
    valid_for: ValidFor
    subject: Subject | UnsetType = UNSET
    uri: Text | UnsetType = UNSET
    operator: Text | UnsetType = UNSET

    @property
    def authority(self) -> Authority:
        """The certificates, read once so that they can be read later.

        Raises:
            MalformedError: ``MALFORMED_TRUSTED_ROOT``, ``MALFORMED_CERTIFICATE`` or
                ``MALFORMED_BASE64``.
        """
        chain = tuple(
            encoding.base64_bytes(item.raw_bytes) for item in self.cert_chain.certificates
        )
        for der in chain:
            load(der)
        return Authority(chain, self.valid_for.window)


class TrustedRoot(Value, frozen=True, rename="camel"):
    """What a verifier believes."""

    media_type: Literal["application/vnd.dev.sigstore.trustedroot+json;version=0.1"]
    tlogs: Annotated[tuple[LogInstance, ...], _Items] = ()
    certificate_authorities: Annotated[tuple[CertificateAuthority, ...], _Items] = ()
    ctlogs: Annotated[tuple[LogInstance, ...], _Items] = ()
    timestamp_authorities: Annotated[tuple[CertificateAuthority, ...], _Items] = ()

    def to_bytes(self) -> bytes:
        """The trusted root as RFC 8785 JSON."""
        return encoding.write_json(self)


@dataclass(frozen=True, slots=True)
class LogKey:
    """A log whose entries are believed.

    Attributes:
        log_id: 32 bytes by which entries name it; notes carry the first four.
        host: The host of its URL, without port: its origin.
        netloc: The same with port, which Rekor v1 put into its origin.
        der: Its key: P-256 or Ed25519, as SubjectPublicKeyInfo.
        window: When it may have signed.
    """

    log_id: bytes
    host: str
    netloc: str
    der: bytes
    window: Window

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check the log's signature over ``message``.

        Raises:
            VerificationError: ``LOG_SIGNATURE``.
        """
        try:
            key = serialization.load_der_public_key(self.der)
            if isinstance(key, Ed25519PublicKey):
                key.verify(signature, message)
            else:
                PublicKey.parse(self.der).verify(signature, message)
        except (
            InvalidSignature,
            MalformedError,
            UnsupportedAlgorithm,
            ValueError,
            VerificationError,
        ) as error:
            raise VerificationError(
                Reason.LOG_SIGNATURE,
                "the log's signature does not verify",
                where=self.netloc,
                actual=str(error),
            ) from error


@dataclass(frozen=True, slots=True)
class Trust:
    """A trusted root, read: everything in it is well formed.

    Attributes:
        root: What it was read from.
        logs: Logs of entries.
        ct_keys: Logs of certificates.
        authorities: Who issues signing certificates.
        timestamp_authorities: Who says what time it is.
    """

    root: TrustedRoot
    logs: tuple[LogKey, ...]
    ct_keys: tuple[CTKey, ...]
    authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]

    @classmethod
    def of(cls, root: TrustedRoot) -> "Trust":
        """Read every key, certificate and time of a trusted root.

        Raises:
            MalformedError: ``MALFORMED_TRUSTED_ROOT``.
        """
        try:
            return cls(
                root,
                tuple(_log_key(log) for log in root.tlogs),
                tuple(_ct_keys(root.ctlogs)),
                tuple(item.authority for item in root.certificate_authorities),
                tuple(item.authority for item in root.timestamp_authorities),
            )
        except MalformedError as error:
            if error.reason is Reason.MALFORMED_TRUSTED_ROOT:
                raise
            raise _malformed("something in it cannot be read", str(error)) from error

    @classmethod
    def parse(cls, data: bytes) -> "Trust":
        """Read a trusted root, strictly: no unknown members, no missing start of a window.

        Raises:
            MalformedError: ``MALFORMED_TRUSTED_ROOT``.
        """
        if len(data) > MAX_TRUSTED_ROOT_BYTES:
            raise _malformed("it is too long", f"{len(data)} bytes")
        try:
            root = encoding.read_proto_json(data, TrustedRoot, what="trusted root")
        except MalformedError as error:
            raise _malformed("it is not of the expected form", str(error)) from error
        return cls.of(root)


def host_of(url: str) -> tuple[str, str]:
    """The host of an ``http`` or ``https`` URL, without and with its port.

    Raises:
        MalformedError: ``MALFORMED_TRUSTED_ROOT``.
    """
    scheme, found, rest = url.partition("://")
    netloc = rest.partition("/")[0]
    host, _, port = netloc.partition(":")
    legal = host.isascii() and not set(host) & set(" @?#+%\\[]") and host == host.lower()
    if scheme not in ("http", "https") or not found or not host or not legal:
        raise _malformed("a URL has no host", url[:200])
    if netloc != host and not (port.isascii() and port.isdigit()):
        raise _malformed("a URL has no port after its colon", url[:200])
    return host, netloc


def _log_key(log: LogInstance) -> LogKey:
    host, netloc = host_of(log.base_url)
    key = log.public_key
    return LogKey(
        encoding.base64_bytes(log.log_id.key_id),
        host,
        netloc,
        encoding.base64_bytes(key.raw_bytes),
        key.valid_for.window,
    )


def _ct_keys(logs: Sequence[LogInstance]) -> list[CTKey]:
    keys = []
    for log in logs:
        window, der = (
            log.public_key.valid_for.window,
            encoding.base64_bytes(log.public_key.raw_bytes),
        )
        # The first logs had RSA keys; nothing that they promised is accepted.
        if log.public_key.key_details == ALGORITHM:
            keys.append(CTKey(PublicKey.parse(der), window))
    return keys


def _malformed(what: str, actual: str = "") -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_TRUSTED_ROOT,
        f"this is not a trusted root: {what}",
        actual=actual,
        hint="each log, authority and key needs validFor.start",
    )
