"""Heartbeats: the shim was alive, whether or not anybody called it."""

import threading
import time

from registry.errors import UnavailableError
from registry.shim.recorder.sequence import Sequence
from registry.shim.recorder.unrecorded import Unrecorded


class Heartbeat:
    """A thread that writes a heartbeat record every so often, until it is stopped.

    Each tells of the calls that went out since the one before and were never written down.
    """

    def __init__(self, sequence: Sequence, seconds: float, unrecorded: Unrecorded) -> None:
        self._sequence = sequence
        self._seconds = seconds
        self._unrecorded = unrecorded
        self._last = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def overdue(self) -> float:
        """For how many seconds a heartbeat should have been durable and is not; 0 if all is well.

        A disk that hangs shows here, and nowhere else.
        """
        return max(0.0, time.monotonic() - self._last - self._seconds)

    def stop(self) -> None:
        """Stop; no heartbeat is written after this returns."""
        self._stopping.set()
        self._thread.join()
        if self._unrecorded.count:
            # The next start would tell, but who knows when that is.
            self._beat()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            if not self._beat():
                return

    def _beat(self) -> bool:
        """Write one; False if the journal is latched: nothing follows in it, which says enough."""
        missed = self._unrecorded.count
        try:
            self._sequence.beat(missed)
        except UnavailableError:
            return False
        self._unrecorded.told(missed)
        self._last = time.monotonic()
        return True
