"""The log keys that this user trusts: one line for each server, ``<server> <verifier key>``."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.core.tlog.note import VerifierKey
from registry.errors import MalformedError, Reason, RegistryError

FILE_NAME: Final = "known_logs"
"""The file in the configuration folder."""

MAX_KNOWN_BYTES: Final = 1024 * 1024
"""Bytes of the file of known logs."""

MAX_KEY_FILE_BYTES: Final = 4096
"""Bytes of a file that holds one verifier key."""


@dataclass(frozen=True, slots=True)
class KnownLogs:
    """What is in the file: the key of each server's log that was met before."""

    file: Path
    keys: dict[str, VerifierKey]

    def of_origin(self, origin: str) -> VerifierKey | None:
        """The known key of the log with this origin."""
        return next((key for key in self.keys.values() if key.name == origin), None)


def parse_log_key(given: str) -> VerifierKey:
    """Read a verifier key, or the file named after an ``@``.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    where = "--log-key" if not given.startswith("@") else given[1:]
    try:
        text = given
        if given.startswith("@"):
            text = _read(Path(given[1:]), MAX_KEY_FILE_BYTES).strip()
        return VerifierKey.parse(text)
    except RegistryError as error:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this is not the key of a log",
            where=where,
            expected="<name>+<key id>+<base64>, or @FILE; serve prints it",
            actual=str(error),
        ) from error


def known_logs(folder: Path) -> KnownLogs:
    """The keys that are known.

    Raises:
        MalformedError: ``BAD_SETTING`` if a line cannot be understood.
    """
    path = folder / FILE_NAME
    keys: dict[str, VerifierKey] = {}
    lines = _read(path, MAX_KNOWN_BYTES).split("\n") if path.exists() else []
    for number, line in enumerate(lines, 1):
        server, _, key = line.partition(" ")
        if not line:
            continue
        try:
            # The first line counts: nobody replaces a key by adding to the file.
            keys.setdefault(server, VerifierKey.parse(key))
        except RegistryError as error:
            raise MalformedError(
                Reason.BAD_SETTING,
                "a line of the file of known logs is damaged",
                where=f"{path}, line {number}",
                expected="<server> <verifier key>",
                actual=str(error),
                hint="mend or remove the line",
            ) from error
    return KnownLogs(path, keys)


def remember(file: Path, server: str, key: VerifierKey) -> None:
    """Keep the key of a server's log."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as known:
        known.write(f"{server} {key}\n")
        known.flush()
        os.fsync(known.fileno())


def _read(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            return file.read(limit).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedError(
            Reason.BAD_SETTING, "this file cannot be read", where=str(path), actual=str(error)
        ) from error
