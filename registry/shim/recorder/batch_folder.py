"""The folder of batches: what was signed, and beside it the receipt once the log has it.

::

    batches/<shim id>/0000000000/00000000000000000000.envelope
    batches/<shim id>/0000000000/00000000000000000000.receipt
    batches/<shim id>/0000000000/00000000000000000256.envelope

Files are named by the number of their first record, a million numbers to a folder. An envelope
without a receipt is a batch of which nobody knows whether the log has it. There is at most one, the
last.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.shim.durable import make_folder, replace_file

_PER_FOLDER = 1_000_000
_ENVELOPE, _RECEIPT = ".envelope", ".receipt"


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """The bytes of a batch's envelope, and of its receipt if the log is known to have it."""

    envelope: bytes
    receipt: bytes | None


class BatchFolder:
    """The batches of one shim, durable when a method returns. One thread writes."""

    def __init__(self, folder: Path, shim_id: str) -> None:
        self._folder = folder / shim_id
        make_folder(self._folder)

    def put_envelope(self, n_first: int, envelope: bytes) -> None:
        """Store a batch before it is sent."""
        path = self._path(n_first, _ENVELOPE)
        make_folder(path.parent)
        replace_file(path, envelope)

    def put_receipt(self, n_first: int, receipt: bytes) -> None:
        """Store the proof that the log has a batch."""
        replace_file(self._path(n_first, _RECEIPT), receipt)

    def newest_first(self, below: int | None = None) -> Iterator[StoredBatch]:
        """All batches, the newest first, that begin below record ``below``."""
        for folder in sorted(self._folder.iterdir(), reverse=True):
            if below is not None and folder.name > f"{below // _PER_FOLDER:010}":
                continue
            for path in sorted(folder.glob(f"*{_ENVELOPE}"), reverse=True):
                if below is None or int(path.stem) < below:
                    receipt = path.with_suffix(_RECEIPT)
                    yield StoredBatch(
                        path.read_bytes(), receipt.read_bytes() if receipt.exists() else None
                    )

    def _path(self, n_first: int, suffix: str) -> Path:
        return self._folder / f"{n_first // _PER_FOLDER:010}" / f"{n_first:020}{suffix}"
