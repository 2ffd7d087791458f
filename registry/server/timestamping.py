"""The registry's own timestamp authority: its keys, made on first use, and its public chain.

Beside the log's keys stand ``tsa-root.pem`` and ``tsa.pem``, private, and ``tsa-chain.pem``, which
whoever shall believe the authority pins. Every step leaves a complete file or none, and is skipped
if its file is there.
"""

from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from registry.core.archive.authority import MAX_PEM_BYTES, Authority
from registry.errors import MalformedError, Reason
from registry.signing.file import load_p256
from registry.signing.timestamping import TimestampSigner, issue_chain, private_pem
from registry.storage.durable import make_folder, write_new

ROOT_KEY_FILE: Final = "tsa-root.pem"
KEY_FILE: Final = "tsa.pem"
CHAIN_FILE: Final = "tsa-chain.pem"


def open_signer(keys: Path, name: str, policy: str, at: datetime) -> TimestampSigner:
    """The authority whose files are in the folder ``keys``, made for ``name`` if there are none.

    Raises:
        MalformedError: What is wrong with a file, or ``BAD_SETTING`` with the policy.
    """
    make_folder(keys)
    root, key = (_key(keys / file) for file in (ROOT_KEY_FILE, KEY_FILE))
    chain = keys / CHAIN_FILE
    if not chain.exists():
        write_new(chain, issue_chain(name, root, key, at).pem, 0o644)
    return TimestampSigner(key, read_chain(chain), policy)


def read_chain(path: Path) -> Authority:
    """A chain of certificates from a PEM file, the authority's own first.

    Raises:
        MalformedError: ``TIMESTAMP_AUTHORITY``, or ``BAD_SETTING`` if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise MalformedError(
            Reason.BAD_SETTING, "this file cannot be read", where=str(path), actual=str(error)
        ) from error
    return Authority.parse_pem(data)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        write_new(path, private_pem(ec.generate_private_key(ec.SECP256R1())))
    return load_p256(path)
