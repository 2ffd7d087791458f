"""What evidence is about, as options of the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from registry.core import digest
from registry.core.encoding import hex_bytes
from registry.core.evidence.binding import NONCE_BYTES, Binding
from registry.core.keys import MAX_KEY_BYTES, PublicKey

Command = Callable[..., Any]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def about_options(command: Command) -> Command:
    """``--session-key``, ``--model``, ``--gpu`` and ``--context``."""
    for option in (
        click.option(
            "--context", metavar="HEX", help="Digest of the batch or boot that it is for."
        ),
        click.option("--gpu", metavar="HEX", help="Evidence id of the GPUs."),
        click.option("--model", metavar="sha256:HEX", help="Manifest digest of the model version."),
        click.option(
            "--session-key", type=_FILE, help="The public key that will sign, as PEM or DER."
        ),
    ):
        command = option(command)
    return command


def read_key(path: Path | None) -> bytes | None:
    """The DER of the public key in a file; None without one.

    Raises:
        MalformedError: What is wrong with it.
    """
    if path is None:
        return None
    with path.open("rb") as file:
        return PublicKey.parse(file.read(MAX_KEY_BYTES + 1)).der


def binding_of(
    nonce: str | None,
    session_key: Path | None,
    model: str | None,
    gpu: str | None,
    context: str | None,
) -> Binding:
    """What these options say.

    Raises:
        MalformedError: What is wrong with one of them.
    """

    def raw(text: str | None) -> bytes | None:
        return None if text is None else hex_bytes(text, NONCE_BYTES)

    return Binding(
        nonce=raw(nonce),
        session_key=read_key(session_key),
        model=None if model is None else digest.parse(model),
        gpu=raw(gpu),
        context=raw(context),
    )
