"""AIR v1 receipts: a COSE_Sign1 message (RFC 9052 §4.2) with Ed25519 around a CWT.

::

    18([<< {1: -8, 3: 61} >>, {}, << {1: iss, 6: iat, …, -65537: …} >>, signature])

(draft-tsyrulnikov-rats-attested-inference-receipt-02; RFC 8392, RFC 9711.) How a receipt is spelled
is a finding of its own: there are receipts whose encoding is not deterministic, though it must be,
and whose signature is good all the same.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NoReturn, Self

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from registry.core.evidence.checks import CheckError

MAX_RECEIPT_BYTES: Final = 65_536
"""Bytes of a receipt."""

MAX_DEPTH: Final = 4
"""Containers within each other: two in a message, two in its claims."""

MAX_KEY_BYTES: Final = 1024
"""Bytes of a key in any of its forms."""

PROTECTED: Final = bytes.fromhex("a2012703183d")
"""The protected header: EdDSA, application/cwt."""

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_TAG: Final = b"\xd2"
_MAJOR_TAG: Final = 6

# y of the points whose order divides 8, and the same plus p where that is a spelling of it: whoever
# signs with such a key has signed everything.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


class Found(StrEnum):
    """What may be found about a receipt as a message."""

    RECEIPT_SIZE = "RECEIPT_SIZE"
    NOT_CBOR = "NOT_CBOR"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    TRAILING_BYTES = "TRAILING_BYTES"
    UNTAGGED = "UNTAGGED"
    WRONG_TAG = "WRONG_TAG"
    NOT_SIGN1 = "NOT_SIGN1"
    BAD_ALGORITHM = "BAD_ALGORITHM"
    PROTECTED_HEADER = "PROTECTED_HEADER"
    UNPROTECTED_HEADER = "UNPROTECTED_HEADER"
    SIGNATURE_SIZE = "SIGNATURE_SIZE"
    NOT_DETERMINISTIC = "NOT_DETERMINISTIC"
    KEY_FORM = "KEY_FORM"
    WEAK_KEY = "WEAK_KEY"
    BAD_SIGNATURE = "BAD_SIGNATURE"


@dataclass(frozen=True, slots=True)
class Message:
    """A receipt as a message, not verified.

    Attributes:
        payload: The bytes of the claims.
        signature: 64 bytes.
        deterministic: Whether the message itself is in the one encoding.
    """

    payload: bytes
    signature: bytes
    deterministic: bool

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a message: tagged, signed with Ed25519, nothing else in its headers.

        Raises:
            CheckError: What is wrong with it.
        """
        if len(data) > MAX_RECEIPT_BYTES:
            raise CheckError(
                Found.RECEIPT_SIZE,
                "this is too long for a receipt",
                expected=f"at most {MAX_RECEIPT_BYTES} bytes",
                actual=f"{len(data)} bytes",
            )
        if data[:1] != _TAG:
            raise _no_tag(data)
        parts = read_item(data[1:], "receipt")
        if type(parts) is not list or [type(part) for part in parts] != [bytes, dict, bytes, bytes]:
            raise CheckError(
                Found.NOT_SIGN1,
                "this is no COSE_Sign1 message",
                expected="[bytes, map, bytes, bytes]",
                actual=str([type(part).__name__ for part in parts])[:200]
                if type(parts) is list
                else type(parts).__name__,
            )
        protected, unprotected, payload, signature = parts
        if protected != PROTECTED:
            raise _protected(protected)
        if unprotected:
            raise CheckError(
                Found.UNPROTECTED_HEADER, "something stands in the header that is not signed"
            )
        if len(signature) != SIGNATURE_BYTES:
            raise CheckError(
                Found.SIGNATURE_SIZE,
                "this is no Ed25519 signature",
                expected=f"{SIGNATURE_BYTES} bytes",
                actual=f"{len(signature)} bytes",
            )
        return cls(payload, signature, data[1:] == cbor2.dumps(parts, canonical=True))

    def signed_bytes(self) -> bytes:
        """What is signed (RFC 9052 §4.4)."""
        return cbor2.dumps(["Signature1", PROTECTED, b"", self.payload])

    def verify(self, key: bytes) -> None:
        """Check the signature strictly: by no key, and with no point, of small order.

        Raises:
            CheckError: ``WEAK_KEY`` or ``BAD_SIGNATURE``.
        """
        for point, what in ((key, "key"), (self.signature[:KEY_BYTES], "signature")):
            if _is_weak(point):
                raise CheckError(
                    Found.WEAK_KEY, f"a point of the {what} has small order", actual=point.hex()
                )
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(self.signature, self.signed_bytes())
        except (InvalidSignature, ValueError) as error:
            raise CheckError(
                Found.BAD_SIGNATURE, "the receipt is not signed by this key"
            ) from error


def _is_weak(point: bytes) -> bool:
    # The highest bit is the sign of x.
    return bytes([*point[:-1], point[-1] & 0x7F]) in _SMALL_ORDER


def read_claims(payload: bytes) -> tuple[Mapping[object, Any], bool]:
    """The claims as a map, and whether they are in the one encoding (RFC 8949 §4.2).

    Raises:
        CheckError: ``NOT_CBOR``, ``DUPLICATE_KEY`` or ``TRAILING_BYTES``.
    """
    claims = read_item(payload, "claims")
    if type(claims) is not dict:
        raise CheckError(Found.NOT_CBOR, "the claims are no map", actual=type(claims).__name__)
    return claims, cbor2.dumps(claims, canonical=True) == payload


def read_key(data: bytes) -> bytes:
    """An Ed25519 public key: 32 bytes, hexadecimal text, DER or PEM.

    Raises:
        CheckError: ``KEY_FORM``.
    """
    if len(data) == KEY_BYTES:
        return data
    text = data.strip()
    try:
        if len(text) == 2 * KEY_BYTES:
            return bytes.fromhex(text.decode("ascii"))
        if len(data) > MAX_KEY_BYTES:
            message = f"{len(data)} bytes"
            raise ValueError(message)  # noqa: TRY301 - one refusal for all of them
        load = (
            serialization.load_pem_public_key
            if text.startswith(b"-----BEGIN")
            else serialization.load_der_public_key
        )
        key = load(data)
        if not isinstance(key, Ed25519PublicKey):
            message = type(key).__name__
            raise TypeError(message)  # noqa: TRY301 - as above
    except Exception as error:
        # The loaders have as many errors as there are ways to be no key.
        raise CheckError(
            Found.KEY_FORM,
            "this is no Ed25519 public key",
            expected="32 bytes, hexadecimal, DER or PEM",
            actual=str(error)[:200],
        ) from error
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def spki(key: bytes) -> bytes:
    """The DER SubjectPublicKeyInfo of an Ed25519 key (RFC 8410)."""
    return bytes.fromhex("302a300506032b6570032100") + key


# --- CBOR. ---


def _refuse_tag(*_: object) -> NoReturn:
    message = "a tag"
    raise ValueError(message)


def _decode(data: bytes, *, duplicates: bool = False) -> Any:
    return cbor2.loads(
        data,
        semantic_decoders=defaultdict(lambda: _refuse_tag),
        max_depth=MAX_DEPTH,
        allow_indefinite=True,
        allow_duplicate_keys=duplicates,
    )


def read_item(data: bytes, where: str) -> Any:
    """Read one item of any spelling, with nothing behind it, no tag in it and no key twice.

    Raises:
        CheckError: ``NOT_CBOR``, ``DUPLICATE_KEY`` or ``TRAILING_BYTES``.
    """
    # The library ignores what is behind an item. Two neighbours that differ in every byte show
    # where it ends: both can be the second item only if nothing stands between.
    first, second = b"\x82" + data + b"\x00", b"\x82" + data + b"\x01"
    try:
        value, end = _decode(first)
        more = type(end) is not int or end != 0 or _decode(second)[1] != 1
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise _unreadable(first, where, error) from error
    if more:
        raise CheckError(Found.TRAILING_BYTES, "there are bytes behind the end", where=where)
    return value


def _unreadable(data: bytes, where: str, error: Exception) -> CheckError:
    try:
        _decode(data, duplicates=True)
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError):
        return CheckError(
            Found.NOT_CBOR, "this is not CBOR that is read here", where=where, actual=str(error)
        )
    return CheckError(Found.DUPLICATE_KEY, "a key occurs twice", where=where)


def _no_tag(data: bytes) -> CheckError:
    first = data[0] if data else 0
    if first >> 5 == _MAJOR_TAG:
        return CheckError(
            Found.WRONG_TAG, "the message has another tag than 18", actual=data[:4].hex()
        )
    return CheckError(Found.UNTAGGED, "the message has no tag", expected="tag 18")


def _protected(header: bytes) -> CheckError:
    try:
        said = read_item(header, "protected header")
    except CheckError:
        said = None
    if isinstance(said, dict) and said.get(1) != -8:  # noqa: PLR2004 - EdDSA
        return CheckError(
            Found.BAD_ALGORITHM,
            "the receipt is not signed with EdDSA",
            expected="-8",
            actual=ascii(said.get(1))[:80],
        )
    return CheckError(
        Found.PROTECTED_HEADER,
        "the protected header is another than that of a receipt",
        expected=PROTECTED.hex(),
        actual=header[:80].hex(),
    )
