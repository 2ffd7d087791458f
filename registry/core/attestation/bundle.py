"""Sigstore bundles: a signature with everything that is needed to verify it offline.

``dev.sigstore.bundle.v1.Bundle`` (https://github.com/sigstore/protobuf-specs), JSON form, versions
0.1 to 0.3. Read strictly, in any spelling with one meaning: no duplicate or unknown members, one
signer, one log entry, one signature. Written as version 0.3, in RFC 8785 JSON.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, UnsetType

from registry.core import encoding
from registry.core.attestation.dsse import PAYLOAD_TYPE, Envelope
from registry.core.certificates.chain import MAX_CHAIN_CERTIFICATES, load
from registry.core.digest import SHA256_SIZE, sha256
from registry.core.encoding import Text, Value
from registry.core.keys import parse_signature
from registry.core.tlog import entry
from registry.core.tlog.rekor import TransparencyLogEntry, WireEntry
from registry.errors import MalformedError, Reason

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""What is written."""

MAX_BUNDLE_BYTES = 16 * 1024 * 1024
"""Bytes of a bundle: an envelope, perhaps once more in an old log entry, in base64."""

MAX_TIMESTAMPS = 32
"""RFC 3161 tokens in a bundle, as stock clients have it."""

MAX_TIMESTAMP_BYTES = 64 * 1024
"""Bytes of one RFC 3161 response."""

_VERSIONS: Final = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": (0, 1),
    "application/vnd.dev.sigstore.bundle+json;version=0.2": (0, 2),
    "application/vnd.dev.sigstore.bundle+json;version=0.3": (0, 3),
    MEDIA_TYPE: (0, 3),
}
_SHA256: Final = "SHA2_256"


class _Raw(Value, frozen=True, rename="camel"):
    raw_bytes: str


class _Chain(Value, frozen=True):
    certificates: Annotated[tuple[_Raw, ...], msgspec.Meta(max_length=MAX_CHAIN_CERTIFICATES)] = ()


class _KeyHint(Value, frozen=True):
    hint: Text = ""


class _Timestamp(Value, frozen=True, rename="camel"):
    signed_timestamp: str


class _Timestamps(Value, frozen=True):
    timestamps: Annotated[tuple[_Timestamp, ...], msgspec.Meta(max_length=MAX_TIMESTAMPS)] = (
        msgspec.field(name="rfc3161Timestamps", default=())
    )


class _Material(Value, frozen=True, rename="camel"):
    tlog_entries: tuple[WireEntry, ...]
    certificate: _Raw | UnsetType = UNSET
    public_key: _KeyHint | UnsetType = UNSET
    timestamp_verification_data: _Timestamps | UnsetType = UNSET
    chain: _Chain | UnsetType = msgspec.field(name="x509CertificateChain", default=UNSET)


class _Digest(Value, frozen=True):
    algorithm: Text
    digest: str


class _Message(Value, frozen=True, rename="camel"):
    signature: str
    message_digest: _Digest | UnsetType = UNSET


class _Signature(Value, frozen=True):
    sig: str
    keyid: Text | UnsetType = UNSET


class _Envelope(Value, frozen=True, rename="camel"):
    payload: str
    payload_type: Text
    signatures: tuple[_Signature, ...]


class _Bundle(Value, frozen=True, rename="camel"):
    media_type: Text
    verification_material: _Material
    dsse_envelope: _Envelope | UnsetType = UNSET
    message_signature: _Message | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Message:
    """A signature over bytes that are elsewhere.

    Attributes:
        signature: DER ECDSA over those bytes.
        digest: Their SHA-256 as the bundle says, or nothing.
    """

    signature: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A signature, who made it, and where and when it was logged.

    Attributes:
        version: Of the format.
        certificate: The signer's certificate, DER; empty if the signer is a bare key.
        key_hint: Which key, if the signer is one; a hint for people.
        entry: The one log entry.
        timestamps: RFC 3161 responses over the signature, DER.
        content: A signature over bytes, or an envelope with a statement.
    """

    version: tuple[int, int]
    certificate: bytes
    key_hint: str
    entry: TransparencyLogEntry
    timestamps: tuple[bytes, ...]
    content: Message | Envelope

    @property
    def signature(self) -> bytes:
        """The signature, DER ECDSA: what timestamps are over."""
        return self.content.signature

    @classmethod
    def parse(cls, data: bytes) -> "Bundle":
        """Read a bundle, without judging anything in it.

        Raises:
            MalformedError: ``SIGSTORE_BUNDLE``, or what is wrong with a part of it.
        """
        if len(data) > MAX_BUNDLE_BYTES:
            raise malformed("it is too long", f"{len(data)} bytes")
        try:
            wire = encoding.read_proto_json(data, _Bundle, what="Sigstore bundle")
        except MalformedError as error:
            raise malformed("it is not of the expected form", str(error)) from error
        version = _VERSIONS.get(wire.media_type)
        if version is None:
            raise malformed("its version is unknown", wire.media_type[:100])
        material = wire.verification_material
        if len(material.tlog_entries) != 1:
            raise malformed("it needs exactly one log entry", f"{len(material.tlog_entries)}")
        certificate, hint = _signer(material, version)
        logged = TransparencyLogEntry.of(material.tlog_entries[0])
        if version == (0, 1) and not logged.promise:
            raise malformed("version 0.1 needs an inclusion promise")
        return cls(version, certificate, hint, logged, _timestamps(material), _content(wire))

    @classmethod
    def proved(
        cls,
        logged: TransparencyLogEntry,
        envelope: Envelope | None = None,
        timestamps: tuple[bytes, ...] = (),
    ) -> "Bundle":
        """A bundle around one of our own entries.

        Args:
            logged: The entry and its proof.
            envelope: The statement, if the entry is about one; else it is about bytes.
            timestamps: RFC 3161 responses over the signature.

        Raises:
            MalformedError: ``MALFORMED_ENTRY``, or ``SIGSTORE_BUNDLE`` if the envelope is not the
                one that was logged, or there are too many timestamps.
        """
        recorded = entry.parse(logged.body)
        content: Message | Envelope = Message(recorded.signature, recorded.digest)
        if envelope is not None:
            if (envelope.record_id, envelope.signature) != (recorded.digest, recorded.signature):
                raise malformed("its log entry is about another envelope")
            content = envelope
        if len(timestamps) > MAX_TIMESTAMPS or len(set(timestamps)) != len(timestamps):
            raise malformed("it may hold 32 different timestamps", f"{len(timestamps)}")
        hint = "" if recorded.certificate_der else sha256(recorded.key_der).hex()
        return cls((0, 3), recorded.certificate_der, hint, logged, timestamps, content)

    def to_bytes(self) -> bytes:
        """The bundle as version 0.3, for stock clients."""
        content = self.content
        digest: _Digest | UnsetType = UNSET
        if isinstance(content, Message) and content.digest:
            digest = _Digest(algorithm=_SHA256, digest=encoding.base64_text(content.digest))
        return encoding.write_json(
            _Bundle(
                media_type=MEDIA_TYPE,
                verification_material=_Material(
                    tlog_entries=(self.entry.wire(),),
                    certificate=_Raw(raw_bytes=encoding.base64_text(self.certificate))
                    if self.certificate
                    else UNSET,
                    public_key=UNSET if self.certificate else _KeyHint(hint=self.key_hint),
                    timestamp_verification_data=_Timestamps(
                        timestamps=tuple(
                            _Timestamp(signed_timestamp=encoding.base64_text(item))
                            for item in self.timestamps
                        )
                    )
                    if self.timestamps
                    else UNSET,
                ),
                message_signature=_Message(
                    signature=encoding.base64_text(content.signature), message_digest=digest
                )
                if isinstance(content, Message)
                else UNSET,
                dsse_envelope=UNSET
                if isinstance(content, Message)
                else _Envelope(
                    payload=encoding.base64_text(content.payload),
                    payload_type=PAYLOAD_TYPE,
                    signatures=(
                        _Signature(
                            sig=encoding.base64_text(content.signature), keyid=content.keyid
                        ),
                    ),
                ),
            )
        )


def _signer(material: _Material, version: tuple[int, int]) -> tuple[bytes, str]:
    given = [
        item
        for item in (material.certificate, material.chain, material.public_key)
        if not isinstance(item, UnsetType)
    ]
    if len(given) != 1:
        raise malformed("it needs exactly one signer", f"{len(given)}")
    if isinstance(material.public_key, _KeyHint):
        return b"", material.public_key.hint
    if isinstance(material.certificate, _Raw) == (version < (0, 3)):
        raise malformed("its version names the signer's certificate in another way")
    if isinstance(material.certificate, _Raw):
        return encoding.base64_bytes(material.certificate.raw_bytes), ""
    chain = material.chain.certificates if isinstance(material.chain, _Chain) else ()
    if not chain:
        raise malformed("its certificate chain is empty")
    leaf, *above = (encoding.base64_bytes(item.raw_bytes) for item in chain)
    for der in above:
        # A root in a bundle would ask to be trusted because the signer says so. Intermediates
        # are not needed either, since a trusted root names them all; they do no harm.
        certificate = load(der)
        if certificate.subject == certificate.issuer:
            raise malformed("its certificate chain holds a root")
    return leaf, ""


def _timestamps(material: _Material) -> tuple[bytes, ...]:
    data = material.timestamp_verification_data
    if isinstance(data, UnsetType):
        return ()
    tokens = tuple(encoding.base64_bytes(item.signed_timestamp) for item in data.timestamps)
    if len(set(tokens)) != len(tokens):
        raise malformed("it holds one timestamp twice")
    if any(not 0 < len(token) <= MAX_TIMESTAMP_BYTES for token in tokens):
        raise malformed("a timestamp in it is empty or too long")
    return tokens


def _content(wire: _Bundle) -> Message | Envelope:
    message, envelope = wire.message_signature, wire.dsse_envelope
    if isinstance(message, UnsetType) == isinstance(envelope, UnsetType):
        raise malformed("it needs a signature over bytes or an envelope, not both")
    if isinstance(message, _Message):
        digest = b""
        if isinstance(message.message_digest, _Digest):
            digest = encoding.base64_bytes(message.message_digest.digest)
            if message.message_digest.algorithm != _SHA256 or len(digest) != SHA256_SIZE:
                raise malformed("its digest is not a SHA-256")
        signature = encoding.base64_bytes(message.signature)
        parse_signature(signature)
        return Message(signature, digest)
    if isinstance(envelope, UnsetType):
        raise malformed("it holds nothing that is signed")
    return _envelope(envelope)


def _envelope(envelope: _Envelope) -> Envelope:
    if envelope.payload_type != PAYLOAD_TYPE:
        raise MalformedError(
            Reason.PAYLOAD_TYPE,
            "the envelope holds something else than an in-toto statement",
            expected=PAYLOAD_TYPE,
            actual=envelope.payload_type[:80],
        )
    if len(envelope.signatures) != 1:
        raise MalformedError(
            Reason.SIGNATURE_COUNT,
            "an envelope carries exactly one signature",
            expected="1",
            actual=str(len(envelope.signatures)),
        )
    only = envelope.signatures[0]
    payload, signature = encoding.base64_bytes(envelope.payload), encoding.base64_bytes(only.sig)
    parse_signature(signature)
    return Envelope(payload, signature, "" if isinstance(only.keyid, UnsetType) else only.keyid)


def malformed(what: str, actual: str = "") -> MalformedError:
    """The error that says what is wrong with a bundle."""
    return MalformedError(
        Reason.SIGSTORE_BUNDLE, f"this is not a Sigstore bundle: {what}", actual=actual
    )
