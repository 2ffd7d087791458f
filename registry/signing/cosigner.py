"""Keys that cosign checkpoints: of witnesses, and the post-quantum key beside a log's main one."""

from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from registry.core.tlog import cosignature
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.note import (
    ED25519_COSIGNATURE,
    ML_DSA_44,
    SignatureLine,
    VerifierKey,
    check_name,
)
from registry.errors import MalformedError, Reason
from registry.signing.file import load_private, save_private


class Cosigner:
    """An Ed25519 or ML-DSA-44 key that says: this is the newest tree that I have seen.

    Whoever calls :meth:`cosign` has made sure that it is, and that it extends all earlier ones.
    """

    def __init__(self, name: str, key: Ed25519PrivateKey | MLDSA44PrivateKey) -> None:
        check_name(name)
        if len(name.encode()) > cosignature.MAX_NAME_BYTES:
            raise MalformedError(
                Reason.MALFORMED_NAME,
                "this name of a cosigner is too long",
                expected=f"at most {cosignature.MAX_NAME_BYTES} bytes",
            )
        self._key = key
        public = key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        kind = ML_DSA_44 if isinstance(key, MLDSA44PrivateKey) else ED25519_COSIGNATURE
        self.key = VerifierKey(name, public, kind)

    @classmethod
    def generate(cls, name: str, *, post_quantum: bool = False) -> Self:
        """A new key, in memory."""
        made = MLDSA44PrivateKey.generate() if post_quantum else Ed25519PrivateKey.generate()
        return cls(name, made)

    @classmethod
    def load(cls, name: str, path: Path) -> Self:
        """Read the key from ``path``.

        Raises:
            NotFoundError: ``MALFORMED_KEY`` if there is no such file.
            MalformedError: ``MALFORMED_KEY`` or ``KEY_ALGORITHM``.
        """
        key = load_private(path)
        if not isinstance(key, Ed25519PrivateKey | MLDSA44PrivateKey):
            raise MalformedError(
                Reason.KEY_ALGORITHM,
                "cosigners sign with Ed25519 or ML-DSA-44",
                where=str(path),
                actual=type(key).__name__.strip("_"),
            )
        return cls(name, key)

    def save(self, path: Path) -> None:
        """Write the key to a new file, durably; never over an existing one."""
        save_private(path, self._key)

    def cosign(self, checkpoint: Checkpoint, at: datetime) -> SignatureLine:
        """Cosign a checkpoint as of ``at``, to the second."""
        timestamp, text = int(at.timestamp()), str(checkpoint)
        if isinstance(self._key, Ed25519PrivateKey):
            message = cosignature.ed25519_message(timestamp, text.encode())
        else:
            message = cosignature.checkpoint_message(self.key.name, timestamp, text)
        signature = cosignature.join(timestamp, self._key.sign(message))
        return SignatureLine(self.key.name, self.key.key_id, signature)
