"""The option ``--key`` of every command that signs, and the key that it names."""

from typing import Final

import click

from registry.signing import signer
from registry.signing.signer import Signer

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


def _ask(name: str) -> str:
    answer: str = click.prompt(name, hide_input=True, err=True)
    return answer
