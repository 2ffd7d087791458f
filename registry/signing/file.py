"""Private keys in files: PKCS #8 PEM, readable by their owner only."""

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from registry.core import encoding
from registry.core.attestation import dsse
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import Statement
from registry.core.keys import PublicKey
from registry.core.tlog import cose, entry
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.cose import CoseReceipt
from registry.core.tlog.note import Note, SignatureLine, VerifierKey, check_name
from registry.core.tlog.receipt import Receipt
from registry.errors import ConflictError, MalformedError, NotFoundError, Reason

PrivateKey: TypeAlias = (
    ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey
)
"""Keys that are kept in files."""

MAX_KEY_FILE_BYTES = 4096
"""Bytes of a private key file; ours take about 250."""

# RFC 6979: the same statement signed again is the same entry, so a retry after a crash that lost
# the first signature cannot register a statement twice.
_ECDSA = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


class StatementSigner:
    """A P-256 key that signs statements."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key = PublicKey(key.public_key())

    @classmethod
    def generate(cls) -> Self:
        """A new key, in memory."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the key from ``path``.

        Raises:
            NotFoundError: ``MALFORMED_KEY`` if there is no such file.
            MalformedError: ``MALFORMED_KEY`` or ``KEY_ALGORITHM``.
        """
        return cls(load_p256(path))

    def save(self, path: Path) -> None:
        """Write the key to a new file, durably; never over an existing one."""
        save_private(path, self._key)

    def signing_request(self) -> bytes:
        """A PEM PKCS #10 request for a certificate; it names nobody, whoever issues it does."""
        return (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    def sign(self, statement: Statement[Any]) -> Envelope:
        """Sign a statement into an envelope."""
        payload = encoding.write_json(statement)
        signature = self._key.sign(dsse.pae(dsse.PAYLOAD_TYPE, payload), _ECDSA)
        return Envelope(payload, signature, self.public_key.key_id)


class LogSigner:
    """An Ed25519 key that signs checkpoints under the log's origin."""

    def __init__(self, origin: str, key: ed25519.Ed25519PrivateKey) -> None:
        check_name(origin)
        self._key = key
        self._beside: tuple[Callable[[Checkpoint], SignatureLine], ...] = ()
        public = key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self.key = VerifierKey(origin, public)

    @classmethod
    def generate(cls, origin: str) -> Self:
        """A new key, in memory."""
        return cls(origin, ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, origin: str, path: Path) -> Self:
        """Read the key from ``path``.

        Raises:
            NotFoundError: ``MALFORMED_KEY`` if there is no such file.
            MalformedError: ``MALFORMED_KEY`` or ``KEY_ALGORITHM``.
        """
        key = load_private(path)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise MalformedError(
                Reason.KEY_ALGORITHM,
                "checkpoints are signed with Ed25519",
                where=str(path),
                actual=type(key).__name__.strip("_"),
            )
        return cls(origin, key)

    def save(self, path: Path) -> None:
        """Write the key to a new file, durably; never over an existing one."""
        save_private(path, self._key)

    def sign(self, checkpoint: Checkpoint) -> SignedCheckpoint:
        """Sign a checkpoint. Whoever calls this makes sure that it never contradicts another."""
        text = str(checkpoint)
        line = SignatureLine(self.key.name, self.key.key_id, self._key.sign(text.encode()))
        lines = (line, *(cosign(checkpoint) for cosign in self._beside))
        return SignedCheckpoint(checkpoint, str(Note(text, lines)).encode())

    def also(self, cosign: Callable[[Checkpoint], SignatureLine]) -> None:
        """From now on, put another signature of the log beneath each checkpoint."""
        self._beside = (*self._beside, cosign)

    def sign_receipt(self, receipt: Receipt, body: bytes) -> CoseReceipt:
        """Say in COSE what ``receipt`` says of the entry with bytes ``body``.

        Nothing is signed but the root of a checkpoint that this key has signed before: the receipt
        is verified first.

        Raises:
            MalformedError: The entry, a hash or the checkpoint is not one.
            VerificationError: ``WRONG_LOG``, ``LOG_SIGNATURE`` or ``INCLUSION_PROOF``.
        """
        receipt.verify(body, self.key)
        unsigned = CoseReceipt(
            self.key.name,
            entry.parse(body).digest,
            cose.thumbprint(self.key),
            receipt.head.checkpoint.size,
            receipt.index,
            receipt.proof,
        )
        signature = self._key.sign(unsigned.signed_bytes(unsigned.root(body)))
        return replace(unsigned, signature=signature)


def load_p256(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a P-256 key from ``path``.

    Raises:
        NotFoundError: ``MALFORMED_KEY`` if there is no such file.
        MalformedError: ``MALFORMED_KEY`` or ``KEY_ALGORITHM``.
    """
    key = load_private(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise MalformedError(
            Reason.KEY_ALGORITHM,
            "statements are signed with ECDSA on P-256 only",
            where=str(path),
            actual=type(key).__name__.strip("_"),
            hint="run: provreg key generate",
        )
    PublicKey(key.public_key())  # refuses every other curve
    return key


def generate_p256(path: Path) -> None:
    """Make a P-256 key in a new file, durably; never over an existing one."""
    save_private(path, ec.generate_private_key(ec.SECP256R1()))


def public_pem(key: PublicKey) -> bytes:
    """A public key as PEM."""
    return serialization.load_der_public_key(key.der).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def write_public(path: Path, key: PublicKey) -> None:
    """Write a public key as PEM; it is no secret.

    Raises:
        OSError: The file cannot be written, or exists.
    """
    with path.open("xb") as file:
        file.write(public_pem(key))


def load_private(path: Path) -> object:
    """Read a private key of any kind from ``path``, if nobody but its owner can.

    Raises:
        NotFoundError: ``MALFORMED_KEY`` if there is no such file.
        MalformedError: ``MALFORMED_KEY``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError as error:
        raise NotFoundError(
            Reason.MALFORMED_KEY,
            "there is no such key file",
            where=str(path),
            hint=f"create one with: provreg key generate {path}",
        ) from error
    if len(data) > MAX_KEY_FILE_BYTES:
        raise MalformedError(
            Reason.MALFORMED_KEY, "this file is too long for a key", where=str(path)
        )
    if b"-----BEGIN PUBLIC KEY-----" in data:
        raise MalformedError(
            Reason.MALFORMED_KEY,
            "this is a public key",
            where=str(path),
            expected="the private key, which signs",
        )
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise MalformedError(
            Reason.MALFORMED_KEY,
            "other users may read this private key",
            where=str(path),
            expected="mode 0600",
            actual=oct(stat.S_IMODE(mode)),
            hint=f"run: chmod 600 {path}",
        )
    try:
        return serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError(
            Reason.MALFORMED_KEY, "this is not an unencrypted PEM private key", where=str(path)
        ) from error


def save_private(path: Path, key: PrivateKey) -> None:
    """Write a private key to a new file, durably; never over an existing one.

    Raises:
        ConflictError: ``TARGET_EXISTS``.
    """
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise ConflictError(
            Reason.TARGET_EXISTS,
            "this file exists already",
            where=str(path),
            hint="a key is never overwritten; choose another name",
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
