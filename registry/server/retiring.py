"""Retires a key of the registry's own authorities; the next start makes a new one.

What its clients pinned moves to the folder ``retired`` beside the keys, with the end of its window
in its name; ``provreg log trust-config`` goes on naming it until then. The private half is erased.
The log's own key is not among them: it ends with its log, by ``provreg log freeze``.

==========================  ======================================================================
dies                        afterwards
==========================  ======================================================================
before the key is erased    the old key goes on; a trust config takes no notice of the copy
before its pins are gone    no start, and the refusal says to retire it again
after that                  the next start makes a new key
==========================  ======================================================================
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from registry.errors import NotFoundError, Reason
from registry.server import identity, timestamping
from registry.server.folder import DataFolder
from registry.signing.authority import CERTIFICATE_LIFETIME
from registry.signing.retired import FOLDER, retired_name
from registry.storage.durable import make_folder, sync_folder, write_new


@dataclass(frozen=True, slots=True)
class Kind:
    """The files of one authority.

    Attributes:
        public: What its clients pin.
        private: Its keys.
        lasts: How long what it issued last may still be used.
    """

    public: str
    private: tuple[str, ...]
    lasts: timedelta


KINDS: Final = {
    "ca": Kind(identity.CA_CHAIN_FILE, (identity.CA_KEY_FILE,), CERTIFICATE_LIFETIME),
    "ct": Kind(identity.CT_PUBLIC_FILE, (identity.CT_KEY_FILE,), CERTIFICATE_LIFETIME),
    "tsa": Kind(
        timestamping.CHAIN_FILE,
        (timestamping.KEY_FILE, timestamping.ROOT_KEY_FILE),
        timedelta(0),
    ),
}


def retire(data: Path, kind: str, at: datetime) -> Path:
    """Retire the key of an authority of a stopped registry; where its public half is now.

    Raises:
        UnavailableError: ``LOG_IN_USE`` while a server runs.
        NotFoundError: ``BAD_SETTING`` if there is no such authority.
    """
    files = KINDS[kind]
    with DataFolder(data) as folder:
        keys = folder.path / "keys"
        public = keys / files.public
        if not public.exists():
            raise NotFoundError(
                Reason.BAD_SETTING,
                "this registry has no such authority",
                where=str(public),
                hint=f"one is made by: provreg serve --{'tsa' if kind == 'tsa' else 'ca'}",
            )
        kept = keys / FOLDER
        make_folder(kept)
        pinned = public.read_bytes()
        end = datetime.fromtimestamp(math.ceil((at + files.lasts).timestamp()), UTC)
        target = kept / retired_name(files.public, end)
        if not target.exists():
            write_new(target, pinned, 0o644)
        for older in kept.glob(f"{files.public}.*"):
            # Of an attempt that died: until now it was in use.
            if older != target and older.read_bytes() == pinned:
                older.unlink()
        # First of all the private half: where the public one stands without it, nothing starts.
        for name in files.private:
            (keys / name).unlink(missing_ok=True)
        sync_folder(keys)
        public.unlink()
        sync_folder(keys)
        return target
