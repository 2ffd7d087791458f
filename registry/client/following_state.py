"""What a monitor remembers: the last checkpoint that it verified, and how far it has read.

One folder for each log. ``state.json`` is replaced whole, durably, and only ever moves forward;
``evidence/`` keeps both signed checkpoints of every contradiction, and while it holds anything the
monitor refuses to go on: a log that has shown two histories is not believed again by itself.
"""

import fcntl
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.encoding import Count, Time, Value
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import MAX_NOTE_BYTES, VerifierKey
from registry.errors import (
    ConflictError,
    DamagedError,
    Reason,
    RegistryError,
    UnavailableError,
    VerificationError,
)

STATE_FILE: Final = "state.json"
"""The file of the state."""

EVIDENCE_FOLDER: Final = "evidence"
"""Where contradictions are kept."""

MAX_STATE_BYTES: Final = 2 * MAX_NOTE_BYTES
"""Bytes of the file of the state."""


class _Stored(Value, frozen=True):
    log_key: str
    checkpoint: str
    position: Count
    verified_at: Time


@dataclass(frozen=True, slots=True)
class Followed:
    """How far a log was followed.

    Attributes:
        head: The newest checkpoint that was verified.
        position: Entries before this index were read.
        verified_at: When ``head`` was last shown by the log; to the second.
    """

    head: SignedCheckpoint
    position: int
    verified_at: datetime


class StateFolder:
    """The memory of one monitor, held by one process."""

    def __init__(self, path: Path, key: VerifierKey) -> None:
        """Take the folder, making it if it is not there.

        Raises:
            UnavailableError: ``LOG_IN_USE`` if another monitor holds it.
            VerificationError: ``WRONG_LOG`` if it is the memory of another log.
            DamagedError: ``STORED_BYTES`` if the state cannot be read.
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._key = key
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._followed = self._load()
        except BlockingIOError as error:
            os.close(self._lock)
            raise UnavailableError(
                Reason.LOG_IN_USE,
                "another monitor is using this state",
                where=str(path),
                hint="stop the other one, or choose another --state",
            ) from error
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def followed(self) -> Followed | None:
        """What is remembered; None before the first contact."""
        return self._followed

    def check_evidence(self) -> None:
        """Refuse to go on after a contradiction.

        Raises:
            VerificationError: ``FORK``.
        """
        folder = self.path / EVIDENCE_FOLDER
        kept = sorted(folder.iterdir()) if folder.is_dir() else []
        if kept:
            raise VerificationError(
                Reason.FORK,
                "this log contradicted itself before",
                where=str(kept[0]),
                hint="show the two checkpoints to others; move them away to follow the log again",
            )

    def advance(self, followed: Followed) -> None:
        """Remember, durably, that the log was followed this far.

        Raises:
            ConflictError: ``LOG_ROLLBACK`` if that is less than was remembered.
        """
        before = self._followed
        if before is not None and (
            followed.head.checkpoint.size < before.head.checkpoint.size
            or followed.position < before.position
        ):
            raise ConflictError(
                Reason.LOG_ROLLBACK,
                "the memory of a monitor never goes back",
                where=str(self.path),
                expected=f"size {before.head.checkpoint.size}, position {before.position}",
                actual=f"size {followed.head.checkpoint.size}, position {followed.position}",
            )
        stored = _Stored(
            log_key=str(self._key),
            checkpoint=followed.head.note.decode(),
            position=followed.position,
            verified_at=encoding.time_text(followed.verified_at),
        )
        _replace(self.path / STATE_FILE, encoding.write_json(stored))
        self._followed = followed

    def keep_evidence(
        self, seen: SignedCheckpoint, shown: SignedCheckpoint, why: RegistryError
    ) -> Path:
        """Keep two signed checkpoints that contradict each other; the folder where they are."""
        name = f"{why.reason.lower()}-{sha256(seen.note + shown.note).hex()[:16]}"
        folder = self.path / EVIDENCE_FOLDER / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(folder / "seen.checkpoint", seen.note)
        _replace(folder / "shown.checkpoint", shown.note)
        _replace(folder / "why.txt", f"{why}\nlog key: {self._key}\n".encode())
        _sync(folder.parent)
        _sync(self.path)
        return folder

    def close(self) -> None:
        """Give the folder back."""
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _load(self) -> Followed | None:
        file = self.path / STATE_FILE
        if not file.exists():
            return None
        try:
            with file.open("rb") as opened:
                stored = encoding.read_json(
                    opened.read(MAX_STATE_BYTES + 1), _Stored, what="monitor state"
                )
            if stored.log_key != str(self._key):
                raise VerificationError(
                    Reason.WRONG_LOG,
                    "this state is of another log",
                    where=str(file),
                    expected=stored.log_key,
                    actual=str(self._key),
                )
            head = SignedCheckpoint.open(stored.checkpoint.encode(), self._key)
            # Only what time_text writes gets here: to the second, and UTC.
            at = datetime.strptime(stored.verified_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except (RegistryError, ValueError) as error:
            if isinstance(error, RegistryError) and error.reason is Reason.WRONG_LOG:
                raise
            raise DamagedError(
                Reason.STORED_BYTES,
                "the state of this monitor is not what it wrote",
                where=str(file),
                actual=str(error),
                hint="restore it; without it a fork since the first contact would go unnoticed",
            ) from error
        return Followed(head, stored.position, at)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
