"""Tensors of an ONNX file whose bytes lie in another file.

The path, offset and length were written by somebody else, and runtimes follow them. They are
compared with the manifest only; no file is opened, so a link has nothing to lead to.
"""

from collections.abc import Iterable, Mapping
from posixpath import dirname

from registry.core import encoding
from registry.core.formats.structure import ExternalData
from registry.core.records.manifest import check_path
from registry.errors import MalformedError, Reason

_KEYS = ("location", "offset", "length")


def check_external_data(
    entries: Iterable[tuple[str, str]],
    *,
    tensor: str,
    needed: int,
    model_path: str,
    files: Mapping[str, int],
) -> ExternalData:
    """Check what a tensor of ``needed`` bytes says about where its bytes are.

    ``files`` maps each path of the manifest to its size; ``model_path`` is the one that is read.

    Raises:
        MalformedError: ``ONNX_EXTERNAL_DATA``.
    """
    members = _members(entries, tensor)
    location = members.get("location", "")
    try:
        check_path(location)
    except MalformedError as error:
        raise _refusal(
            f"external data is not inside the model: {error.what}",
            tensor,
            expected="a path of the manifest, relative to the model file",
            actual=_shown(location),
        ) from error
    folder = dirname(model_path)
    path = f"{folder}/{location}" if folder else location
    if path not in files:
        raise _refusal(
            "external data lies in a file that is not in the manifest",
            tensor,
            actual=_shown(path),
            hint="publish the file together with the model",
        )
    offset = _decimal(members.get("offset", "0"), "offset", tensor)
    # Without a length, readers take everything up to the end of the file.
    rest = max(files[path] - offset, 0)
    length = _decimal(members["length"], "length", tensor) if "length" in members else rest
    if length > rest:
        raise _refusal(
            "external data reaches past the end of its file",
            tensor,
            expected=f"at most {files[path]} bytes",
            actual=f"{length} bytes from {offset}",
        )
    if length != needed:
        raise _refusal(
            "external data is not as long as the tensor",
            tensor,
            expected=f"{needed} bytes",
            actual=f"{length} bytes",
        )
    return ExternalData(path=path, offset=offset, length=length)


def _members(entries: Iterable[tuple[str, str]], tensor: str) -> dict[str, str]:
    members: dict[str, str] = {}
    for key, value in entries:
        if key in members:
            raise _refusal("external data says one thing twice", tensor, actual=_shown(key))
        # "checksum" is the SHA-1 of the whole file, says onnx.proto, but not how it is written; no
        # exporter writes one and no loader compares it. The manifest has a better digest, and a
        # wrong one must not look as if it had been checked.
        if key not in _KEYS:
            raise _refusal(
                "external data says something that is not known",
                tensor,
                expected=", ".join(_KEYS),
                actual=_shown(key),
                hint="save the model again without it",
            )
        members[key] = value
    return members


def _decimal(text: str, member: str, tensor: str) -> int:
    try:
        return encoding.decimal(text)
    except MalformedError as error:
        raise _refusal(
            f"the {member} of external data is not a decimal number",
            tensor,
            expected="0 or more, written without sign, spaces or leading zeros",
            actual=_shown(text),
        ) from error


def _shown(text: str) -> str:
    return ascii(text[:200])


def _refusal(
    what: str, tensor: str, *, expected: str = "", actual: str = "", hint: str = ""
) -> MalformedError:
    return MalformedError(
        Reason.ONNX_EXTERNAL_DATA,
        what,
        where=f"tensor {_shown(tensor)}",
        expected=expected,
        actual=actual,
        hint=hint,
    )
