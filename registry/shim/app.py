"""The composition root of the shim: one folder, one key, one registry, one release, and the clock.

::

    with open_shim(folder, key, client, release, models, log_key=log_key) as shim:
        session = RecordedSession.open(models, "model.onnx", release, shim.recorder)
        answer = session.run_recorded(None, {"x": x})

With :func:`keep_attested` around it the key is attested before its first batch, and while it runs.
Leaving the block writes the stop record, sends what it can in a few seconds, and keeps the rest for
the next start.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec

from registry.core.keys import PublicKey
from registry.core.tlog.note import VerifierKey
from registry.errors import RegistryError
from registry.shim.attestation import Attesting, KeyAttestation
from registry.shim.configuration import SCHEMA, Attestation, Configuration, Serving
from registry.shim.durable import make_folder, require_own
from registry.shim.ports import Registry
from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.recorder.awaited_folder import AWAITED, AwaitedFolder
from registry.shim.recorder.batch_folder import BatchFolder, StoredBatch
from registry.shim.recorder.heartbeat import Heartbeat
from registry.shim.recorder.journal import MAX_BYTES, SEGMENT_BYTES
from registry.shim.recorder.levels import Levels, Replays
from registry.shim.recorder.patience import DEFAULT_PATIENCE, Patience
from registry.shim.recorder.recorder import Recorder
from registry.shim.recorder.request_key import RequestKey
from registry.shim.recorder.sequence import Clock, Sequence, Started
from registry.shim.recorder.unrecorded import Unrecorded
from registry.shim.release import PinnedRelease
from registry.shim.revealing import REQUEST_KEY
from registry.shim.uploader import DEFAULT_PACE, Pace, Status, Uploader
from registry.signing.file import StatementSigner


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take at most, in seconds.

    Attributes:
        heartbeat: Between two heartbeats.
        drain: For calls under way to end before the shim stops uncleanly.
        farewell: For the last records to be registered before the shim stops.
    """

    heartbeat: float = 60.0
    drain: float = 30.0
    farewell: float = 5.0


DEFAULT_TIMING = Timing()
"""A heartbeat a minute; half a minute for calls to end; five seconds for the last records."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What whoever opens a shim chose beside it, for the boot record; see :class:`Configuration`.

    Attributes:
        serving: How a proxy serves; None within a process of others.
        privacy: The privacy policy; None if there is none.
        attestation: How the key is attested; None if it is not.
        evidence: The evidence id of the attestation that is in force now; empty if there is none.
    """

    serving: Serving | None = None
    privacy: PrivacyPolicy | None = None
    attestation: Attestation | None = None
    evidence: str = ""


NOTHING_CHOSEN = Chosen()
"""Calls are recorded within a process, unattested, and nothing of them is kept."""


@dataclass(frozen=True, slots=True)
class Shim:
    """A running shim."""

    recorder: Recorder
    sequence: Sequence
    uploader: Uploader
    folder: BatchFolder
    unrecorded: Unrecorded
    heartbeat: Heartbeat
    levels: Levels

    @property
    def shim_id(self) -> str:
        """The shim's id, sixteen bytes in hexadecimal."""
        return self.sequence.shim_id

    def status(self) -> Status:
        """What is recorded, what is registered, and what keeps the rest."""
        return self.uploader.status()

    def flush(self, timeout: float) -> None:
        """Have everything recorded so far registered now; see :meth:`Uploader.flush`.

        Raises:
            RegistryError: What keeps it.
        """
        self.uploader.flush(timeout)

    def batch_of(self, n: int) -> StoredBatch | None:
        """The batch of record ``n``, with its receipt once it is registered; None before it is."""
        if n >= self.sequence.journal.durable_n:
            return None
        return next(self.folder.newest_first(below=n + 1), None)


def _now() -> datetime:
    return datetime.now(UTC)


@contextlib.contextmanager
def keep_attested(
    attesting: Attesting, key: PublicKey, release: PinnedRelease, *, clock: Clock = _now
) -> Iterator[KeyAttestation]:
    """Keep the key of a shim attested while the block runs; open the shim within.

    Before the block runs one attempt is made, whatever comes of it.

    Args:
        attesting: Whom to ask, and by which policies.
        key: The key that will sign batches.
        release: The version that will answer: evidence is bound to it.
        clock: Says until when a result is in force.
    """
    manifest = bytes.fromhex(release.model.manifest)
    attestation = KeyAttestation(attesting, key, manifest, clock=clock)
    attestation.start()
    try:
        yield attestation
    finally:
        attestation.stop()


@contextlib.contextmanager
def open_shim(
    folder: Path,
    key: StatementSigner,
    registry: Registry,
    release: PinnedRelease,
    model_folder: Path | None,
    *,
    log_key: VerifierKey,
    clock: Clock = _now,
    pace: Pace = DEFAULT_PACE,
    timing: Timing = DEFAULT_TIMING,
    replays: Replays | None = None,
    patience: Patience = DEFAULT_PATIENCE,
    chosen: Chosen = NOTHING_CHOSEN,
    segment_bytes: int = SEGMENT_BYTES,
    max_journal_bytes: int = MAX_BYTES,
) -> Iterator[Shim]:
    """Run a shim while the block runs.

    Args:
        folder: What the shim remembers; for this shim alone.
        key: The node's key, which signs batches.
        registry: Where batches go; it need not be there yet.
        release: The verified release that will answer.
        model_folder: Where its files are on this host; None if whoever opens the shim compares
            them, or if there are none.
        log_key: The pinned key of the registry's log.
        clock: Says when things happened.
        pace: When a batch is closed.
        timing: How long things take at most.
        replays: Whom to ask whether an auditor ran a call again; None if nobody can be asked.
        patience: How long callers' wishes are looked after.
        chosen: What the boot record tells beside all this.
        segment_bytes: When the next segment of the journal begins.
        max_journal_bytes: How many bytes of journal keep further calls from beginning.

    Raises:
        VerificationError: ``WRONG_MODEL_FILE``: the files are not the registered ones.
        NotFoundError: ``WRONG_MODEL_FILE``: one of them is missing.
        UnavailableError: ``JOURNAL_IN_USE`` or ``JOURNAL_LATCHED``.
        DamagedError: ``JOURNAL_DAMAGED``.
        MalformedError: ``MALFORMED_KEY``.
        RefusedError: ``FOREIGN_FOLDER``.
    """
    if model_folder is not None:
        release.verify_folder(model_folder)
    make_folder(folder)
    require_own(folder)
    request_key = RequestKey(folder / REQUEST_KEY)
    software = f"provreg-shim/{metadata.version('provreg')}"
    with contextlib.ExitStack() as stack:
        unrecorded = Unrecorded(folder / "unrecorded")
        stack.callback(unrecorded.close)
        sequence = Sequence(
            folder / "journal", clock, segment_bytes=segment_bytes, max_bytes=max_journal_bytes
        )
        stack.callback(sequence.journal.close)
        recorder = Recorder(sequence, request_key)
        levels = Levels(
            recorder,
            AwaitedFolder(folder / AWAITED),
            sequence.awaited,
            replays,
            clock=clock,
            patience=patience,
        )
        batches = BatchFolder(folder / "batches", sequence.shim_id)
        uploader = Uploader(
            sequence,
            batches,
            registry,
            log_key=log_key,
            signer=key,
            clock=clock,
            keep_from=lambda: _least(recorder.oldest_open(), levels.oldest()),
            pace=pace,
        )
        stack.callback(uploader.stop)
        # Only now, that journal and batches are known to fit: a boot record on top of an old copy
        # would take a number that was used before.
        missed = unrecorded.count
        configuration = Configuration(
            schema=SCHEMA,
            software=software,
            name=release.name,
            version=release.version,
            release=release.model.release,
            key=key.public_key.key_id,
            log=str(log_key),
            heartbeat_ms=int(timing.heartbeat * 1000),
            batch_records=pace.records,
            batch_ms=int(pace.seconds * 1000),
            max_journal_bytes=max_journal_bytes,
            serving=chosen.serving or msgspec.UNSET,
            privacy=chosen.privacy or msgspec.UNSET,
            attestation=chosen.attestation or msgspec.UNSET,
        )
        sequence.boot(
            Started(
                software,
                missed,
                configuration.keep(folder),
                uploader.seen,
                release.model.release,
                chosen.evidence,
            )
        )
        unrecorded.told(missed)
        stack.callback(_say_farewell, uploader, timing.farewell)
        stack.callback(recorder.close, timing.drain)
        heartbeat = Heartbeat(sequence, timing.heartbeat, unrecorded)
        stack.callback(heartbeat.stop)
        uploader.follow(levels.registered)
        levels.start(uploader)
        stack.callback(levels.stop)
        yield Shim(recorder, sequence, uploader, batches, unrecorded, heartbeat, levels)


def _least(*numbers: int | None) -> int | None:
    return min((n for n in numbers if n is not None), default=None)


def _say_farewell(uploader: Uploader, seconds: float) -> None:
    # Not an error: whatever could not be sent is in the journal, and the next start sends it.
    with contextlib.suppress(RegistryError):
        uploader.flush(seconds)
