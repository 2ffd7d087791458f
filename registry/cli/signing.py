"""What commands that sign have in common: which key, and whom to ask for a certificate."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from registry.client.certified import MAX_CONFIG_BYTES, CertifiedSigner, TrustConfig
from registry.client.publish import Published
from registry.client.registry import RegistryClient
from registry.config import identity_token
from registry.errors import Reason, UnauthenticatedError
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
    client: RegistryClient, config: TrustConfig, token: str | None, clock: Callable[[], datetime]
) -> Iterator[Signer]:
    """A new key that the registry's own authority certifies for the holder of a bearer token.

    Raises:
        UnauthenticatedError: ``NO_TOKEN``.
        VerificationError: ``WRONG_LOG`` if the trust config is another registry's: it would be
            told the token.
    """
    config.require_log(client.log_key)
    if token is None:
        raise UnauthenticatedError(
            Reason.NO_TOKEN,
            "certificates are for holders of a token",
            hint="set PROVREG_TOKEN, or use --token-file",
        )
    with HTTPClient() as asking:
        yield CertifiedSigner(asking, config, token, clock)


def _ask(name: str) -> str:
    answer: str = click.prompt(name, hide_input=True, err=True)
    return answer


def sigstore_given(
    wanted: bool,  # noqa: FBT001 - as click gives it
    key: str | None,
    trust_config: Path | None,
    token_file: Path | None,
) -> tuple[TrustConfig | None, str | None]:
    """The trust config and the identity token, if the options ask for a certified signature."""
    if not wanted:
        if trust_config is not None or token_file is not None:
            raise click.UsageError("--trust-config and --identity-token go with --sigstore")
        if key is None:
            raise click.UsageError("give --key, or --sigstore")
        return None, None
    if trust_config is None:
        raise click.UsageError("--sigstore needs --trust-config")
    return read_trust_config(trust_config), identity_token(token_file)


def required(trust_config: TrustConfig | None) -> TrustConfig:
    """The trust config, which ``--sigstore`` makes sure of."""
    if trust_config is None:
        raise click.UsageError("give --key, or --sigstore")
    return trust_config


def make_bundle(
    published: Published, trust_config: TrustConfig, token: str, path: Path
) -> dict[str, str]:
    """Make a Sigstore bundle of the release's statement, in a new file."""
    # The library takes half a second to load, which no other command shall wait for.
    from registry.client import sigstore_bundle  # noqa: PLC0415

    made, who = sigstore_bundle.sign(published.envelope.payload, trust_config, token)
    write_new(path, made.to_bytes(), 0o644)
    return {"bundle": str(path), "identity": str(who)}
