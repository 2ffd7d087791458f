"""AWS Nitro attestation documents: a COSE_Sign1 message (RFC 9052 §4.2) around a CBOR map.

::

    [<< {1: -35} >>, {}, << {"module_id": …, "pcrs": {0: …}, "certificate": …, …} >>, signature]

The message has one spelling, but for the tag 18 that may stand before it. The map is signed as it
stands, so its spelling is the device's own: firmware since December 2025 gives it no length. What
is refused there is what readers could disagree on: a key that occurs twice, bytes behind the map,
strings in chunks, tags.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import cbor2

from registry.core.evidence.checks import CheckError
from registry.core.evidence.nitro.cbor import read_item, trailing, with_length
from registry.core.evidence.nitro.findings import NitroFinding

T = TypeVar("T")

MAX_DOCUMENT_BYTES: Final = 16 * 1024
"""Bytes of a document; the device's own limit of an answer is 12 KiB."""

MAX_CERTIFICATE_BYTES: Final = 1024
"""Bytes of one certificate, as AWS states it."""

MAX_CABUNDLE: Final = 8
"""Certificates from the root to the leaf's issuer; four today."""

MAX_PUBLIC_KEY_BYTES: Final = 1024
"""Bytes of the field ``public_key``."""

MAX_USER_DATA_BYTES: Final = 512
"""Bytes of the fields ``user_data`` and ``nonce``."""

MAX_MODULE_ID_CHARACTERS: Final = 256
"""Characters of the field ``module_id``; some 40 today."""

MAX_PCR: Final = 31
"""The last measurement register."""

PCR_SIZES: Final = (32, 48, 64)
"""Bytes that a measurement may have."""

SIGNATURE_SIZE: Final = 96
"""Bytes of an ES384 signature: r and s, big-endian."""

DIGEST: Final = "SHA384"
"""The one way in which measurements are made."""

_PROTECTED: Final = bytes.fromhex("a1013822")  # {1: -35}: ES384
_ALGORITHM: Final = 1
_TAG: Final = 0xC0 + 18
_MAJOR_TAG: Final = 6

_FIELDS: Final = ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")
_OPTIONAL: Final = ("public_key", "user_data", "nonce")


@dataclass(frozen=True, slots=True)
class Message:
    """A COSE_Sign1 message, not verified.

    Attributes:
        payload: The bytes of the document.
        signature: r and s.
    """

    payload: bytes
    signature: bytes

    @property
    def protected(self) -> bytes:
        """The protected header, the only one that is accepted."""
        return _PROTECTED

    def signed_bytes(self) -> bytes:
        """What the device signed (RFC 9052 §4.4)."""
        return cbor2.dumps(["Signature1", _PROTECTED, b"", self.payload])

    def to_bytes(self) -> bytes:
        """The one spelling, without the tag."""
        return cbor2.dumps([_PROTECTED, {}, self.payload, self.signature])

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a message, with or without the tag 18.

        Raises:
            CheckError: A finding of N1.
        """
        if len(data) > MAX_DOCUMENT_BYTES:
            raise CheckError(
                NitroFinding.DOCUMENT_SIZE,
                "this is too long for a document",
                expected=f"at most {MAX_DOCUMENT_BYTES} bytes",
                actual=f"{len(data)} bytes",
            )
        bare = data[1:] if data[:1] == bytes([_TAG]) else data
        if bare[:1] and bare[0] >> 5 == _MAJOR_TAG:
            raise CheckError(
                NitroFinding.WRONG_TAG,
                "the message has another tag than COSE_Sign1",
                actual=data[:4].hex(),
            )
        items = read_item(bare, "message")
        if type(items) is not list or len(items) != 4:  # noqa: PLR2004 - RFC 9052 §4.2
            raise CheckError(NitroFinding.NOT_SIGN1, "this is no list of four items")
        protected, unprotected, payload, signature = items
        kinds = (type(protected), type(unprotected), type(payload), type(signature))
        if kinds != (bytes, dict, bytes, bytes):
            raise CheckError(
                NitroFinding.NOT_SIGN1,
                "the four items are not those of COSE_Sign1",
                expected="bytes, map, bytes, bytes",
                actual=", ".join(kind.__name__ for kind in kinds),
            )
        if protected != _PROTECTED:
            raise _protected(protected)
        if unprotected:
            raise CheckError(
                NitroFinding.UNPROTECTED_HEADER,
                "there is something in the header that nobody signed",
                actual=ascii(unprotected)[:200],
            )
        if len(signature) != SIGNATURE_SIZE:
            raise CheckError(
                NitroFinding.SIGNATURE_SIZE,
                "this is no ES384 signature",
                expected=f"{SIGNATURE_SIZE} bytes",
                actual=f"{len(signature)} bytes",
            )
        message = cls(payload, signature)
        _check_spelling(bare, message.to_bytes())
        return message


@dataclass(frozen=True, slots=True)
class Document:
    """What a Nitro security module says of an enclave; field names are AWS's.

    Attributes:
        module_id: The enclave, with the instance that it runs on.
        timestamp: When the document was made, in milliseconds of Unix time.
        pcrs: The measurements, by register.
        certificate: DER, of the key that signed the document.
        cabundle: DER, the root first, the issuer of ``certificate`` last.
        public_key: What the enclave gave; None if it gave nothing.
        user_data: As ``public_key``.
        nonce: As ``public_key``.
        unknown: Names of fields that are not known here.
    """

    module_id: str
    timestamp: int
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None = None
    user_data: bytes | None = None
    nonce: bytes | None = None
    unknown: tuple[str, ...] = ()

    @property
    def signed_at(self) -> int:
        """When it was made, in whole seconds of Unix time."""
        return self.timestamp // 1000

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read a document.

        Raises:
            CheckError: A finding of N1 or N2.
        """
        fields = read_item(with_length(payload), "document")
        if type(fields) is not dict:
            raise _wrong_type("document", "map", fields)
        for name in _FIELDS:
            if name not in fields:
                raise CheckError(
                    NitroFinding.MISSING_FIELD, "a field of the document is missing", where=name
                )
        module_id = _kind(fields["module_id"], str, "module_id")
        if not 0 < len(module_id) <= MAX_MODULE_ID_CHARACTERS:
            raise _wrong_size("module_id", f"1 to {MAX_MODULE_ID_CHARACTERS}", len(module_id))
        if _kind(fields["digest"], str, "digest") != DIGEST:
            raise CheckError(
                NitroFinding.DIGEST_ALGORITHM,
                "the measurements are of another kind",
                expected=DIGEST,
                actual=ascii(fields["digest"])[:80],
            )
        known = (*_FIELDS, *_OPTIONAL)
        return cls(
            module_id,
            _timestamp(fields["timestamp"]),
            _pcrs(fields["pcrs"]),
            _certificate(fields["certificate"], "certificate"),
            _cabundle(fields["cabundle"]),
            _given(fields, "public_key", 1, MAX_PUBLIC_KEY_BYTES),
            _given(fields, "user_data", 0, MAX_USER_DATA_BYTES),
            _given(fields, "nonce", 0, MAX_USER_DATA_BYTES),
            tuple(ascii(name)[:80] for name in fields if name not in known),
        )


def _timestamp(value: object) -> int:
    timestamp = _kind(value, int, "timestamp")
    if not 0 < timestamp < 2**63:
        raise CheckError(
            NitroFinding.TIMESTAMP, "this is no time in milliseconds", actual=str(timestamp)[:40]
        )
    return timestamp


def _pcrs(value: object) -> Mapping[int, bytes]:
    pcrs = _kind(value, dict, "pcrs")
    for index, pcr in pcrs.items():
        if type(index) is not int or not 0 <= index <= MAX_PCR:
            raise CheckError(
                NitroFinding.PCR_INDEX,
                "there is no such measurement register",
                expected=f"0 to {MAX_PCR}",
                actual=ascii(index)[:80],
            )
        if len(_kind(pcr, bytes, f"pcrs, {index}")) not in PCR_SIZES:
            raise CheckError(
                NitroFinding.PCR_SIZE,
                "a measurement has another size",
                where=f"pcrs, {index}",
                expected=" or ".join(map(str, PCR_SIZES)),
                actual=f"{len(pcr)} bytes",
            )
    return pcrs


def _cabundle(value: object) -> tuple[bytes, ...]:
    bundle = _kind(value, list, "cabundle")
    if not 0 < len(bundle) <= MAX_CABUNDLE:
        raise CheckError(
            NitroFinding.CERTIFICATE_COUNT,
            "the chain has no or too many certificates",
            where="cabundle",
            expected=f"1 to {MAX_CABUNDLE}",
            actual=str(len(bundle)),
        )
    return tuple(_certificate(item, "cabundle") for item in bundle)


def _certificate(value: object, where: str) -> bytes:
    der = _kind(value, bytes, where)
    if not 0 < len(der) <= MAX_CERTIFICATE_BYTES:
        raise _wrong_size(where, f"1 to {MAX_CERTIFICATE_BYTES}", len(der))
    return der


def _given(fields: Mapping[object, Any], name: str, least: int, most: int) -> bytes | None:
    value = fields.get(name)
    if value is None:
        return None
    given = _kind(value, bytes, name)
    if not least <= len(given) <= most:
        raise _wrong_size(name, f"{least} to {most}", len(given))
    return given


def _kind(value: object, kind: type[T], where: str) -> T:
    # Exactly that type: true is no 1.
    if type(value) is not kind:
        raise _wrong_type(where, kind.__name__, value)
    return value


def _wrong_type(where: str, expected: str, value: object) -> CheckError:
    return CheckError(
        NitroFinding.FIELD_TYPE,
        "a field has another type",
        where=where,
        expected=expected,
        actual=type(value).__name__,
    )


def _wrong_size(where: str, expected: str, size: int) -> CheckError:
    return CheckError(
        NitroFinding.FIELD_SIZE,
        "a field is empty or too long",
        where=where,
        expected=expected,
        actual=str(size),
    )


def _protected(header: bytes) -> CheckError:
    what = "the message is not signed as Nitro signs"
    try:
        said = read_item(header, "protected header")
    except CheckError:
        said = None
    if isinstance(said, dict) and set(said) == {_ALGORITHM}:
        return CheckError(
            NitroFinding.WRONG_ALGORITHM,
            what,
            expected="-35",
            actual=ascii(said[_ALGORITHM])[:80],
        )
    return CheckError(
        NitroFinding.PROTECTED_HEADER, what, expected=_PROTECTED.hex(), actual=header[:80].hex()
    )


def _check_spelling(data: bytes, written: bytes) -> None:
    if data == written:
        return
    if data.startswith(written):
        raise trailing("message")
    raise CheckError(
        NitroFinding.NOT_SHORTEST, "the message is not in the shortest encoding", where="message"
    )
