"""Calls that wait long for what their callers asked for, one small file each.

The journal would tell of them as well, but it cannot be kept for a day for the sake of one call.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from registry.core import encoding
from registry.errors import DamagedError, MalformedError, Reason
from registry.shim.durable import make_folder, replace_file
from registry.shim.recorder.sequence import Awaited

AWAITED: Final = "awaited"
"""The name of that folder in a shim's folder."""

_NAME: Final = re.compile(r"[0-9]{20}\.json")


class AwaitedFolder:
    """The files in one folder, durable when a method returns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, awaited: Awaited) -> None:
        """Keep a call."""
        make_folder(self._folder)
        replace_file(self._path(awaited.intent_n), encoding.write_json(awaited))

    def remove(self, intent_n: int) -> None:
        """Keep it no longer; after a crash it may be there again."""
        self._path(intent_n).unlink(missing_ok=True)

    def read(self) -> Iterator[Awaited]:
        """All calls that are kept.

        Raises:
            DamagedError: ``JOURNAL_DAMAGED``.
        """
        paths = self._folder.iterdir() if self._folder.exists() else ()
        for path in sorted(path for path in paths if _NAME.fullmatch(path.name)):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                # Whoever only reads may meet one that waits no more.
                continue
            try:
                awaited = encoding.read_json(data, Awaited, what="call that waits")
            except MalformedError as error:
                raise DamagedError(
                    Reason.JOURNAL_DAMAGED,
                    "this is not a call that waits for its level",
                    where=str(path),
                    actual=str(error),
                    hint="restore the disk, or remove the file: the call is recorded all the same",
                ) from error
            yield awaited

    def _path(self, intent_n: int) -> Path:
        return self._folder / f"{intent_n:020}.json"
