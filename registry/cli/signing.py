"""What commands that sign have in common: which key, and whom to ask for a certificate."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from registry.client.certified import MAX_CONFIG_BYTES, CertifiedSigner, TrustConfig
from registry.client.registry import RegistryClient
from registry.config import ClientSettings, identity_token
from registry.errors import ConflictError, Reason, UnauthenticatedError
from registry.remote.http import HTTPClient
from registry.signing import signer
from registry.signing.signer import Signer
from registry.storage.durable import write_new

KEY_HELP: Final = (
    "Your private key: a file, or file:, hsm:, awskms:, gcpkms: or azurekms: and where it is."
)
"""What ``--key`` may be."""

key_option = click.option("--key", required=True, metavar="FILE|URI", help=KEY_HELP)
"""``--key``, on every command that signs."""


def load_signer(key: str) -> Signer:
    """The key that ``--key`` names; a PIN is asked for on the terminal.

    Raises:
        NotFoundError, MalformedError: What is wrong with the file or the URI.
        UnavailableError: ``MISSING_EXTRA`` or ``KEY_SERVICE``.
    """
    return signer.load(key, _ask)


def read_trust_config(path: Path) -> TrustConfig:
    """The client trust config in a file.

    Raises:
        LimitExceededError, MalformedError: What is wrong with it.
    """
    with path.open("rb") as file:
        return TrustConfig.parse(file.read(MAX_CONFIG_BYTES + 1))


@contextmanager
def certified_signer(
    client: RegistryClient,
    config: TrustConfig,
    settings: ClientSettings,
    clock: Callable[[], datetime],
) -> Iterator[Signer]:
    """A new key that the registry's own authority certifies for the holder of a bearer token.

    Raises:
        MalformedError: ``BAD_SETTING`` if the authorities of the settings cannot be read.
        UnauthenticatedError: ``NO_TOKEN``.
        VerificationError: ``WRONG_LOG`` if the trust config is another registry's: it would be
            told the token.
    """
    config.require_log(client.log_key)
    if settings.token is None:
        raise UnauthenticatedError(
            Reason.NO_TOKEN,
            "certificates are for holders of a token",
            hint="set PROVREG_TOKEN, or use --token-file",
        )
    with HTTPClient(ca_file=settings.ca_file) as asking:
        yield CertifiedSigner(asking, config, settings.token, clock)


def _ask(name: str) -> str:
    answer: str = click.prompt(name, hide_input=True, err=True)
    return answer


@dataclass(frozen=True, slots=True)
class SigstoreOptions:
    """What the options of a command say of certified signatures.

    Attributes:
        config: Whom to believe and to ask.
        token: An identity token; None for the registry's own certificates.
    """

    config: TrustConfig
    token: str | None

    @classmethod
    def read(
        cls,
        key: str | None,
        trust_config: Path | None,
        token_file: Path | None,
        *,
        wanted: bool,
    ) -> "SigstoreOptions | Signer":
        """Check that the options fit together; the key, if a key is to sign.

        Raises:
            LimitExceededError, MalformedError, NotFoundError: What is wrong with a file.
            UnavailableError: As :func:`load_signer`.
        """
        if not wanted and (trust_config is not None or token_file is not None):
            raise click.UsageError("--trust-config and --identity-token go with --sigstore")
        if key is not None and not wanted:
            return load_signer(key)
        if key is not None or not wanted:
            raise click.UsageError("give either --key or --sigstore")
        if trust_config is None:
            raise click.UsageError("--sigstore needs --trust-config")
        return cls(read_trust_config(trust_config), identity_token(token_file))


class BundleFile:
    """Signs into a Sigstore bundle, which is kept in a new file as well."""

    def __init__(self, config: TrustConfig, token: str, path: Path) -> None:
        """Make sure that the file can be made.

        Raises:
            ConflictError: ``TARGET_EXISTS``.
        """
        if path.exists():
            raise ConflictError(Reason.TARGET_EXISTS, "this file exists already", where=str(path))
        self._config = config
        self._token = token
        self._path = path
        self.identity = ""

    def __call__(self, payload: bytes) -> bytes:
        """Sign the bytes of a statement.

        Raises:
            RegistryError: As :func:`registry.client.sigstore_bundle.sign`.
        """
        # The library takes half a second to load, which no other command shall wait for.
        from registry.client import sigstore_bundle  # noqa: PLC0415

        made, who = sigstore_bundle.sign(payload, self._config, self._token)
        self.identity = str(who)
        data = made.to_bytes()
        # Before it is registered: if that fails, ``bundle register`` takes it from here.
        write_new(self._path, data, 0o644)
        return data
