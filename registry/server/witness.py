"""Composition root of a witness: folder → key and memory → HTTP; and its clock.

The folder holds ``witness.name``, ``witness.pem``, ``witness.vkey`` and what was cosigned last;
with a post-quantum key also ``witness-mldsa.pem`` and ``witness-mldsa.vkey``.
Each is made on first start, whole or not at all; a start that dies half-way is gone on with.
"""

import asyncio
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from registry.config import WitnessSettings
from registry.core.tlog.policy import NONE
from registry.errors import ConflictError, MalformedError, Reason
from registry.server.cosigning import read_policy
from registry.server.http.face import Face
from registry.server.http.routing import Routes
from registry.server.http.witness import Witnessing
from registry.services.witnessing import Witness
from registry.signing.cosigner import Cosigner
from registry.storage.durable import FolderLock, make_folder, sync_folder, write_new
from registry.storage.sql.engine import Database

DATABASE_FILE = "witness.sqlite3"
"""What was cosigned last, inside the folder."""

STOP_GRACE_SECONDS = 5
"""How long running requests may go on after the witness was told to stop."""


def now() -> datetime:
    """The witness's clock."""
    return datetime.now(UTC)


def load_cosigners(folder: Path, name: str | None, *, post_quantum: bool) -> list[Cosigner]:
    """The keys of the witness in ``folder``, made if this is a new one.

    A post-quantum key that was made once signs for good.

    Raises:
        ConflictError: ``BAD_SETTING`` if the witness has another name than asked for.
        MalformedError: What is wrong with the name or a key file.
    """
    name_file = folder / "witness.name"
    if not name_file.exists():
        chosen = name or f"witness-{secrets.token_hex(4)}.provreg.localhost"
        # Refuses a name that is none, before it is written down.
        Cosigner.generate(chosen)
        write_new(name_file, f"{chosen}\n".encode())
    known = name_file.read_text(encoding="utf-8").strip()
    if name not in (None, known):
        raise ConflictError(
            Reason.BAD_SETTING,
            "a witness never changes its name",
            where="--name",
            expected=known,
            actual=name or "",
        )
    cosigners = [_load(folder, "witness", known, post_quantum=False)]
    if post_quantum or (folder / "witness-mldsa.pem").exists():
        cosigners.append(_load(folder, "witness-mldsa", known, post_quantum=True))
    return cosigners


def _load(folder: Path, stem: str, name: str, *, post_quantum: bool) -> Cosigner:
    key_file, vkey_file = folder / f"{stem}.pem", folder / f"{stem}.vkey"
    if not key_file.exists():
        # Under another name first: a key that is half written must not be taken for one.
        draft = folder / f".{stem}.pem.new"
        draft.unlink(missing_ok=True)
        Cosigner.generate(name, post_quantum=post_quantum).save(draft)
        draft.rename(key_file)
        sync_folder(folder)
    cosigner = Cosigner.load(name, key_file)
    if not vkey_file.exists():
        write_new(vkey_file, f"{cosigner.key}\n".encode(), 0o644)
    return cosigner


def run(settings: WitnessSettings) -> None:
    """Witness until told to stop (SIGTERM, SIGINT).

    Raises:
        RegistryError: Whatever keeps the witness from starting.
    """
    logs = read_policy(settings.logs, quorum=NONE)
    if not logs.logs:
        raise MalformedError(
            Reason.BAD_SETTING,
            "no log is named",
            where=str(settings.logs),
            expected="lines such as: log <vkey>",
        )
    make_folder(settings.data)
    with ExitStack() as resources:
        resources.enter_context(FolderLock(settings.data / "lock"))
        cosigners = load_cosigners(settings.data, settings.name, post_quantum=settings.post_quantum)
        database = Database(f"sqlite:///{(settings.data / DATABASE_FILE).absolute()}")
        resources.callback(database.close)
        witness = Witness(database, logs, cosigners, now)
        asyncio.run(_serve(settings, witness, cosigners))


async def _serve(
    settings: WitnessSettings, witness: Witness, cosigners: Sequence[Cosigner]
) -> None:
    face = Face(
        Routes(Witnessing(witness).routes()),
        settings.listen,
        cert=settings.tls_cert,
        key=settings.tls_key,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    url = await face.start()
    lines = [f"provreg witness is listening on {url}", f"  data   {settings.data}"]
    lines.append("For the policy of a log and of those who verify it:")
    for index, cosigner in enumerate(cosigners):
        label = cosigner.key.name + ("-mldsa" if index else "")
        lines.append(f"  witness {label} {cosigner.key} {url}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    await stop.wait()
    await face.stop(STOP_GRACE_SECONDS)
