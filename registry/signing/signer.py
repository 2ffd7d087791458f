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
from urllib.parse import parse_qsl, urlsplit

from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import (
    AWSSigner,
    AzureSigner,
    GCPSigner,
    HSMSigner,
    SSlibKey,
)
from securesystemslib.signer import Signer as KeyService

from registry.core import encoding
from registry.core.attestation import dsse
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import Statement
from registry.core.keys import PublicKey
from registry.errors import (
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.signing.file import StatementSigner

MAX_PIN_CHARACTERS = 256
"""Characters of a file with the PIN of a token."""

EXTRAS: Final = {
    "hsm": "hsm",
    "awskms": "awskms",
    "gcpkms": "gcpkms",
    "azurekms": "azurekms",
}
"""URI scheme → the extra of provreg that brings what it needs."""

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


class RemoteSigner:
    """A key that never leaves its token or service."""

    def __init__(self, uri: str, service: KeyService, public_key: PublicKey) -> None:
        self._uri = uri
        self._service = service
        self.public_key = public_key

    def sign(self, statement: Statement[Any]) -> Envelope:
        """Have a statement signed, and check what comes back."""
        payload = encoding.write_json(statement)
        signed = dsse.pae(dsse.PAYLOAD_TYPE, payload)
        try:
            signature = bytes.fromhex(self._service.sign(signed).signature)
        except RegistryError:
            raise
        except Exception as error:
            raise _service_failed(self._uri, error) from error
        self.public_key.verify(signature, signed)
        return Envelope(payload, signature, self.public_key.key_id)


def is_uri(where: str) -> bool:
    """Whether ``where`` names a key by URI rather than by a path."""
    scheme, colon, _ = where.partition(":")
    return bool(colon) and scheme in {"file", "hv", *EXTRAS}


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
            expected="a P-256 key in a file, or behind " + ", ".join(f"{name}:" for name in EXTRAS),
        )
    secrets = _secrets(where, ask)
    try:
        uri, public = _import(scheme, rest, where, secrets)
        key = PublicKey.parse(str(public.keyval["public"]).encode())
        service = KeyService.from_priv_key_uri(uri, public, secrets)
    except RegistryError:
        raise
    except UnsupportedLibraryError as error:
        raise UnavailableError(
            Reason.MISSING_EXTRA,
            "what is needed to reach this key is not installed",
            where=where,
            actual=str(error),
            hint=f"run: pip install 'provreg[{EXTRAS[scheme]}]'",
        ) from error
    except Exception as error:
        raise _service_failed(where, error) from error
    return RemoteSigner(where, service, key)


def _import(scheme: str, rest: str, where: str, secrets: AskSecret) -> tuple[str, SSlibKey]:
    """The URI as the library writes it, and the public half of the key."""
    if scheme == "awskms":
        return AWSSigner.import_(rest)
    if scheme == "gcpkms":
        return GCPSigner.import_(rest)
    parts = urlsplit(where)
    if scheme == "azurekms":
        host, path = parts.netloc, parts.path.split("/")
        if not host or path[:2] != ["", "keys"] or len(path) != 3:  # noqa: PLR2004 - /keys/NAME
            raise _bad_uri(where, "azurekms://VAULT.vault.azure.net/keys/KEY")
        return AzureSigner.import_(host.partition(".")[0], path[2])
    label = dict(parse_qsl(parts.query)).get("label")
    if parts.path and not (parts.path.isascii() and parts.path.isdigit()):
        raise _bad_uri(where, "hsm:[ID][?label=TOKEN][&pin-source=FILE], with a decimal ID")
    number = int(parts.path[:9]) if parts.path else None
    return HSMSigner.import_(number, label, secrets)


def _secrets(where: str, ask: AskSecret) -> AskSecret:
    """Answers with what is in the file that the URI names (RFC 7512 §2.4), or asks the user."""
    source = dict(parse_qsl(urlsplit(where).query)).get("pin-source", "")
    if not source:
        return ask
    path = Path(source.removeprefix("file:"))

    def read(_name: str) -> str:
        try:
            with path.open(encoding="ascii") as file:
                return file.read(MAX_PIN_CHARACTERS).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise MalformedError(
                Reason.BAD_SETTING,
                "the file with the PIN cannot be read",
                where=str(path),
                actual=type(error).__name__,
            ) from error

    return read


def _bad_uri(where: str, expected: str) -> MalformedError:
    return MalformedError(
        Reason.BAD_SETTING, "this is not the URI of a key", where=where, expected=expected
    )


def _service_failed(where: str, error: Exception) -> UnavailableError:
    # Neither PINs nor credentials stand in the texts of these errors.
    return UnavailableError(
        Reason.KEY_SERVICE,
        "the token or service that holds the key did not do what it was asked",
        where=where,
        actual=f"{type(error).__name__}: {error}"[:300],
        hint="is it there, and may you use this key?",
    )
