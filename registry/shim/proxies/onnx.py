"""A recorded ONNX Runtime session: every run has its intent, its outcome and its digests.

The session is made from bytes that were read and compared with the release, never from a path that
could show other bytes a moment later; see :mod:`registry.inspection.session`.

ONNX Runtime comes with the extra ``provreg[shim]``.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from registry.core.profiles import tensor
from registry.core.profiles.tensor import Tensor
from registry.core.records import inference
from registry.errors import MalformedError, Reason, RegistryError, UnavailableError
from registry.inspection.arrays import Array, to_tensor
from registry.inspection.cpu import instruction_set
from registry.inspection.session import (
    CPU,
    DEFAULT_OPT_LEVEL,
    open_session,
    relative_name,
    require_engine,
)
from registry.shim.attestation import KeyAttestation
from registry.shim.deployment import Description, Standing
from registry.shim.privacy.keeping import Content, Keeping
from registry.shim.proxies.run_answer import NOT_ASKED, NOWHERE, Answer
from registry.shim.recorder.asking import DEADLINE, LEVEL, Asked
from registry.shim.recorder.calls import Mode
from registry.shim.recorder.levels import Levels
from registry.shim.recorder.outcomes import Answered, Deployment, Open
from registry.shim.recorder.recorder import Recorder
from registry.shim.recorder.ticket import Ticket
from registry.shim.recorder.unrecorded import Unrecorded, uncounted, unless_durable
from registry.shim.recorder.wish import Wish
from registry.shim.release import PinnedRelease
from registry.shim.spans import mark_current

UNCOVERED = ("request.run_options", "runtime.hardware", "time")
"""What a record of this proxy does not commit to."""


class RecordedSession:
    """An ``onnxruntime.InferenceSession`` whose runs are recorded; for any number of threads.

    It also tells what the session tells of itself. What it has not, such as ``run_async`` and
    ``run_with_iobinding``, would run the model without a record, or change what runs.
    """

    def __init__(
        self,
        session: Any,
        deployment: Callable[[], Deployment],
        recorder: Recorder,
        mode: Mode = "strict",
        *,
        allowed: Callable[[], None] = lambda: None,
        keeping: Keeping | None = None,
        levels: Levels | None = None,
        unrecorded: Unrecorded | None = None,
    ) -> None:
        """Use :meth:`open`: this trusts that ``session`` was made of what ``deployment`` says."""
        if mode == "best_effort" and unrecorded is None:
            raise MalformedError(
                Reason.BAD_SETTING,
                "in best_effort somebody must count what is not recorded",
                hint="unrecorded=shim.unrecorded",
            )
        self._mode = mode
        self._unrecorded = unrecorded if mode == "best_effort" else None
        self._session = session
        self._deployment = deployment
        self._recorder = recorder
        self._allowed = allowed
        self._keeping = keeping
        self._levels = levels
        self._output_names = tuple(output.name for output in session.get_outputs())
        model = deployment().model
        self._model_name = f"{model.name}@{model.version}"

    @classmethod
    def open(
        cls,
        folder: Path,
        path: str,
        release: PinnedRelease,
        recorder: Recorder,
        *,
        external_data: Sequence[str] = (),
        provider: str = CPU,
        threads: int = 0,
        opt_level: str = DEFAULT_OPT_LEVEL,
        mode: Mode = "strict",
        attestation: KeyAttestation | None = None,
        keeping: Keeping | None = None,
        levels: Levels | None = None,
        unrecorded: Unrecorded | None = None,
    ) -> Self:
        """Load a model of a release, if it is the registered one.

        Args:
            folder: Where the files of the release are.
            path: The model's path in the manifest.
            release: The verified release.
            recorder: Where runs are written down.
            external_data: Paths in the manifest of files that hold weights of the model.
            provider: The execution provider that runs the model.
            threads: Threads for one run; 0 leaves it to ONNX Runtime.
            opt_level: How far ONNX Runtime rewrites the graph.
            mode: ``strict`` returns when intent and completion are durable, ``stream`` runs the
                model when the intent is, and the completion follows; ``best_effort`` waits for
                nothing, and what the journal does not take is counted.
            attestation: What attests the key that signs; records then name the evidence, and runs
                are refused while it requires a result and none is in force.
            keeping: What is kept of runs: inputs and outputs, each tensor as a frame with its name,
                type and shape in JSON and one with its bytes; None for nothing.
            levels: What looks after levels that runs ask for; without it they are only written
                down.
            unrecorded: Where runs are counted that the journal does not take; ``best_effort``
                needs it.

        Raises:
            MalformedError: ``BAD_SETTING`` in ``best_effort`` without it.
            VerificationError: ``WRONG_MODEL_FILE`` if a file differs from the registered one.
            NotFoundError: ``WRONG_MODEL_FILE`` if it is missing, or not in the release.
            MalformedError: ``MALFORMED_ONNX`` if ONNX Runtime cannot load it.
            UnavailableError: ``MISSING_EXTRA``.
        """
        version = require_engine()
        data = release.read_verified(folder, path)
        weights = {
            relative_name(item, path): release.read_verified(folder, item) for item in external_data
        }
        session = open_session(
            data,
            weights,
            where=str(folder / path),
            provider=provider,
            threads=threads,
            opt_level=opt_level,
        )
        runtime = inference.Runtime(
            engine="onnxruntime",
            version=version,
            provider=session.get_providers()[0],
            opt_level=opt_level,
            threads=threads,
            isa=instruction_set(),
        )
        described = Description(
            release.model,
            runtime,
            upstream="",
            files_verified=1 + len(weights),
            uncovered=UNCOVERED,
        )
        standing = Standing(recorder, described, attestation)
        allowed = (lambda: None) if attestation is None else attestation.require
        return cls(
            session,
            standing,
            recorder,
            mode,
            allowed=allowed,
            keeping=keeping,
            levels=levels,
            unrecorded=unrecorded,
        )

    def get_inputs(self) -> list[Any]:
        """As ``InferenceSession.get_inputs``."""
        return list(self._session.get_inputs())

    def get_outputs(self) -> list[Any]:
        """As ``InferenceSession.get_outputs``."""
        return list(self._session.get_outputs())

    def get_overridable_initializers(self) -> list[Any]:
        """As ``InferenceSession.get_overridable_initializers``."""
        return list(self._session.get_overridable_initializers())

    def get_modelmeta(self) -> Any:
        """As ``InferenceSession.get_modelmeta``."""
        return self._session.get_modelmeta()

    def get_providers(self) -> list[str]:
        """As ``InferenceSession.get_providers``."""
        return list(self._session.get_providers())

    def get_provider_options(self) -> Any:
        """As ``InferenceSession.get_provider_options``."""
        return self._session.get_provider_options()

    def run(
        self,
        output_names: Sequence[str] | None,
        feed: Mapping[str, Any],
        run_options: Any = None,
    ) -> list[Array]:
        """As ``InferenceSession.run``, recorded.

        Raises:
            RegistryError: As :meth:`run_recorded`.
        """
        return self._run(output_names, feed, run_options, None).outputs

    def run_recorded(
        self,
        output_names: Sequence[str] | None,
        feed: Mapping[str, Any],
        run_options: Any = None,
        *,
        level: str = "",
        deadline_ms: int | None = None,
    ) -> Answer:
        """Run the model; what is durable when it returns is the mode's choice.

        Errors of ONNX Runtime are written down as failures, by their class alone, and raised.

        Args:
            output_names: The outputs that are wanted; None for all.
            feed: The inputs by name.
            run_options: Of ONNX Runtime.
            level: How strongly the answer should be proven: ``logged``, ``signed``, ``attested`` or
                ``recomputed``; empty to say nothing. Returns when that is reached, or the deadline
                is over; see :attr:`Answer.proven`.
            deadline_ms: By when, in milliseconds from now; None for the level's own deadline.

        Raises:
            MalformedError: ``UNSUPPORTED_TENSOR`` or ``PROFILE`` for inputs that have no digest, in
                which case nothing was run, and for outputs that have none.
            UnavailableError: ``JOURNAL_LATCHED``, ``JOURNAL_FULL`` or ``JOURNAL_BUSY``: there is no
                answer. Not in ``best_effort``, and in ``stream`` only before the run.
            MalformedError: ``MALFORMED_FIELD`` for what is no level, or a deadline without one, and
                nothing was run.
            LimitExceededError: ``MALFORMED_FIELD`` for a deadline that is too late.
            RefusedError: ``UNATTESTED`` if no call may be made now, which is written down.
        """
        by = "" if deadline_ms is None else str(deadline_ms)
        wanted = Asked.read({LEVEL: level, DEADLINE: by})
        return self._run(output_names, feed, run_options, wanted)

    def _run(
        self,
        output_names: Sequence[str] | None,
        feed: Mapping[str, Any],
        run_options: Any,
        wanted: Asked | None,
    ) -> Answer:
        """Run the model; who wants nothing of its record has the answer before that is written."""
        start = time.monotonic_ns()
        levels = self._levels
        level = None if wanted is None else wanted.level
        wish = None if wanted is None or level is None or levels is None else Wish(levels, wanted)
        inputs = {name: np.asarray(value) for name, value in feed.items()}
        asked = tuple(output_names or ())
        fed = [to_tensor(name, array) for name, array in inputs.items()]
        request = tensor.request_digest(fed, asked)
        deployment = self._deployment()
        try:
            self._allowed()
        except RegistryError as error:
            # That it is refused matters more than that nobody can write it down.
            with contextlib.suppress(UnavailableError):
                self._recorder.refused(self._recorder.begin(deployment, request), error.reason)
            raise
        lost = uncounted if self._unrecorded is None else self._unrecorded.once()
        opened = self._intend(deployment, request, lost)
        begun = time.monotonic_ns()
        try:
            outputs = self._session.run(list(asked) or None, inputs, run_options)
            done = time.monotonic_ns()
            names = asked or self._output_names
            tensors = tuple(map(to_tensor, names, outputs))
            content = tensor.content_digest(tensors)
            wire = tensor.wire_digest(tensors)
        # Also when interrupted: every intent has an outcome.
        except BaseException as error:
            self._fail(opened, _describe(error), lost)
            raise
        if opened is None:
            proven = NOT_ASKED if wish is None else wish.proven_here()
            return Answer(outputs, tensors, content, NOWHERE, self._model_name, proven)
        response = inference.Response(
            profile=tensor.NAME, content_digest=content.hex(), wire_digest=wire.hex(), complete=True
        )
        answered = self._keep(opened, response, fed, tensors)
        mark_current(f"{self._recorder.shim_id}/{opened.n}", answered.response)
        answered = replace(answered, course=self._course(start, begun, done))
        if self._mode != "strict" and wanted is None:
            # What the journal does not take leaves the intent without an outcome, which tells.
            self._recorder.answered_later(opened, lambda: answered, lost)
            return Answer(outputs, tensors, content, NOWHERE, self._model_name)
        if wanted is not None:
            answered = replace(answered, asked=level, deadline_ms=wanted.deadline_ms)
        ticket = self._answered(opened, answered, wish, lost)
        proven = NOT_ASKED if wish is None else wish.proven_here()
        n = NOWHERE if ticket is None else ticket.n
        return Answer(outputs, tensors, content, n, self._model_name, proven)

    def _intend(
        self, deployment: Deployment, request: bytes, lost: Callable[[], None]
    ) -> Open | None:
        """Write down that a run is about to begin; None if that cannot be, and need not."""
        if self._mode != "best_effort":
            return self._recorder.intent(deployment, request)
        try:
            return self._recorder.begin(deployment, request, unless_durable(lost))
        except UnavailableError:
            lost()
            return None

    def _answered(
        self, opened: Open, answered: Answered, wish: Wish | None, lost: Callable[[], None]
    ) -> Ticket | None:
        """Write down an answer whose record somebody wants to see; None if that cannot be."""
        recorder = self._recorder
        if self._mode == "strict":
            ticket = recorder.completed(opened, answered)
        else:
            try:
                if self._mode == "best_effort" and wish is not None:
                    wish.want_durable()
                    ticket = recorder.answered(opened, answered, wish.settled)
                else:
                    ticket = recorder.answered(opened, answered, urgency="soon")
            except UnavailableError:
                lost()
                return None
        if wish is not None:
            wish.written(opened, ticket, answered.response)
        return ticket

    def _fail(self, opened: Open | None, error: str, lost: Callable[[], None]) -> None:
        """Write down that a run gave nothing."""
        if opened is None:
            return
        write = self._recorder.failed if self._mode == "best_effort" else self._recorder.fail
        # A latched journal leaves the intent open, and the next start says so.
        try:
            write(opened, error)
        except UnavailableError:
            lost()

    def _course(self, start: int, begun: int, done: int) -> inference.Course:
        """How a run went that was asked for at ``start``, and lasted from ``begun`` to ``done``."""
        total = time.monotonic_ns() - start
        return inference.Course(
            transport="in_process",
            mode=self._mode,
            first_us=total // 1000,
            total_us=total // 1000,
            added_us=(total - (done - begun)) // 1000,
        )

    def _keep(
        self,
        opened: Open,
        response: inference.Response,
        fed: Sequence[Tensor],
        tensors: Sequence[Tensor],
    ) -> Answered:
        """What the record says of an answer, once what is to be kept of it is on disk."""
        if self._keeping is None:
            return Answered(response)
        content = Content(tensor.framed(fed), tensor.framed(tensors), {})
        receipt = f"{self._recorder.shim_id}/{opened.n}"
        try:
            response, private = self._keeping.keep(
                receipt, opened.n, response, content, strict=self._mode == "strict"
            )
        except UnavailableError as error:
            # Only in strict, where nobody counts.
            self._fail(opened, error.reason, uncounted)
            raise
        return Answered(response, private=private)


def _describe(error: BaseException) -> str:
    # Never the text of a foreign error: it may quote the request.
    return error.reason if isinstance(error, RegistryError) else type(error).__name__
