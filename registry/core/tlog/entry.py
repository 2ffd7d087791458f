"""The exact bytes of one leaf: a Rekor v2 ``hashedrekord`` 0.0.2 over SHA-256(PAE).

Every Sigstore client derives these bytes from a bundle by itself, so one other byte breaks them.
What we have to say goes into the signed in-toto predicate, never into the entry.
"""

from typing import Literal

from registry.core import encoding
from registry.core.digest import SHA256_SIZE
from registry.core.encoding import Value
from registry.core.keys import ALGORITHM, PublicKey, parse_signature
from registry.errors import MalformedError, Reason

MAX_ENTRY_BYTES = 65_535
"""Bytes of an entry: tlog-tiles prefixes each with a 16-bit length."""

_TEMPLATE = (
    b'{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":'
    b'{"algorithm":"SHA2_256","digest":"%s"},"signature":{"content":"%s","verifier":'
    b'{"keyDetails":"%s","publicKey":{"rawBytes":"%s"}}}}}}'
)


class _RawBytes(Value, frozen=True):
    rawBytes: str  # noqa: N815 - the specification's spelling


class _Verifier(Value, frozen=True):
    keyDetails: Literal["PKIX_ECDSA_P256_SHA_256"]  # noqa: N815
    publicKey: _RawBytes  # noqa: N815


class _Signature(Value, frozen=True):
    content: str
    verifier: _Verifier


class _Data(Value, frozen=True):
    algorithm: Literal["SHA2_256"]
    digest: str


class _HashedRekord(Value, frozen=True):
    data: _Data
    signature: _Signature


class _Spec(Value, frozen=True):
    hashedRekordV002: _HashedRekord  # noqa: N815


class _Body(Value, frozen=True):
    apiVersion: Literal["0.0.2"]  # noqa: N815
    kind: Literal["hashedrekord"]
    spec: _Spec


class Entry(Value, frozen=True):
    """What one leaf says: ``signature`` by ``key_der`` over the message with digest ``digest``."""

    digest: bytes
    signature: bytes
    key_der: bytes

    def to_bytes(self) -> bytes:
        """The leaf's preimage."""
        return write(self.digest, self.signature, self.key_der)


def write(digest: bytes, signature: bytes, key_der: bytes) -> bytes:
    """Write the leaf that records ``signature`` by the key ``key_der`` over ``digest``."""
    return _TEMPLATE % (
        encoding.base64_text(digest).encode(),
        encoding.base64_text(signature).encode(),
        ALGORITHM.encode(),
        encoding.base64_text(key_der).encode(),
    )


def parse(body: bytes) -> Entry:
    """Read a leaf exactly.

    Raises:
        MalformedError: ``MALFORMED_ENTRY``.
    """
    if len(body) > MAX_ENTRY_BYTES:
        raise MalformedError(
            Reason.MALFORMED_ENTRY,
            "this entry is too long",
            expected=f"at most {MAX_ENTRY_BYTES} bytes",
            actual=f"{len(body)} bytes",
        )
    try:
        record = encoding.read_json(body, _Body, what="log entry").spec.hashedRekordV002
        digest = encoding.base64_bytes(record.data.digest)
        signature = encoding.base64_bytes(record.signature.content)
        parse_signature(signature)
        key_der = encoding.base64_bytes(record.signature.verifier.publicKey.rawBytes)
        PublicKey.parse(key_der)
    except MalformedError as error:
        raise MalformedError(
            Reason.MALFORMED_ENTRY, "this is not a hashedrekord 0.0.2 entry", actual=str(error)
        ) from error
    if len(digest) != SHA256_SIZE:
        raise MalformedError(Reason.MALFORMED_ENTRY, "the digest in the entry is not a SHA-256")
    return Entry(digest=digest, signature=signature, key_der=key_der)
