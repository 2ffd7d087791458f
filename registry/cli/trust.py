"""The log keys that this user trusts: one line for each server, ``<server> <verifier key>``."""

import os
from pathlib import Path

from registry.core.tlog.note import VerifierKey
from registry.errors import MalformedError, Reason

MAX_KNOWN_BYTES = 1024 * 1024
"""Bytes of the file of known logs."""

_FILE = "known_logs"


def parse_log_key(given: str) -> VerifierKey:
    """Read a verifier key, or the file named after an ``@``.

    Raises:
        MalformedError: ``BAD_SETTING`` if the file cannot be read, or what is wrong with the key.
    """
    if not given.startswith("@"):
        return VerifierKey.parse(given)
    path = Path(given[1:])
    try:
        text = path.read_text(encoding="utf-8")[:4096]
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this file of a log's key cannot be read",
            where=str(path),
            actual=str(error),
        ) from error
    return VerifierKey.parse(text.strip())


def known_logs(folder: Path) -> dict[str, VerifierKey]:
    """The key of each server's log that was met before.

    Raises:
        MalformedError: ``BAD_SETTING`` if a line cannot be understood.
    """
    path = folder / _FILE
    if not path.exists():
        return {}
    known = {}
    for number, line in enumerate(path.read_text(encoding="utf-8")[:MAX_KNOWN_BYTES].split("\n"), 1):
        server, space, key = line.partition(" ")
        if not line:
            continue
        if not space:
            raise MalformedError(
                Reason.BAD_SETTING,
                "a line of the file of known logs is damaged",
                where=f"{path}, line {number}",
                expected="<server> <verifier key>",
                hint="mend or remove the line",
            )
        known[server] = VerifierKey.parse(key)
    return known


def known_origin(folder: Path, origin: str) -> VerifierKey | None:
    """The known key of the log with this origin."""
    for key in known_logs(folder).values():
        if key.name == origin:
            return key
    return None


def remember(folder: Path, server: str, key: VerifierKey) -> Path:
    """Keep the key of a server's log; the file that it is kept in."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / _FILE
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{server} {key}\n")
        file.flush()
        os.fsync(file.fileno())
    return path
