"""Signed notes and verifier keys (https://c2sp.org/signed-note, v1.0.0).

A note is text that ends in a newline, an empty line, and signature lines::

    — <key name> <base64(key id[4] ‖ signature)>

Keys are Ed25519 (type 0x01). Lines by unknown keys are ignored; a line by a *known* key that does
not verify refuses the whole note.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from registry.core import encoding
from registry.core.digest import sha256
from registry.errors import MalformedError, Reason, VerificationError

ED25519 = 0x01
"""The signature type of Ed25519 keys."""

MAX_NOTE_BYTES = 64 * 1024
"""Bytes of a whole note; an ML-DSA-44 cosignature line takes about 3,300."""

MAX_SIGNATURES = 64
"""Signature lines on one note."""

_KEY_ID_SIZE = 4
_ED25519_KEY_SIZE = 32
_DASH = "— "


def key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """The four bytes that hint at a key: the start of ``SHA-256(name ‖ 0x0A ‖ type ‖ key)``."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public_key)[:_KEY_ID_SIZE]


def check_name(name: str) -> None:
    """A key name has no white space and no plus sign, and is not empty.

    Raises:
        MalformedError: ``MALFORMED_NAME``.
    """
    if not name or "+" in name or any(c.isspace() or ord(c) < 0x20 for c in name):  # noqa: PLR2004
        raise MalformedError(
            Reason.MALFORMED_NAME,
            "this is not a key name",
            expected="no white space, no plus sign, not empty",
            actual=repr(name[:80]),
        )


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named Ed25519 public key, written ``<name>+<hex key id>+<base64(0x01 ‖ key)>``."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The four-byte hint of this key."""
        return key_id(self.name, ED25519, self.public_key)

    def __str__(self) -> str:
        material = encoding.base64_text(bytes([ED25519]) + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a verifier key.

        Raises:
            MalformedError: ``MALFORMED_KEY``, or ``KEY_ALGORITHM`` for other types than Ed25519.
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
        if material[:1] != bytes([ED25519]):
            raise MalformedError(
                Reason.KEY_ALGORITHM,
                "log keys are Ed25519",
                expected="type 0x01",
                actual=f"type 0x{material[:1].hex()}",
            )
        parsed = cls(parts[0], material[1:])
        if len(parsed.public_key) != _ED25519_KEY_SIZE or str(parsed) != text:
            raise MalformedError(
                Reason.MALFORMED_KEY,
                "the parts of this verifier key do not belong together",
                expected=parsed.key_id.hex(),
                actual=parts[1][:16],
            )
        return parsed

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check an Ed25519 signature.

        Raises:
            VerificationError: ``LOG_SIGNATURE``.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature as error:
            raise VerificationError(
                Reason.LOG_SIGNATURE, "the signature on the note does not verify", where=self.name
            ) from error


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

    def verify(self, keys: Sequence[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Check the lines of known keys and return the keys that signed, at least one.

        Raises:
            VerificationError: ``LOG_SIGNATURE`` if a known key's line is wrong, ``WRONG_LOG`` if no
                known key signed at all.
        """
        message = self.text.encode()
        signed = []
        for line in self.signatures:
            for key in keys:
                if key.name == line.name and key.key_id == line.key_id:
                    key.verify(line.signature, message)
                    signed.append(key)
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
