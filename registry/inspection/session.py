"""An ONNX Runtime session that is made of bytes in memory, and can look for no file.

Weights in files of their own are handed over as well. ONNX Runtime, which would otherwise look for
them in the working directory, is told to look where nothing can be.

ONNX Runtime comes with the extra ``provreg[shim]``.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from registry.errors import MalformedError, Reason, UnavailableError

try:
    import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]
except ImportError:
    onnxruntime = None

CPU: Final = "CPUExecutionProvider"
"""The execution provider that every machine has."""

OPT_LEVELS: Final = (
    "ORT_DISABLE_ALL",
    "ORT_ENABLE_BASIC",
    "ORT_ENABLE_EXTENDED",
    "ORT_ENABLE_LAYOUT",
    "ORT_ENABLE_ALL",
)
"""How far ONNX Runtime rewrites a graph before it runs it; it changes the last bits."""

DEFAULT_OPT_LEVEL: Final = "ORT_ENABLE_ALL"
"""What ONNX Runtime does unless told otherwise."""

_NOWHERE = "/dev/null/no-such-folder"


def require_engine() -> str:
    """The version of ONNX Runtime.

    Raises:
        UnavailableError: ``MISSING_EXTRA``.
    """
    if onnxruntime is None:
        raise UnavailableError(
            Reason.MISSING_EXTRA,
            "ONNX Runtime is not installed",
            hint="run: pip install 'provreg[shim]'",
        )
    version: str = onnxruntime.__version__
    return version


def open_session(
    data: bytes,
    weights: Mapping[str, bytes],
    *,
    where: str,
    provider: str = CPU,
    threads: int = 0,
    opt_level: str = DEFAULT_OPT_LEVEL,
) -> Any:
    """A session of the model ``data``.

    Args:
        data: The model file.
        weights: Files that hold weights of it, by what the model calls them.
        where: What the model is called, for whoever reads an error.
        provider: The execution provider.
        threads: Threads for one run; 0 leaves it to ONNX Runtime.
        opt_level: One of :data:`OPT_LEVELS`.

    Raises:
        UnavailableError: ``MISSING_EXTRA``.
        MalformedError: ``MALFORMED_ONNX`` if ONNX Runtime cannot load it.
    """
    require_engine()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.__members__[opt_level]
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", _NOWHERE
    )
    options.add_external_initializers_from_files_in_memory(
        list(weights), list(weights.values()), [len(item) for item in weights.values()]
    )
    try:
        return onnxruntime.InferenceSession(data, options, providers=[provider])
    # ONNX Runtime's errors have no common base below Exception.
    except Exception as error:
        raise MalformedError(
            Reason.MALFORMED_ONNX,
            "ONNX Runtime cannot load this model",
            where=where,
            actual=str(error)[:300],
            hint="name files that hold weights of the model as external_data",
        ) from error


def relative_name(path: str, model: str) -> str:
    """``path`` as the model itself calls it: from the model's own folder.

    Raises:
        MalformedError: ``ONNX_EXTERNAL_DATA``.
    """
    try:
        return str(PurePosixPath(path).relative_to(PurePosixPath(model).parent))
    except ValueError as error:
        raise MalformedError(
            Reason.ONNX_EXTERNAL_DATA,
            "weights lie beside or below their model",
            expected=f"a path below {PurePosixPath(model).parent}",
            actual=path[:200],
        ) from error
