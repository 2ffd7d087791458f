"""Keys that never leave their token or service: PKCS #11, and the key services of three clouds.

securesystemslib reaches them; each kind needs an extra of its own. This room is entered only for a
key that is there: the clouds' own libraries take a fifth of a second to load.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
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

MAX_PIN_CHARACTERS = 256
"""Characters of a file with the PIN of a token."""


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


def load(where: str, ask: Callable[[str], str]) -> RemoteSigner:
    """The key that a URI names; ``ask`` is asked for secrets by name, such as ``pin``.

    Raises:
        MalformedError: ``MALFORMED_KEY``, ``KEY_ALGORITHM``, or ``BAD_SETTING`` for the URI.
        UnavailableError: ``MISSING_EXTRA`` or ``KEY_SERVICE``.
    """
    scheme, _, rest = where.partition(":")
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
            hint=f"run: pip install 'provreg[{scheme}]'",
        ) from error
    except Exception as error:
        raise _service_failed(where, error) from error
    return RemoteSigner(where, service, key)


def _import(
    scheme: str, rest: str, where: str, secrets: Callable[[str], str]
) -> tuple[str, SSlibKey]:
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


def _secrets(where: str, ask: Callable[[str], str]) -> Callable[[str], str]:
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
