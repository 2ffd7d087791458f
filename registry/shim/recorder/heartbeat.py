"""Heartbeats: the shim was alive, whether or not anybody called it."""

import threading

from registry.errors import UnavailableError
from registry.shim.recorder.sequence import Sequence


class Heartbeat:
    """A thread that writes a heartbeat record every so often, until it is stopped."""

    def __init__(self, sequence: Sequence, seconds: float) -> None:
        self._sequence = sequence
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; no heartbeat is written after this returns."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._sequence.beat()
            except UnavailableError:
                # The journal is latched: what follows in it is nothing, and says enough.
                return
