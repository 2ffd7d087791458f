"""What the body of a log entry must say, given what was signed, with which signature, by whom.

Of Rekor's many kinds of entries these record what bundles hold: ``hashedrekord`` 0.0.2 (ours, and
Rekor v2's only kind) is derived again byte for byte. The kinds of Rekor v1 hold the signer in PEM,
as whoever uploaded it broke its lines, and ``dsse`` 0.0.1 and ``intoto`` 0.0.2 digests of a JSON
text that no bundle carries; of these the members are compared.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeVar

from msgspec import UNSET, UnsetType

from registry.core import encoding
from registry.core.attestation.dsse import PAYLOAD_TYPE
from registry.core.digest import sha256
from registry.core.encoding import Hex32, Value
from registry.core.tlog import entry
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.errors import MalformedError, Reason, VerificationError

T = TypeVar("T")

_CERTIFICATE, _KEY = b"CERTIFICATE", b"PUBLIC KEY"
_PEM = re.compile(
    rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\n([A-Za-z0-9+/=\n]+)\n-----END \1-----\n?"
)


@dataclass(frozen=True, slots=True)
class Signed:
    """What an entry is about.

    Attributes:
        digest: SHA-256 of the bytes that were signed (for a statement: of its PAE).
        signature: DER ECDSA.
        certificate: The signer's certificate, DER; empty if the signer is a bare key.
        key: The signer's key, DER.
        payload: The statement, if that is what was signed.
    """

    digest: bytes
    signature: bytes
    certificate: bytes
    key: bytes
    payload: bytes | None

    def is_signer(self, text: str) -> bool:
        """Whether base64 of PEM is that of the signer's certificate or key."""
        pem = _PEM.fullmatch(encoding.base64_bytes(text))
        if pem is None:
            return False
        body = pem[2].replace(b"\n", b"").decode("ascii")
        expected = (_CERTIFICATE, self.certificate) if self.certificate else (_KEY, self.key)
        return (pem[1], encoding.base64_bytes(body)) == expected


class _Hash(Value, frozen=True):
    algorithm: Literal["sha256"]
    value: Hex32


class _Content(Value, frozen=True):
    content: str


class _RecordSignature(Value, frozen=True, rename="camel"):
    content: str
    public_key: _Content


class _Data(Value, frozen=True):
    hash: _Hash


class _RecordSpec(Value, frozen=True):
    data: _Data
    signature: _RecordSignature


class _Record(Value, frozen=True, rename="camel"):
    api_version: Literal["0.0.1"]
    kind: Literal["hashedrekord"]
    spec: _RecordSpec


class _DSSESignature(Value, frozen=True):
    signature: str
    verifier: str


class _DSSESpec(Value, frozen=True, rename="camel"):
    envelope_hash: _Hash
    payload_hash: _Hash
    signatures: tuple[_DSSESignature, ...]


class _DSSE(Value, frozen=True, rename="camel"):
    api_version: Literal["0.0.1"]
    kind: Literal["dsse"]
    spec: _DSSESpec


class _InTotoSignature(Value, frozen=True, rename="camel"):
    public_key: str
    sig: str
    keyid: str | UnsetType = UNSET


class _InTotoEnvelope(Value, frozen=True, rename="camel"):
    payload_type: str
    signatures: tuple[_InTotoSignature, ...]
    payload: str | UnsetType = UNSET


class _InTotoContent(Value, frozen=True, rename="camel"):
    envelope: _InTotoEnvelope
    payload_hash: _Hash
    hash: _Hash | UnsetType = UNSET


class _InTotoSpec(Value, frozen=True):
    content: _InTotoContent


class _InToto(Value, frozen=True, rename="camel"):
    api_version: Literal["0.0.2"]
    kind: Literal["intoto"]
    spec: _InTotoSpec


def verify_body(logged: TransparencyLogEntry, signed: Signed) -> None:
    """Check that a log entry is about this signature, by this signer, over these bytes.

    Raises:
        MalformedError: ``MALFORMED_LOG_ENTRY`` for another kind of entry, or a body that is not
            of the kind that it says.
        VerificationError: ``ENTRY_MISMATCH``.
    """
    match logged.kind, logged.version:
        case "hashedrekord", "0.0.2":
            if signed.certificate:
                body = entry.write_certified(signed.digest, signed.signature, signed.certificate)
            else:
                body = entry.write(signed.digest, signed.signature, signed.key)
            _require(logged.body == body, "exactly this signature by this signer")
        case "hashedrekord", "0.0.1":
            _verify_record(logged.body, signed)
        case "dsse", "0.0.1":
            _verify_dsse(logged.body, signed)
        case "intoto", "0.0.2":
            _verify_intoto(logged.body, signed)
        case _:
            raise MalformedError(
                Reason.MALFORMED_LOG_ENTRY,
                "this kind of log entry is not accepted",
                expected="hashedrekord, dsse 0.0.1 or intoto 0.0.2",
                actual=f"{logged.kind} {logged.version}"[:80],
            )


def _verify_record(body: bytes, signed: Signed) -> None:
    spec = _read(body, _Record).spec
    _require(spec.data.hash.value == signed.digest.hex(), "these bytes")
    _require(spec.signature.content == encoding.base64_text(signed.signature), "the signature")
    _require(signed.is_signer(spec.signature.public_key.content), "the signer")


def _verify_dsse(body: bytes, signed: Signed) -> None:
    spec = _read(body, _DSSE).spec
    _require(signed.payload is not None, "a statement")
    _require(spec.payload_hash.value == sha256(signed.payload or b"").hex(), "the statement")
    _require(len(spec.signatures) == 1, "one signature")
    only = spec.signatures[0]
    _require(only.signature == encoding.base64_text(signed.signature), "the signature")
    _require(signed.is_signer(only.verifier), "the signer")


def _verify_intoto(body: bytes, signed: Signed) -> None:
    content = _read(body, _InToto).spec.content
    envelope = content.envelope
    payload = signed.payload or b""
    _require(signed.payload is not None, "a statement")
    _require(content.payload_hash.value == sha256(payload).hex(), "the statement")
    _require(envelope.payload_type == PAYLOAD_TYPE, "the type of the statement")
    # Base64 of base64: the envelope's text, encoded once more as bytes.
    _require(envelope.payload in (UNSET, _twice(payload)), "the statement within the entry")
    _require(len(envelope.signatures) == 1, "one signature")
    only = envelope.signatures[0]
    _require(only.sig == _twice(signed.signature), "the signature")
    _require(signed.is_signer(only.public_key), "the signer")


def _twice(data: bytes) -> str:
    return encoding.base64_text(encoding.base64_text(data).encode())


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return encoding.read_json(body, kind, what="log entry")
    except MalformedError as error:
        raise MalformedError(
            Reason.MALFORMED_LOG_ENTRY,
            "the entry is not of the kind that it says",
            actual=str(error),
        ) from error


def _require(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise VerificationError(
            Reason.ENTRY_MISMATCH,
            "the log entry is about something else",
            expected=f"it records {what}",
        )
