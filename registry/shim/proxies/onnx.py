"""A recorded ONNX Runtime session: every run has its intent, its outcome and its digests.

The session is made from bytes that were read and compared with the release, never from a path that
could show other bytes a moment later. The same holds for weights in files of their own: they are
handed over in memory, and ONNX Runtime, which would otherwise look for them in the working
directory, is told to look where nothing can be.

ONNX Runtime comes with the extra ``provreg[shim]``.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from registry.core.profiles import tensor
from registry.core.profiles.open_inference import InferenceResponse
from registry.core.profiles.tensor import Tensor
from registry.core.records import inference
from registry.errors import MalformedError, Reason, RegistryError, UnavailableError
from registry.shim.recorder.recorder import Answered, Deployment, Recorder
from registry.shim.release import PinnedRelease

try:
    import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]
except ImportError:
    onnxruntime = None

UNCOVERED = ("request.run_options", "runtime.hardware", "time")
"""What a record of this proxy does not commit to."""

_NOWHERE = "/dev/null/no-such-folder"
_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}

Mode = Literal["strict", "stream"]
"""What is durable before a run returns."""

Array = NDArray[Any]
"""An array of any type and shape."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The outputs of one run, and where they are recorded.

    Attributes:
        outputs: What the session returned.
        tensors: The same as profiles see it.
        content_digest: The digest that names the output.
        n: The number of the completion in the shim's journal.
        model_name: The release that answered, as ``name@version``.
    """

    outputs: list[Array]
    tensors: tuple[Tensor, ...]
    content_digest: bytes
    n: int
    model_name: str

    def to_json(self) -> bytes:
        """The outputs as a file from which anybody can find the content digest again.

        Raises:
            MalformedError: ``PROFILE`` for outputs that JSON cannot hold, such as NaN.
        """
        return InferenceResponse(self.model_name, self.tensors).to_bytes()


class RecordedSession:
    """An ``onnxruntime.InferenceSession`` whose runs are recorded; for any number of threads."""

    def __init__(
        self, session: Any, deployment: Deployment, recorder: Recorder, mode: Mode = "strict"
    ) -> None:
        """Use :meth:`open`: this trusts that ``session`` was made of what ``deployment`` says."""
        self._mode = mode
        self._session = session
        self._deployment = deployment
        self._recorder = recorder
        self._output_names = tuple(output.name for output in session.get_outputs())
        model = deployment.model
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
        provider: str = "CPUExecutionProvider",
        threads: int = 0,
        mode: Mode = "strict",
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
            mode: ``strict`` returns when intent and completion are durable, ``stream`` runs the
                model when the intent is, and the completion follows.

        Raises:
            VerificationError: ``WRONG_MODEL_FILE`` if a file differs from the registered one.
            NotFoundError: ``WRONG_MODEL_FILE`` if it is missing, or not in the release.
            MalformedError: ``MALFORMED_ONNX`` if ONNX Runtime cannot load it.
            UnavailableError: ``MISSING_EXTRA``.
        """
        if onnxruntime is None:
            raise UnavailableError(
                Reason.MISSING_EXTRA,
                "ONNX Runtime is not installed",
                hint="run: pip install 'provreg[shim]'",
            )
        data = release.read_verified(folder, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", _NOWHERE
        )
        weights = {
            _relative(item, path): release.read_verified(folder, item) for item in external_data
        }
        options.add_external_initializers_from_files_in_memory(
            list(weights), list(weights.values()), [len(item) for item in weights.values()]
        )
        try:
            session = onnxruntime.InferenceSession(data, options, providers=[provider])
        # ONNX Runtime's errors have no common base below Exception.
        except Exception as error:
            raise MalformedError(
                Reason.MALFORMED_ONNX,
                "ONNX Runtime cannot load this model",
                where=str(folder / path),
                actual=str(error)[:300],
                hint="name files that hold weights of the model as external_data",
            ) from error
        runtime = inference.Runtime(
            engine="onnxruntime",
            version=onnxruntime.__version__,
            provider=session.get_providers()[0],
            opt_level=options.graph_optimization_level.name,
            threads=threads,
        )
        deployment = Deployment(release.model, "artifact_verified", runtime, UNCOVERED)
        return cls(session, deployment, recorder, mode)

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
        return self.run_recorded(output_names, feed, run_options).outputs

    def run_recorded(
        self,
        output_names: Sequence[str] | None,
        feed: Mapping[str, Any],
        run_options: Any = None,
    ) -> Answer:
        """Run the model; what is durable when it returns is the mode's choice.

        Errors of ONNX Runtime are written down as failures, by their class alone, and raised.

        Raises:
            MalformedError: ``UNSUPPORTED_TENSOR`` or ``PROFILE`` for inputs that have no digest, in
                which case nothing was run, and for outputs that have none.
            UnavailableError: ``JOURNAL_LATCHED`` or ``JOURNAL_BUSY``; there is no answer.
        """
        inputs = {name: np.asarray(value) for name, value in feed.items()}
        asked = tuple(output_names or ())
        request = tensor.request_digest(
            [to_tensor(name, array) for name, array in inputs.items()], asked
        )
        opened = self._recorder.intent(self._deployment, request)
        try:
            outputs = self._session.run(list(asked) or None, inputs, run_options)
            names = asked or self._output_names
            tensors = tuple(map(to_tensor, names, outputs))
            content = tensor.content_digest(tensors)
            wire = tensor.wire_digest(tensors)
        # Also when interrupted: every intent has an outcome.
        except BaseException as error:
            # A latched journal leaves the intent open, and the next start says so.
            with contextlib.suppress(UnavailableError):
                self._recorder.fail(opened, _describe(error))
            raise
        response = inference.Response(
            profile=tensor.NAME, content_digest=content.hex(), wire_digest=wire.hex(), complete=True
        )
        if self._mode == "strict":
            n = self._recorder.complete(opened, response)
        else:
            n = self._recorder.answered(opened, Answered(response), urgency="soon").n
        return Answer(outputs, tensors, content, n, self._model_name)


def to_tensor(name: str, value: object) -> Tensor:
    """The tensor that an array is to profiles.

    Raises:
        MalformedError: ``UNSUPPORTED_TENSOR``.
    """
    if not isinstance(value, np.ndarray):
        raise _unsupported(name, type(value).__name__)
    if value.dtype.kind in "OUS":
        elements = [_element(name, item) for item in value.ravel().tolist()]
        return Tensor(name, "BYTES", value.shape, tensor.join_elements(elements))
    datatype = _DATATYPES.get(value.dtype.name)
    if datatype is None:
        raise _unsupported(name, value.dtype.name)
    little = value.astype(value.dtype.newbyteorder("<"), copy=False)
    return Tensor(name, datatype, value.shape, little.tobytes())


def _element(name: str, item: object) -> bytes:
    if isinstance(item, bytes):
        return item
    if not isinstance(item, str):
        raise _unsupported(name, f"an object array with {type(item).__name__}")
    try:
        return item.encode()
    except UnicodeEncodeError as error:
        raise _unsupported(name, "text that is no Unicode") from error


def _relative(path: str, model: str) -> str:
    """``path`` as the model itself calls it: from the model's own folder."""
    try:
        return str(PurePosixPath(path).relative_to(PurePosixPath(model).parent))
    except ValueError as error:
        raise MalformedError(
            Reason.ONNX_EXTERNAL_DATA,
            "weights lie beside or below their model",
            expected=f"a path below {PurePosixPath(model).parent}",
            actual=path[:200],
        ) from error


def _describe(error: BaseException) -> str:
    # Never the text of a foreign error: it may quote the request.
    return error.reason if isinstance(error, RegistryError) else type(error).__name__


def _unsupported(name: str, actual: str) -> MalformedError:
    return MalformedError(
        Reason.UNSUPPORTED_TENSOR,
        "a tensor of this type has no digest",
        where=f"tensor {name[:80]!r}",
        expected=f"an array of {', '.join(_DATATYPES)} or strings",
        actual=actual,
    )
