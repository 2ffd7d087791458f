"""What Linux does in ``/sys/kernel/config/tsm/report``, in an ordinary folder, by a thread.

The kernel reacts to what is written: each write adds one to ``generation``, and ``outblob`` is
signed anew when it is read after a write. An ordinary file tells nobody that it is read, so here
the device signs as soon as it sees the write; until then ``outblob`` is empty.
"""

import itertools
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

Sign = Callable[[bytes], bytes]
"""The 64 bytes → evidence."""

INBLOB_BYTES: Final = 64
"""Bytes that Linux takes."""

_PAUSE_SECONDS: Final = 0.001


class TSMFolder:
    """The folder, served while the block runs.

    Attributes:
        seen: What was written to ``inblob``.
        foreign_writes: How many reports somebody else writes to besides.
        silent: Whether the device never signs.
    """

    def __init__(
        self, path: Path, sign: Sign, *, provider: str = "sev_guest", auxblob: bytes = b""
    ) -> None:
        self.path = path
        self.provider = provider
        self.seen: list[bytes] = []
        self.privileges: list[str] = []
        self.foreign_writes = 0
        self.silent = False
        self._sign = sign
        self._auxblob = auxblob
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        path.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def make(self, report: Path) -> None:
        """``mkdir`` as configfs does it: the attributes are there at once."""
        report.mkdir()
        for name in ("inblob", "outblob", "privlevel"):
            (report / name).touch()
        (report / "auxblob").write_bytes(self._auxblob)
        (report / "provider").write_text(f"{self.provider}\n")
        (report / "generation").write_text("0\n")

    def remove(self, report: Path) -> None:
        """``rmdir`` as configfs does it: with all attributes."""
        shutil.rmtree(report)

    @property
    def reports(self) -> list[str]:
        """The reports that were made and not removed."""
        return sorted(item.name for item in self.path.iterdir())

    def _serve(self) -> None:
        known: dict[Path, int] = {}
        while not self._stop.wait(_PAUSE_SECONDS):
            for report in list(self.path.iterdir()):
                try:
                    self._react(report, known)
                except FileNotFoundError:
                    # Removed meanwhile.
                    known.pop(report, None)

    def _react(self, report: Path, known: dict[Path, int]) -> None:
        data = (report / "inblob").read_bytes()
        if report in known or len(data) != INBLOB_BYTES:
            return
        privilege = (report / "privlevel").read_text().strip()
        self.privileges += [privilege] if privilege else []
        self.seen.append(data)
        generation = 2 if privilege else 1
        if self.foreign_writes > 0:
            self.foreign_writes -= 1
            generation += 1
        known[report] = generation
        self._replace(report / "generation", f"{generation}\n".encode())
        if not self.silent:
            self._replace(report / "outblob", self._sign(data))

    def _replace(self, path: Path, data: bytes) -> None:
        # Whoever reads sees the old attribute or the new one, as with the kernel.
        draft = path.with_name(f".{path.name}-{next(_NUMBERS)}")
        draft.write_bytes(data)
        draft.replace(path)


_NUMBERS = itertools.count()
