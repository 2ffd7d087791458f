"""Ethereum's cryptography: Keccak-256, and the address of a key that an EIP-191 signature yields.

Keccak-256 is SHA-3 as it was before the standard: it pads with 01, not 06, and ``hashlib`` does not
have it. Both need the extra ``foreign``.
"""

from typing import Any, Final

from registry.errors import MalformedError, Reason, UnavailableError, VerificationError

ADDRESS_BYTES: Final = 20
"""Bytes of an address: the last of the Keccak-256 of a public key."""

SIGNATURE_BYTES: Final = 65
"""Bytes of a recoverable signature: r, s, and which of the keys that fit."""

_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_PREFIX: Final = b"\x19Ethereum Signed Message:\n"
_FIRST_V: Final = 27


def keccak256(data: bytes) -> bytes:
    """The Keccak-256 of ``data``: 32 bytes.

    Raises:
        UnavailableError: ``MISSING_EXTRA``.
    """
    return bytes(_keccak().new(digest_bits=256, data=data).digest())


def personal_message(text: bytes) -> bytes:
    """What is hashed and signed of a text (EIP-191, version 0x45)."""
    return _PREFIX + str(len(text)).encode("ascii") + text


def recover_address(signature: bytes, text: bytes) -> bytes:
    """The address whose key made an EIP-191 signature of ``text``.

    Refused is a second spelling of a signature: s above half the order (EIP-2).

    Raises:
        MalformedError: ``MALFORMED_SIGNATURE``.
        VerificationError: ``BAD_SIGNATURE`` if no key can have made it.
        UnavailableError: ``MISSING_EXTRA``.
    """
    keys = _keys()
    v = signature[-1] if len(signature) == SIGNATURE_BYTES else -1
    which = v - _FIRST_V if v >= _FIRST_V else v
    s = int.from_bytes(signature[32:64], "big")
    if which not in (0, 1) or not 0 < s <= _ORDER // 2:
        raise MalformedError(
            Reason.MALFORMED_SIGNATURE,
            "this is no recoverable secp256k1 signature",
            expected="r, s of at most half the order, and 27 or 28: 65 bytes",
            actual=f"{len(signature)} bytes",
        )
    message = personal_message(text)
    try:
        key = keys.from_signature_and_message(signature[:64] + bytes([which]), message, keccak256)
    except ValueError as error:
        raise VerificationError(
            Reason.BAD_SIGNATURE, "no key can have made this signature", actual=str(error)[:200]
        ) from error
    # Without the byte that says how the point is written.
    return keccak256(key.format(compressed=False)[1:])[-ADDRESS_BYTES:]


def _keccak() -> Any:
    try:
        from Crypto.Hash import keccak  # noqa: PLC0415 - an extra, which need not be there
    except ImportError as error:
        raise _missing() from error
    return keccak


def _keys() -> Any:
    try:
        from coincurve import PublicKey  # noqa: PLC0415 - an extra, which need not be there
    except ImportError as error:
        raise _missing() from error
    return PublicKey


def _missing() -> UnavailableError:
    return UnavailableError(
        Reason.MISSING_EXTRA,
        "Keccak-256 and signatures on secp256k1 cannot be checked here",
        hint="run: pip install 'provreg[foreign]'",
    )
