"""Watching what a model server reports: once before the first call, and again while it serves.

What it says is a claim; that it said it, and when it began to say something else, is in the
journal. Between two questions a change stays unseen. A report of weights that no file of the
version has is no claim of another kind: the wrong model is loaded, and no call goes on until that
ends.

==============================  =================================================================
the model server                afterwards
==============================  =================================================================
says the same                   nothing new is written down
says something else             calls from then on are recorded with that
does not answer, or oddly       calls from then on are recorded without any report; health is red
says that it has other weights  no call is forwarded; health is red
==============================  =================================================================
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from registry.core.records.inference import Report
from registry.errors import Reason, RegistryError, UnavailableError
from registry.shim.release import PinnedRelease
from registry.shim.reports.wanted import Reader

PAUSE_SECONDS: Final = 30.0
"""Between two questions."""

STOP_SECONDS: Final = 6.0
"""How long the end of a question that is under way is waited for."""

Listener = Callable[[Report | None], None]
"""Told of every report that is another than the one before; None while there is none."""

logger = logging.getLogger(__name__)


class ReportWatch:
    """Asks one model server, in the background. For any number of threads."""

    def __init__(
        self, read: Reader, release: PinnedRelease, *, pause: float = PAUSE_SECONDS
    ) -> None:
        """Ask nothing yet.

        Args:
            read: Asks the model server.
            release: What is served.
            pause: Seconds between two questions.
        """
        self._read = read
        self._files = {file.digest.sha256 for file in release.manifest.files}
        self._pause = pause
        self._changed = threading.Condition()
        self._stopping = False
        self._newest: Report | None = None
        self._failed: RegistryError | None = None
        self._wrong = ""
        self._listener: Listener = lambda _: None
        self._thread: threading.Thread | None = None

    @property
    def newest(self) -> Report | None:
        """What was reported last; None while nothing is."""
        with self._changed:
            return self._newest

    def stop(self) -> None:
        """Ask no more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def follow(self, listener: Listener) -> None:
        """Go on asking in the background, and have a listener told of every change."""
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Ask once, and tell of it if it is something else than before."""
        found: Report | None = None
        failed: RegistryError | None = None
        try:
            found = self._read()
        except RegistryError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - a thread that dies silently sees nothing
            failed = RegistryError(Reason.INTERNAL, "asking failed", actual=repr(error)[:400])
        with self._changed:
            before, self._newest = self._newest, found
            self._failed = failed
            if found is not None:
                other = [each for each in found.weights if each not in self._files]
                self._wrong = ", ".join(f"sha256:{each}" for each in other[:3])
        if found == before:
            return
        try:
            self._listener(found)
        except RegistryError as error:
            logger.warning("what the model server reports cannot be written down: %s", error)

    def check(self) -> None:
        """Let a call go on unless the model server says that it has other weights.

        Raises:
            UnavailableError: ``WRONG_MODEL_FILE``.
        """
        wrong = self._wrong
        if wrong:
            raise UnavailableError(
                Reason.WRONG_MODEL_FILE,
                "the model server says that it serves weights that are not of this version",
                expected="files of the version",
                actual=wrong,
                hint="load the version's own files, or name the version that is loaded: --model",
            )

    def told(self) -> None:
        """Find out whether there is a report, and of the right weights.

        Raises:
            UnavailableError: ``WRONG_MODEL_FILE`` or ``UNREPORTED``.
        """
        self.check()
        failed = self._failed
        if failed is not None:
            raise UnavailableError(
                Reason.UNREPORTED,
                "the model server does not report what it serves",
                where=failed.where,
                actual=f"{failed.reason}: {failed.what}",
                hint=failed.hint,
            ) from failed

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, self._pause):
                    return
            self.ask()
