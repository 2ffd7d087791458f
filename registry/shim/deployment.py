"""What runs behind a proxy: as much as is known, and how it is known (the binding ladder).

A proxy sees no weights. If the files of the release are on this host they are compared and watched:
that is step 2, *artifact verified on disk*, which does not prove that the engine uses them. Without
files there is what the model server says of itself, if it is asked and names a version or bytes:
that is a claim on step 1, *logged and signed*. Else the name is all there is. A host that is
attested together with its model is step 3; see :meth:`Description.level` for what has to come
together. What a provider attests comes later, as a proof of another system, and raises no record.
"""

import hashlib
import ipaddress
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import msgspec

from registry.core import encoding
from registry.core.records import inference
from registry.errors import MalformedError, Reason
from registry.inspection.cpu import instruction_set
from registry.shim.attestation import Attested, KeyAttestation
from registry.shim.recorder.outcomes import Deployment
from registry.shim.recorder.recorder import Recorder
from registry.shim.release import PinnedRelease

UNCOVERED = (
    *("request.headers", "request.target", "response.headers"),
    *("runtime.hardware", "runtime.weights_in_memory", "time"),
)
"""What a record of a proxy does not commit to; gRPC calls headers metadata, and targets methods."""

MAX_NAMED_BYTES = 64 * 1024 * 1024 * 1024
"""Bytes of one adapter, tokenizer or template that is named by its digest."""

BARE_AGAIN = 256
"""After so many results, what runs without any is written down again: auditors forget old ones."""

_CHUNK_BYTES = 1024 * 1024


Setting = Literal["provider", "opt_level", "threads", "isa"]
"""A setting of an engine that decides about the last bits of its outputs."""

HERE = "here"
"""The instruction set of this very host."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What its operator says of the model server; a claim.

    Attributes:
        adapters: Files on top of the model.
        tokenizer: The file of the tokenizer.
        chat_template: The file of the template that makes a prompt of messages.
        settings: What decides about the last bits of its outputs, for who runs a call again.
    """

    name: str = "unknown"
    version: str = ""
    quantization: str = ""
    adapters: tuple[Path, ...] = ()
    tokenizer: Path | None = None
    chat_template: Path | None = None
    settings: Mapping[Setting, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """What is named by its digest."""
        return (*self.adapters, *filter(None, (self.tokenizer, self.chat_template)))

    @property
    def runtime(self) -> inference.Runtime:
        """As records say it.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        said = self.settings
        isa = said.get("isa", "")
        try:
            threads = encoding.decimal(said.get("threads", "0"))
        except MalformedError as error:
            raise MalformedError(
                Reason.BAD_SETTING, "this is no number of threads", actual=said["threads"][:40]
            ) from error
        return inference.Runtime(
            engine=self.name,
            version=self.version,
            provider=said.get("provider", ""),
            opt_level=said.get("opt_level", ""),
            threads=threads,
            isa=instruction_set() if isa == HERE else isa,
        )


@dataclass(frozen=True, slots=True)
class Description:
    """What runs, as far as it is known; :meth:`write` puts it into the journal.

    Attributes:
        model: What is served.
        runtime: What serves it.
        upstream: Where the model server is; empty if the model runs in this process.
        files_verified: How many files of the release were compared on this host.
        uncovered: What belongs to a call and is in no digest, each by name.
        adapters: SHA-256 of files on top of the model.
        tokenizer: SHA-256 of the tokenizer.
        chat_template: SHA-256 of the template that makes a prompt of messages.
        quantization: What the engine says of it.
        report: What the model server reports; None while it reports nothing.
    """

    model: inference.Model
    runtime: inference.Runtime
    upstream: str
    files_verified: int
    uncovered: tuple[str, ...] = UNCOVERED
    adapters: tuple[str, ...] = ()
    tokenizer: str | msgspec.UnsetType = msgspec.UNSET
    chat_template: str | msgspec.UnsetType = msgspec.UNSET
    quantization: str = ""
    report: inference.Report | None = None

    @classmethod
    def of(
        cls, release: PinnedRelease, engine: Engine, *, upstream: str, files_verified: int
    ) -> Self:
        """What runs behind a proxy; reads the files that are named by their digest.

        Raises:
            MalformedError: ``BAD_SETTING`` if one of them cannot be read.
        """
        return cls(
            model=release.model,
            runtime=engine.runtime,
            upstream=upstream,
            files_verified=files_verified,
            adapters=tuple(_digest(path) for path in engine.adapters),
            tokenizer=_optional(engine.tokenizer),
            chat_template=_optional(engine.chat_template),
            quantization=engine.quantization,
        )

    @property
    def binding(self) -> inference.Binding:
        """How it is known which model answers."""
        if self.files_verified:
            return "artifact_verified"
        if self.report is not None and self.report.names_it:
            return "runtime_reported"
        return "name_only"

    def level(self, attested: Attested | None) -> int:
        """The step of the binding ladder: how the identity of the model is known.

        Step 3 is for a model whose files were compared by measured software, under a root of a
        vendor, with the model server in the same environment. A test vendor lifts nothing.
        """
        if not self.files_verified:
            return 1
        if attested is None or not attested.measured or attested.configured_roots:
            return 2
        return 3 if self._is_here() else 2

    def write(self, recorder: Recorder, attested: Attested | None = None) -> Deployment:
        """Write down, durably, what runs from here on, and give what completions say of it.

        Args:
            recorder: Where it is written down.
            attested: The result that attests this host; None if there is none.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
        """
        binding = self.binding

        def build(place: inference.Sequence, at: str) -> inference.Record:
            return inference.Setup(
                sequence=place,
                at=at,
                model=self.model,
                binding=binding,
                level=self.level(attested),
                runtime=self.runtime,
                upstream=self.upstream,
                files_verified=self.files_verified,
                adapters=self.adapters,
                tokenizer=self.tokenizer,
                chat_template=self.chat_template,
                quantization=self.quantization,
                evidence=msgspec.UNSET if attested is None else attested.evidence_id.hex(),
                report=self.report or msgspec.UNSET,
            )

        ticket = recorder.note(build)
        ticket.wait()
        evidence = "" if attested is None else attested.evidence_id.hex()
        return Deployment(
            self.model, binding, self.runtime, self.uncovered, ticket.n, evidence=evidence
        )

    def _is_here(self) -> bool:
        """Whether the model runs on this host: what attests one machine says nothing of another."""
        if not self.upstream:
            return True
        host = urlsplit(self.upstream).hostname or ""
        return host == "localhost" or _is_loopback(host)


class Standing:
    """What answers at each moment: with the evidence that is in force then, or without any.

    Every result that attests the host gets a record of its own, and so does every change of what
    the model server reports; completions name the one that was in force when their call began. For
    any number of threads.
    """

    def __init__(
        self,
        recorder: Recorder,
        description: Description,
        attestation: KeyAttestation | None = None,
    ) -> None:
        """Write down what runs, and follow what attests it.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
        """
        self._recorder = recorder
        self._description = description
        self._attestation = attestation
        self._bare = description.write(recorder)
        # The newest and the one before it, which a clock that is late may still be in.
        self._attested: tuple[tuple[Attested, Deployment], ...] = ()
        self._told = 0
        # Held while something is written down: results and reports come on threads of their own.
        self._writing = threading.Lock()
        if attestation is not None:
            attestation.follow(self._note)

    def __call__(self) -> Deployment:
        """What answers a call that begins now."""
        if self._attestation is not None:
            for attested, deployment in self._attested:
                if self._attestation.holds(attested):
                    return deployment
        return self._bare

    def reported(self, report: inference.Report | None) -> None:
        """Go on with what the model server reports from now on.

        Raises:
            UnavailableError: ``JOURNAL_LATCHED``.
        """
        with self._writing:
            self._description = described = replace(self._description, report=report)
            self._bare = described.write(self._recorder)
            self._attested = tuple(
                (attested, described.write(self._recorder, attested))
                for attested, _ in self._attested
            )

    def _note(self, attested: Attested) -> None:
        with self._writing:
            deployment = self._description.write(self._recorder, attested)
            self._attested = ((attested, deployment), *self._attested[:1])
            self._told += 1
            if self._told % BARE_AGAIN == 0:
                self._bare = self._description.write(self._recorder)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
