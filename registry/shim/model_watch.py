"""Watching the files of a model while it serves: replaced, rewritten or gone, and no call goes on.

So are the files beside it that records name by a digest: adapters, tokenizer, template. Digests are
compared or made once, before the first call. From then on the file system is asked whether these
are still the same files: device, inode, size and both times of change. That costs two microseconds
a file, so it is asked for every call, but not more often than every 50 ms.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from registry.errors import Reason, UnavailableError
from registry.shim.release import PinnedRelease

PAUSE_SECONDS = 0.05
"""How long an answer of the file system is believed."""

_Seen = tuple[int, int, int, int, int]


class ModelWatch:
    """The files of a release in one folder, as they were when they were compared.

    Attributes:
        count: How many files of the release are watched.
    """

    def __init__(
        self,
        release: PinnedRelease,
        folder: Path | None,
        beside: Sequence[Path] = (),
        meter: Callable[[], float] = time.monotonic,
    ) -> None:
        """Compare every file with the release, and remember what it is.

        Args:
            release: What is served.
            folder: Where its files are; None if they are not on this host.
            beside: Other files to watch; whoever reads them reads them after this.
            meter: Tells seconds.

        Raises:
            VerificationError: ``WRONG_MODEL_FILE``: one differs.
            NotFoundError: ``WRONG_MODEL_FILE``: one is missing.
        """
        files = () if folder is None else [folder / file.path for file in release.manifest.files]
        self.count = len(files)
        self._paths = (*files, *beside)
        # Before the comparison: a change while it runs must show afterwards.
        self._seen = [_look(path) for path in self._paths]
        if folder is not None:
            release.verify_folder(folder)
        self._meter = meter
        self._asked = float("-inf")
        self._changed = ""

    def check(self) -> None:
        """Let a call go on only if all files are still those that were compared.

        Raises:
            UnavailableError: ``WRONG_MODEL_FILE``, from then on for ever.
        """
        now = self._meter()
        if not self._changed and now - self._asked >= PAUSE_SECONDS:
            self._asked = now
            for path, seen in zip(self._paths, self._seen, strict=True):
                if _look(path) != seen:
                    self._changed = str(path)
                    break
        if self._changed:
            raise UnavailableError(
                Reason.WRONG_MODEL_FILE,
                "a file of what is served changed meanwhile",
                where=self._changed,
                hint="put it back or fetch it again, then start model server and shim again",
            )


def _look(path: Path) -> _Seen | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
