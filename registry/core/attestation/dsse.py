"""DSSE envelopes and the bytes that are signed (https://github.com/secure-systems-lab/dsse, v1).

Exactly one signature: a second one breaks stock Sigstore clients and lets unsigned matter ride
along. The envelope is RFC 8785 JSON, the payload is whatever bytes were signed.
"""

from dataclasses import dataclass
from typing import Self

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.encoding import Value
from registry.core.keys import PublicKey, parse_signature
from registry.errors import LimitExceededError, MalformedError, Reason, VerificationError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""The only payload type that is accepted."""

MAX_ENVELOPE_BYTES = 1024 * 1024
"""Bytes of an envelope. A statement names bytes by digest; it does not carry them."""


class _Signature(Value, frozen=True):
    keyid: str
    sig: str


class _Envelope(Value, frozen=True):
    payload: str
    payloadType: str  # noqa: N815 - the specification's spelling
    signatures: tuple[_Signature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what a DSSE signature signs. Lengths count bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with one signature over its PAE.

    Attributes:
        payload: The signed bytes.
        signature: DER ECDSA, byte for byte as it stands in the log entry.
        keyid: The signer's key id, or empty; a hint, and refused if it is wrong.
    """

    payload: bytes
    signature: bytes
    keyid: str

    @property
    def signed_bytes(self) -> bytes:
        """What the signature signs."""
        return pae(PAYLOAD_TYPE, self.payload)

    @property
    def record_id(self) -> bytes:
        """SHA-256 of the PAE: the name of the statement, whoever signed it."""
        return sha256(self.signed_bytes)

    def to_bytes(self) -> bytes:
        """The envelope as RFC 8785 JSON."""
        return encoding.write_json(
            _Envelope(
                payload=encoding.base64_text(self.payload),
                payloadType=PAYLOAD_TYPE,
                signatures=(
                    _Signature(keyid=self.keyid, sig=encoding.base64_text(self.signature)),
                ),
            )
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an envelope exactly, without judging its signature.

        Raises:
            LimitExceededError: ``ENVELOPE_TOO_LARGE``.
            MalformedError: ``MALFORMED_ENVELOPE``, ``NOT_CANONICAL``, ``MALFORMED_BASE64``,
                ``PAYLOAD_TYPE``, ``SIGNATURE_COUNT`` or ``MALFORMED_SIGNATURE``.
        """
        if len(data) > MAX_ENVELOPE_BYTES:
            raise LimitExceededError(
                Reason.ENVELOPE_TOO_LARGE,
                "this envelope is too large",
                expected=f"at most {MAX_ENVELOPE_BYTES} bytes",
                actual=f"{len(data)} bytes",
                hint="store large content as a blob and name it by its digest",
            )
        try:
            wire = encoding.read_json(data, _Envelope, what="DSSE envelope")
        except MalformedError as error:
            if error.reason is Reason.MALFORMED_JSON:
                error.reason = Reason.MALFORMED_ENVELOPE
            raise
        if wire.payloadType != PAYLOAD_TYPE:
            raise MalformedError(
                Reason.PAYLOAD_TYPE,
                "the envelope holds something else than an in-toto statement",
                expected=PAYLOAD_TYPE,
                actual=wire.payloadType[:80],
            )
        if len(wire.signatures) != 1:
            raise MalformedError(
                Reason.SIGNATURE_COUNT,
                "an envelope carries exactly one signature",
                expected="1",
                actual=str(len(wire.signatures)),
            )
        signature = encoding.base64_bytes(wire.signatures[0].sig)
        parse_signature(signature)
        return cls(encoding.base64_bytes(wire.payload), signature, wire.signatures[0].keyid)

    def verify(self, key: PublicKey) -> None:
        """Check that the holder of ``key`` signed this payload.

        Raises:
            VerificationError: ``BAD_SIGNATURE``, or ``UNKNOWN_SIGNER`` if ``keyid`` names another
                key.
        """
        if self.keyid not in ("", key.key_id):
            raise VerificationError(
                Reason.UNKNOWN_SIGNER,
                "the envelope names another key",
                expected=key.key_id,
                actual=self.keyid[:64],
            )
        key.verify(self.signature, self.signed_bytes)
