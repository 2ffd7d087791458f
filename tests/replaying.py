"""A published model, a shim that records its runs, and an auditor: the world of replays.

::

    with recording(running, log_key, folder, {"model.onnx": scorer()}, name="acme/x") as world:
        answer = world.session().run_recorded(None, {"x": x})
        world.shim.flush(30)
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from registry.client.channel import Connection, Target
from registry.client.publish import Publication, publish
from registry.client.registry import RegistryClient
from registry.core.tlog.note import VerifierKey
from registry.inspection.arrays import Array
from registry.shim.app import Shim, open_shim
from registry.shim.proxies.onnx import RecordedSession
from registry.shim.proxies.run_answer import Answer
from registry.shim.recorder.recorder import Recorder
from registry.shim.release import PinnedRelease
from registry.shim.revealing import reveal
from tests.running import Caller, Running
from tests.shim.world import BRIEF, QUICK, lay_out

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """A shim at work.

    Attributes:
        folder: What the shim remembers.
        models: The files of the version.
    """

    shim: Shim
    release: PinnedRelease
    folder: Path
    models: Path

    def session(self, path: str = "model.onnx", **options: Any) -> RecordedSession:
        """A recorded session of a model of the version."""
        options.setdefault("threads", 1)
        recorder: Recorder = self.shim.recorder
        return RecordedSession.open(self.models, path, self.release, recorder, **options)

    def salt(self, answer: Answer) -> bytes:
        """What opens the commitment to the input of a call; its intent is the record before."""
        return reveal(self.folder, bytes.fromhex(self.shim.shim_id), answer.n - 1)

    def receipt(self, answer: Answer) -> tuple[bytes, int]:
        """How the call is named."""
        return bytes.fromhex(self.shim.shim_id), answer.n - 1


@contextlib.contextmanager
def recording(
    running: Running,
    folder: Path,
    files: Mapping[str, bytes],
    publisher: Caller,
    node: Caller,
    *,
    name: str,
) -> Iterator[World]:
    """Publish files as version 1 of ``name``, and run a shim that records their runs."""
    log_key = VerifierKey.parse((running.data / "log.vkey").read_text().strip())
    models = lay_out(folder / "models", dict(files))
    with _client(running, publisher, log_key) as client:
        publish(client, models, Publication(name, "1"), publisher.signer, NOON)
        known = client.release(name, "1")
    release = PinnedRelease(known.logged.envelope.record_id, name, "1", known.manifest)
    with (
        _client(running, node, log_key) as client,
        open_shim(
            folder / "shim",
            node.signer,
            client,
            release,
            models,
            log_key=log_key,
            pace=QUICK,
            timing=BRIEF,
        ) as shim,
    ):
        yield World(shim, release, folder / "shim", models)


def _client(running: Running, caller: Caller, log_key: VerifierKey) -> RegistryClient:
    connection = Connection(Target.parse(running.address), token=caller.token)
    return RegistryClient(connection, log_key)


def npz(**arrays: Array) -> bytes:
    """An archive of these arrays."""
    with io.BytesIO() as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()
