"""Signed notes and verifier keys (https://c2sp.org/signed-note, v1.0.0).

A note is text that ends in a newline, an empty line, and signature lines::

    — <key name> <base64(key id[4] ‖ signature)>

Three types of keys are known: Ed25519 (0x01), by which logs sign, and the two by which witnesses
cosign, Ed25519 (0x04) and ML-DSA-44 (0x06). Lines by unknown keys, of whatever type, are ignored; a
line by a *known* key that does not verify refuses the whole note.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.tlog import cosignature
from registry.errors import MalformedError, Reason, VerificationError

ED25519 = 0x01
"""The signature type of Ed25519 keys."""

ED25519_COSIGNATURE = 0x04
"""The signature type of Ed25519 keys of cosigners."""

ML_DSA_44 = 0x06
"""The signature type of ML-DSA-44 keys of cosigners; also of logs, beside their Ed25519 key."""

LOG_KEYS: Final = frozenset({ED25519})
"""The type that a log's main key has."""

COSIGNER_KEYS: Final = frozenset({ED25519_COSIGNATURE, ML_DSA_44})
"""The types that keys of witnesses have."""

MAX_NOTE_BYTES = 64 * 1024
"""Bytes of a whole note; an ML-DSA-44 cosignature line takes about 3,300."""

MAX_SIGNATURES = 64
"""Signature lines on one note."""

_KEY_ID_SIZE = 4
_KEY_SIZES: Final = {ED25519: 32, ED25519_COSIGNATURE: 32, ML_DSA_44: 1312}
_TYPE_NAMES: Final = {
    ED25519: "Ed25519 (0x01)",
    ED25519_COSIGNATURE: "Ed25519 cosignature (0x04)",
    ML_DSA_44: "ML-DSA-44 cosignature (0x06)",
}
_DASH = "— "
_SURROGATES: Final = frozenset(map(chr, range(0xD800, 0xE000)))


def key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """The four bytes that hint at a key: the start of ``SHA-256(name ‖ 0x0A ‖ type ‖ key)``."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public_key)[:_KEY_ID_SIZE]


def check_name(name: str) -> None:
    """A key name has no white space and no plus sign, and is not empty.

    Raises:
        MalformedError: ``MALFORMED_NAME``.
    """
    forbidden = any(c.isspace() or ord(c) < 0x20 or c in _SURROGATES for c in name)  # noqa: PLR2004
    if not name or "+" in name or forbidden:
        raise MalformedError(
            Reason.MALFORMED_NAME,
            "this is not a key name",
            expected="no white space, no plus sign, not empty",
            actual=repr(name[:80]),
        )


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named public key, written ``<name>+<hex key id>+<base64(type ‖ key)>``."""

    name: str
    public_key: bytes
    kind: int = ED25519

    @property
    def key_id(self) -> bytes:
        """The four-byte hint of this key."""
        return key_id(self.name, self.kind, self.public_key)

    def __str__(self) -> str:
        material = encoding.base64_text(bytes([self.kind]) + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str, kinds: Collection[int] = LOG_KEYS) -> Self:
        """Read a verifier key of one of ``kinds``.

        Raises:
            MalformedError: ``MALFORMED_KEY``, or ``KEY_ALGORITHM`` for other types.
        """
        # Base64 may hold plus signs, too: only the first two separate.
        parts = text.split("+", 2)
        if len(parts) != 3:  # noqa: PLR2004 - name, hint, material
            raise MalformedError(
                Reason.MALFORMED_KEY,
                "this is not a verifier key",
                expected="<name>+<key id>+<base64>",
                actual=repr(text[:80]),
            )
        check_name(parts[0])
        material = encoding.base64_bytes(parts[2])
        kind = material[0] if material else 0
        if kind not in kinds or kind not in _KEY_SIZES:
            raise MalformedError(
                Reason.KEY_ALGORITHM,
                "a key of this type cannot be used here",
                expected=" or ".join(_TYPE_NAMES[known] for known in sorted(kinds)),
                actual=_TYPE_NAMES.get(kind, f"type 0x{material[:1].hex()}"),
            )
        parsed = cls(parts[0], material[1:], kind)
        if len(parsed.public_key) != _KEY_SIZES[kind] or str(parsed) != text:
            raise MalformedError(
                Reason.MALFORMED_KEY,
                "the parts of this verifier key do not belong together",
                expected=parsed.key_id.hex(),
                actual=parts[1][:16],
            )
        return parsed

    def verify(self, signature: bytes, text: str) -> None:
        """Check a signature, or a cosignature with its time, under a note's ``text``.

        Raises:
            VerificationError: ``LOG_SIGNATURE``, or ``COSIGNATURE`` for the key of a cosigner.
        """
        try:
            if self.kind == ED25519:
                _ed25519(self.public_key).verify(signature, text.encode())
                return
            timestamp, bare = cosignature.split(signature)
            if self.kind == ED25519_COSIGNATURE:
                message = cosignature.ed25519_message(timestamp, text.encode())
                _ed25519(self.public_key).verify(bare, message)
            else:
                message = cosignature.checkpoint_message(self.name, timestamp, text)
                MLDSA44PublicKey.from_public_bytes(self.public_key).verify(bare, message)
        except (InvalidSignature, MalformedError) as error:
            raise VerificationError(
                Reason.LOG_SIGNATURE if self.kind == ED25519 else Reason.COSIGNATURE,
                "the signature on the note does not verify",
                where=self.name,
                actual=str(error),
            ) from error


def _ed25519(public_key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public_key)


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One line under a note: who claims to have signed, with which key, and the signature."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {encoding.base64_text(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signatures under it."""

    text: str
    signatures: tuple[SignatureLine, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a signed note exactly.

        Raises:
            MalformedError: ``MALFORMED_NOTE``.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise MalformedError(
                Reason.MALFORMED_NOTE,
                "this note is too long",
                expected=f"at most {MAX_NOTE_BYTES} bytes",
                actual=f"{len(data)} bytes",
            )
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedError(Reason.MALFORMED_NOTE, "this note is not UTF-8") from error
        if any(ord(c) < 0x20 and c != "\n" for c in whole):  # noqa: PLR2004 - C0 controls
            raise MalformedError(Reason.MALFORMED_NOTE, "this note holds control characters")
        # The text itself may hold empty lines: the signatures follow the last one.
        text, found, block = whole.rpartition("\n\n")
        lines = block.split("\n")
        if not found or lines.pop() != "" or not 1 <= len(lines) <= MAX_SIGNATURES:
            raise MalformedError(
                Reason.MALFORMED_NOTE,
                "this is not a signed note",
                expected=f"text, an empty line, and 1 to {MAX_SIGNATURES} signature lines",
            )
        note = cls(text + "\n", tuple(_parse_line(line) for line in lines))
        if str(note).encode() != data:
            raise MalformedError(Reason.MALFORMED_NOTE, "this note is not in canonical form")
        return note

    def lines_by(
        self, keys: Sequence[VerifierKey]
    ) -> tuple[tuple[VerifierKey, SignatureLine], ...]:
        """The lines of known keys, checked, in their order; of the others nothing is said.

        Raises:
            VerificationError: ``LOG_SIGNATURE`` or ``COSIGNATURE`` if a known key's line is wrong.
        """
        known = {(key.name, key.key_id): key for key in keys}
        found = []
        for line in self.signatures:
            key = known.get((line.name, line.key_id))
            if key is not None:
                key.verify(line.signature, self.text)
                found.append((key, line))
        return tuple(found)

    def verify(self, keys: Sequence[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Check the lines of known keys and return the keys that signed, at least one.

        Raises:
            VerificationError: ``LOG_SIGNATURE`` or ``COSIGNATURE`` if a known key's line is wrong,
                ``WRONG_LOG`` if no known key signed at all.
        """
        signed = [key for key, _ in self.lines_by(keys)]
        if not signed:
            raise VerificationError(
                Reason.WRONG_LOG,
                "none of the expected keys signed this note",
                expected=" or ".join(key.name for key in keys) or "a key",
                actual=", ".join(line.name for line in self.signatures),
            )
        return tuple(signed)


def _parse_line(line: str) -> SignatureLine:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise MalformedError(
            Reason.MALFORMED_NOTE, "this is not a signature line", actual=repr(line[:80])
        )
    check_name(name)
    raw = encoding.base64_bytes(encoded)
    if len(raw) <= _KEY_ID_SIZE:
        raise MalformedError(Reason.MALFORMED_NOTE, "this signature line holds no signature")
    return SignatureLine(name, raw[:_KEY_ID_SIZE], raw[_KEY_ID_SIZE:])
