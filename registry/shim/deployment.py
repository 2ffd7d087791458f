"""What runs behind a proxy: as much as is known, and how it is known (the binding ladder).

A proxy sees no weights. If the files of the release are on this host they are compared and watched:
that is step 2, *artifact verified on disk*, which does not prove that the engine uses them. Without
files the name is all there is: step 1, *logged and signed*. A host that is attested together with
its model is step 3.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from registry.core.records import inference
from registry.errors import MalformedError, Reason
from registry.shim.recorder.recorder import Deployment, Recorder
from registry.shim.release import PinnedRelease

UNCOVERED = ("request.headers", "runtime.hardware", "runtime.weights_in_memory", "time")
"""What a record of a proxy does not commit to."""

MAX_NAMED_BYTES = 64 * 1024 * 1024 * 1024
"""Bytes of one adapter, tokenizer or template that is named by its digest."""

_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Engine:
    """What its operator says of the model server; a claim.

    Attributes:
        adapters: Files on top of the model.
        tokenizer: The file of the tokenizer.
        chat_template: The file of the template that makes a prompt of messages.
    """

    name: str = "unknown"
    version: str = ""
    quantization: str = ""
    adapters: tuple[Path, ...] = ()
    tokenizer: Path | None = None
    chat_template: Path | None = None


def describe(
    recorder: Recorder,
    release: PinnedRelease,
    engine: Engine,
    *,
    upstream: str,
    files_verified: int,
    evidence: bytes | None = None,
) -> Deployment:
    """Write down, durably, what runs from here on, and give what completions say of it.

    Args:
        recorder: Where it is written down.
        release: What is served.
        engine: What serves it.
        upstream: Where the model server is.
        files_verified: How many files of the release were compared on this host.
        evidence: The evidence id of this host, if it is attested.

    Raises:
        UnavailableError: ``JOURNAL_LATCHED``.
        MalformedError: ``BAD_SETTING`` if a file that is to be named cannot be read.
    """
    binding: Literal["artifact_verified", "name_only"] = (
        "artifact_verified" if files_verified else "name_only"
    )
    level = 1 if not files_verified else 2 if evidence is None else 3
    runtime = inference.Runtime(engine=engine.name, version=engine.version)
    adapters = tuple(_digest(path) for path in engine.adapters)
    tokenizer = _optional(engine.tokenizer)
    template = _optional(engine.chat_template)

    def build(place: inference.Sequence, at: str) -> inference.Record:
        return inference.Setup(
            sequence=place,
            at=at,
            model=release.model,
            binding=binding,
            level=level,
            runtime=runtime,
            upstream=upstream,
            files_verified=files_verified,
            adapters=adapters,
            tokenizer=tokenizer,
            chat_template=template,
            quantization=engine.quantization,
            evidence=msgspec.UNSET if evidence is None else evidence.hex(),
        )

    ticket = recorder.note(build)
    ticket.wait()
    return Deployment(release.model, binding, runtime, UNCOVERED, ticket.n)


def _optional(path: Path | None) -> str | msgspec.UnsetType:
    return msgspec.UNSET if path is None else _digest(path)


def _digest(path: Path) -> str:
    hasher = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
                size += len(chunk)
                if size > MAX_NAMED_BYTES:
                    raise _unreadable(path, f"more than {MAX_NAMED_BYTES} bytes")
    except OSError as error:
        raise _unreadable(path, error.strerror or "") from error
    return hasher.hexdigest()


def _unreadable(path: Path, actual: str) -> MalformedError:
    return MalformedError(
        Reason.BAD_SETTING,
        "this file cannot be named by its digest",
        where=str(path),
        actual=actual,
    )
