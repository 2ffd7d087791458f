"""Timestamps of the registry: the files of its own authority, and the others whom it asks.

Beside the log's keys stand ``tsa-root.pem`` and ``tsa.pem``, private, and ``tsa-chain.pem``, which
whoever shall believe the authority pins. Every step leaves a complete file or none, and is skipped
if its file is there.
"""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from registry.config import NO_HTTP, ServerSettings
from registry.errors import MalformedError, Reason
from registry.remote.http import HTTPClient
from registry.remote.timestamp import RemoteAuthority
from registry.server.identity import check_kept
from registry.services.sequencing import Sequencer
from registry.services.timestamps import Timestamps
from registry.signing.file import load_p256
from registry.signing.timestamping import (
    TimestampSigner,
    issue_chain,
    private_pem,
    read_chain,
)
from registry.storage.durable import make_folder, write_new
from registry.storage.sql.engine import Database

ROOT_KEY_FILE: Final = "tsa-root.pem"
KEY_FILE: Final = "tsa.pem"
CHAIN_FILE: Final = "tsa-chain.pem"


def open_signer(keys: Path, name: str, policy: str, at: datetime) -> TimestampSigner:
    """The authority whose files are in the folder ``keys``, made for ``name`` if there are none.

    Raises:
        NotFoundError: ``KEY_LOST`` if what clients pinned is there, and its key is not.
        MalformedError: What is wrong with a file, or ``BAD_SETTING`` with the policy.
    """
    make_folder(keys)
    chain = keys / CHAIN_FILE
    if not chain.exists():
        root, key = (_key(keys / file) for file in (ROOT_KEY_FILE, KEY_FILE))
        write_new(chain, issue_chain(name, root, key, at).pem, 0o644)
    check_kept(keys / KEY_FILE, "tsa")
    return TimestampSigner(load_p256(keys / KEY_FILE), read_chain(chain), policy)


def open_stamping(
    settings: ServerSettings, keys: Path, name: str, at: datetime
) -> TimestampSigner | None:
    """As :func:`open_signer`, if the settings ask for an authority of our own; None if not.

    Raises:
        MalformedError: ``BAD_SETTING``, or what is wrong with a file.
    """
    if not settings.tsa:
        return None
    if settings.http == NO_HTTP:
        raise MalformedError(
            Reason.BAD_SETTING,
            "timestamps are answered over HTTP, which is off",
            where="--tsa",
            hint="say where HTTP is answered: --http HOST:PORT",
        )
    return open_signer(keys, name, settings.tsa_policy, at)


def open_timestamps(
    settings: ServerSettings,
    database: Database,
    sequencer: Sequencer,
    now: Callable[[], datetime],
    resources: ExitStack,
) -> Timestamps | None:
    """Begin to have the log stamped, until ``resources`` end; None if nobody is to be asked.

    Raises:
        MalformedError: ``BAD_SETTING`` or ``TIMESTAMP_AUTHORITY``.
    """
    if not settings.timestamp_authorities:
        if settings.timestamp_ca_file is not None:
            raise MalformedError(
                Reason.BAD_SETTING,
                "there are no timestamp authorities to be asked",
                where="--timestamp-ca-file",
                hint="say whom to ask: --timestamp-authority URL=FILE",
            )
        return None
    client = resources.enter_context(HTTPClient(ca_file=settings.timestamp_ca_file))
    remotes = [
        RemoteAuthority(each.url, read_chain(each.chain), client, each.policy)
        for each in settings.timestamp_authorities
    ]
    timestamps = Timestamps(database, sequencer, remotes, settings.timestamp_interval, now)
    resources.callback(timestamps.close)
    return timestamps


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        write_new(path, private_pem(ec.generate_private_key(ec.SECP256R1())))
    return load_p256(path)
