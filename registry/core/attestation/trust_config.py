"""What stock Sigstore clients need to believe a log of ours, and to write to it.

Three documents (https://github.com/sigstore/protobuf-specs, ``trustroot.v1``): the trusted root,
the signing config, and the client trust config that holds both. A log that is no longer in use
stays in the trusted root, with the end of its window: what it recorded stays provable.

Clients take the host of a log's URL for its origin, so the two must be equal, and a new key needs a
new host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeVar

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID
from msgspec import UNSET, UnsetType

from registry.core import encoding
from registry.core.attestation.trusted_root import (
    ED25519_DETAILS,
    MEDIA_TYPE,
    CertificateAuthority,
    CertificateChain,
    LogInstance,
    RawCertificate,
    RootKey,
    Subject,
    Trust,
    TrustedRoot,
    ValidFor,
    host_of,
)
from registry.core.certificates.chain import load
from registry.core.encoding import Text, Value
from registry.core.keys import ALGORITHM, PublicKey
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.rekor import WireLogId, log_id
from registry.errors import ConflictError, MalformedError, Reason

SIGNING_CONFIG: Final = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
"""The media type of a signing config."""

CLIENT_TRUST_CONFIG: Final = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
"""The media type of a client trust config."""

TIMESTAMP_PATH: Final = "/api/v1/timestamp"
"""Where a timestamp authority answers, below the URL of its host."""

_OPERATOR: Final = "provreg"
_REKOR_API, _OTHER_API = 2, 1

T = TypeVar("T", LogInstance, CertificateAuthority)


class Service(Value, frozen=True, rename="camel"):
    """Where a client may ask for something."""

    url: Text
    major_api_version: int
    operator: Text
    valid_for: ValidFor


class Selection(Value, frozen=True):
    """How many of several services a client asks."""

    selector: Literal["ANY"]


class SigningConfig(Value, frozen=True, rename="camel"):
    """Whom a client asks when it signs."""

    media_type: Literal["application/vnd.dev.sigstore.signingconfig.v0.2+json"]
    rekor_tlog_config: Selection
    tsa_config: Selection
    ca_urls: tuple[Service, ...] = ()
    oidc_urls: tuple[Service, ...] = ()
    rekor_tlog_urls: tuple[Service, ...] = ()
    tsa_urls: tuple[Service, ...] = ()

    def to_bytes(self) -> bytes:
        """The signing config as RFC 8785 JSON."""
        return encoding.write_json(self)


class ClientTrustConfig(Value, frozen=True, rename="camel"):
    """Everything that a client needs."""

    media_type: Literal["application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"]
    trusted_root: TrustedRoot
    signing_config: SigningConfig

    def to_bytes(self) -> bytes:
        """The client trust config as RFC 8785 JSON."""
        return encoding.write_json(self)


@dataclass(frozen=True, slots=True)
class Instance:
    """A private Sigstore: a log, and whoever issues certificates and timestamps beside it.

    Attributes:
        url: Where it answers: scheme and host, perhaps with a port. The host is the origin.
        log_key: The log's name and key.
        start: Since when the log signs.
        end: Until when it has signed, if it is frozen.
        certificate_authorities: Chains, DER, root last.
        timestamp_authorities: Chains, DER, leaf first, root last.
        ct_keys: Keys of certificate transparency logs.
        oidc_issuers: URLs of whoever vouches for people.
    """

    url: str
    log_key: VerifierKey
    start: datetime
    end: datetime | None = None
    certificate_authorities: tuple[tuple[bytes, ...], ...] = ()
    timestamp_authorities: tuple[tuple[bytes, ...], ...] = ()
    ct_keys: tuple[PublicKey, ...] = ()
    oidc_issuers: tuple[str, ...] = ()

    @property
    def base_url(self) -> str:
        """The URL without a slash at its end.

        Raises:
            MalformedError: ``MALFORMED_TRUSTED_ROOT`` if it has no host.
            ConflictError: ``ORIGIN_HOST`` if it has a path, or the log's origin is not its host.
        """
        url = self.url.removesuffix("/")
        host, netloc = host_of(url)
        if host != self.log_key.name or url.partition("://")[2] != netloc:
            raise ConflictError(
                Reason.ORIGIN_HOST,
                "clients take the host of a log's URL for its origin",
                where=self.url,
                expected=f"https://{self.log_key.name}",
                actual=url,
                hint="a log's origin is chosen when it is made: provreg serve --origin HOST",
            )
        return url

    def trusted_root(self) -> TrustedRoot:
        """Whom a client must believe.

        Raises:
            ConflictError: As :attr:`base_url`.
            MalformedError: ``MALFORMED_TRUSTED_ROOT``, or what is wrong with a certificate.
        """
        url, window = self.base_url, _valid_for(self.start, self.end)
        log = LogInstance(
            base_url=url,
            hash_algorithm="SHA2_256",
            public_key=RootKey(
                raw_bytes=encoding.base64_text(_spki(self.log_key)),
                key_details=ED25519_DETAILS,
                valid_for=window,
            ),
            log_id=WireLogId(key_id=encoding.base64_text(log_id(self.log_key))),
        )
        root = TrustedRoot(
            media_type=MEDIA_TYPE,
            tlogs=(log,),
            certificate_authorities=tuple(
                _authority(chain, url) for chain in self.certificate_authorities
            ),
            ctlogs=tuple(_ct_log(key, url, self.start) for key in self.ct_keys),
            timestamp_authorities=tuple(
                _authority(chain, url + TIMESTAMP_PATH) for chain in self.timestamp_authorities
            ),
        )
        Trust.of(root)
        return root

    def signing_config(self) -> SigningConfig:
        """Whom a client asks. Stock clients insist on an authority, even to verify."""
        url, window = self.base_url, _valid_for(self.start, self.end)
        return SigningConfig(
            media_type=SIGNING_CONFIG,
            ca_urls=(_service(url, _OTHER_API, window),),
            oidc_urls=tuple(_service(item, _OTHER_API, window) for item in self.oidc_issuers),
            rekor_tlog_urls=(_service(url, _REKOR_API, window),),
            tsa_urls=(_service(url + TIMESTAMP_PATH, _OTHER_API, window),)
            if self.timestamp_authorities
            else (),
            rekor_tlog_config=Selection(selector="ANY"),
            tsa_config=Selection(selector="ANY"),
        )


def client_trust_config(root: TrustedRoot, signing: SigningConfig) -> ClientTrustConfig:
    """Both documents in one, as ``sigstore --trust-config`` wants it."""
    return ClientTrustConfig(
        media_type=CLIENT_TRUST_CONFIG, trusted_root=root, signing_config=signing
    )


def succeed(current: TrustedRoot, previous: Sequence[TrustedRoot], at: datetime) -> TrustedRoot:
    """``current``, with what was believed before: retired at ``at``, if not already earlier.

    Raises:
        ConflictError: ``ORIGIN_HOST`` if two logs with different keys have the same host.
    """
    return _merge(current, previous, at)


def join(current: TrustedRoot, others: Sequence[TrustedRoot]) -> TrustedRoot:
    """``current``, with what other instances believe, as they believe it.

    Raises:
        ConflictError: As :func:`succeed`.
    """
    return _merge(current, others, None)


def _merge(
    current: TrustedRoot, others: Sequence[TrustedRoot], retired_at: datetime | None
) -> TrustedRoot:
    for other in others:
        current = TrustedRoot(
            media_type=MEDIA_TYPE,
            tlogs=_merged(current.tlogs, other.tlogs, retired_at),
            certificate_authorities=_merged(
                current.certificate_authorities, other.certificate_authorities, retired_at
            ),
            ctlogs=_merged(current.ctlogs, other.ctlogs, retired_at),
            timestamp_authorities=_merged(
                current.timestamp_authorities, other.timestamp_authorities, retired_at
            ),
        )
    return _checked(current)


def _merged(current: tuple[T, ...], old: tuple[T, ...], at: datetime | None) -> tuple[T, ...]:
    known = {_name(item): item for item in current}
    for item in old:
        name = _name(item)
        if name not in known:
            known[name] = item if at is None else _until(item, at)
            continue
        # What was believed since an earlier day, or only until some day, still is.
        was, now = _window(item), _window(known[name])
        start = min(was.start, now.start, key=datetime.fromisoformat)
        end = was.end if isinstance(now.end, UnsetType) else now.end
        known[name] = _with_window(known[name], ValidFor(start=start, end=end))
    return tuple(known.values())


def _name(item: LogInstance | CertificateAuthority) -> str:
    if isinstance(item, LogInstance):
        return item.public_key.raw_bytes
    return " ".join(each.raw_bytes for each in item.cert_chain.certificates)


def _window(item: LogInstance | CertificateAuthority) -> ValidFor:
    return item.public_key.valid_for if isinstance(item, LogInstance) else item.valid_for


def _with_window(item: T, window: ValidFor) -> T:
    if isinstance(item, LogInstance):
        key = msgspec.structs.replace(item.public_key, valid_for=window)
        return msgspec.structs.replace(item, public_key=key)
    return msgspec.structs.replace(item, valid_for=window)


def _until(item: T, at: datetime) -> T:
    window = _window(item)
    if window.window.end is not None and window.window.end <= at:
        return item
    return _with_window(item, ValidFor(start=window.start, end=encoding.time_text(at)))


def _checked(root: TrustedRoot) -> TrustedRoot:
    hosts: dict[str, str] = {}
    for log in root.tlogs:
        host, _ = host_of(log.base_url)
        if hosts.setdefault(host, log.public_key.raw_bytes) != log.public_key.raw_bytes:
            raise ConflictError(
                Reason.ORIGIN_HOST,
                "two logs with different keys cannot have the same host",
                where=host,
                hint="a new key needs a new origin, and so a new host",
            )
    return root


def _valid_for(start: datetime, end: datetime | None = None) -> ValidFor:
    return ValidFor(
        start=encoding.time_text(start), end=UNSET if end is None else encoding.time_text(end)
    )


def _spki(key: VerifierKey) -> bytes:
    return Ed25519PublicKey.from_public_bytes(key.public_key).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _service(url: str, version: int, window: ValidFor) -> Service:
    return Service(url=url, major_api_version=version, operator=_OPERATOR, valid_for=window)


def _authority(chain: tuple[bytes, ...], url: str) -> CertificateAuthority:
    if not chain:
        raise MalformedError(Reason.MALFORMED_TRUSTED_ROOT, "an authority has no certificate")
    signing = load(chain[0])
    subject = load(chain[-1]).subject
    parts = {
        "organization": subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME),
        "common_name": subject.get_attributes_for_oid(NameOID.COMMON_NAME),
    }
    text = {name: str(found[0].value) if found else "" for name, found in parts.items()}
    return CertificateAuthority(
        subject=Subject(organization=text["organization"], common_name=text["common_name"]),
        uri=url,
        cert_chain=CertificateChain(
            certificates=tuple(RawCertificate(raw_bytes=encoding.base64_text(der)) for der in chain)
        ),
        valid_for=_valid_for(signing.not_valid_before_utc),
    )


def _ct_log(key: PublicKey, url: str, start: datetime) -> LogInstance:
    return LogInstance(
        base_url=url,
        hash_algorithm="SHA2_256",
        public_key=RootKey(
            raw_bytes=encoding.base64_text(key.der),
            key_details=ALGORITHM,
            valid_for=_valid_for(start),
        ),
        log_id=WireLogId(key_id=encoding.base64_text(bytes.fromhex(key.key_id))),
    )
