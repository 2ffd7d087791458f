"""The port for signing statements, and the choice of a key by file or by URI.

=================================================  ============================================
where the key is                                   written as
=================================================  ============================================
a file                                             ``acme.pem`` or ``file:acme.pem``
a PKCS #11 token                                   ``hsm:[ID][?label=TOKEN][&pin-source=FILE]``
AWS KMS                                            ``awskms:KEY`` (id, ARN or alias)
Google Cloud KMS                                   ``gcpkms:projects/…/cryptoKeyVersions/N``
Azure Key Vault                                    ``azurekms://VAULT.vault.azure.net/keys/KEY``
=================================================  ============================================

Keys that are not in a file are reached by securesystemslib, each kind through an extra of its own.
Vault (``hv:``) is known and refused: there, that library signs with Ed25519 only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import Statement
from registry.core.keys import PublicKey
from registry.errors import MalformedError, Reason
from registry.signing.file import StatementSigner

SERVICES: Final = ("hsm", "awskms", "gcpkms", "azurekms")
"""URI schemes of keys that are not in files; each is also the name of the extra that it needs."""

AskSecret = Callable[[str], str]
"""Asks the user for the secret of this name, such as ``pin``."""


class Signer(Protocol):
    """Signs statements with one P-256 key, wherever that key is.

    A signature that leaves a signer verifies under ``public_key`` and is strict DER: a key service
    that errs or lies is noticed here, not by the registry.
    """

    @property
    def public_key(self) -> PublicKey:
        """The public half of the key."""

    def sign(self, statement: Statement[Any]) -> Envelope:
        """Sign a statement into an envelope.

        Raises:
            UnavailableError: ``KEY_SERVICE`` if the key cannot be reached or used.
            MalformedError, VerificationError: The signature is not one that would be accepted.
        """


def is_uri(where: str) -> bool:
    """Whether ``where`` names a key by URI rather than by a path."""
    scheme, colon, _ = where.partition(":")
    return bool(colon) and scheme in {"file", "hv", *SERVICES}


def load(where: str, ask: AskSecret) -> Signer:
    """The key in the file, token or service that ``where`` names.

    Raises:
        NotFoundError: ``MALFORMED_KEY`` if there is no such file.
        MalformedError: ``MALFORMED_KEY``, ``KEY_ALGORITHM``, or ``BAD_SETTING`` for the URI.
        UnavailableError: ``MISSING_EXTRA`` or ``KEY_SERVICE``.
    """
    scheme, _, rest = where.partition(":")
    if not is_uri(where):
        return StatementSigner.load(Path(where))
    if scheme == "file":
        return StatementSigner.load(Path(rest))
    if scheme == "hv":
        raise MalformedError(
            Reason.KEY_ALGORITHM,
            "keys in Vault cannot sign statements: they are reached with Ed25519 only",
            where=where,
            expected="a P-256 key in a file, or behind "
            + ", ".join(f"{name}:" for name in SERVICES),
        )
    # What reaches these keys takes long to load, and few have one.
    from registry.signing import key_service  # noqa: PLC0415

    return key_service.load(where, ask)
