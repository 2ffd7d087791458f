"""The index of a model whose tensors lie in several safetensors files.

``model.safetensors.index.json``, or ``model.safetensors.index.fp16.json``, maps each tensor to the
file that holds it. A loader believes it, so it must say exactly what the files say.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeGuard

from registry.core.encoding import read_foreign_json
from registry.core.formats.structure import SafetensorsStructure, Structure
from registry.errors import MalformedError, Reason

MAX_INDEX_BYTES: Final = 32 * 1024 * 1024
"""Bytes of an index; that of a model with 90,000 tensors takes 9 MB."""

_MAX_DEPTH = 3
_NAME: Final = re.compile(r".*\.safetensors\.index(\.[^./]+)?\.json", re.DOTALL | re.IGNORECASE)


def check_indexes(structures: Mapping[str, Structure | None], read: Callable[[str], bytes]) -> None:
    """Compare every index among the files of a release with the files beside it.

    Args:
        structures: What each file of the manifest says about itself, by path; None if nothing.
        read: Gives the bytes of one of them.

    Raises:
        MalformedError: ``SAFETENSORS_INDEX``, naming the index.
    """
    for path in sorted(structures):
        if _NAME.fullmatch(path) is None:
            continue
        folder = path[: path.rfind("/") + 1]
        beside = {
            name.removeprefix(folder): structure
            for name, structure in structures.items()
            if name.startswith(folder) and isinstance(structure, SafetensorsStructure)
        }
        try:
            check_index(read(path), beside)
        except MalformedError as error:
            where = f"{path}: {error.where}" if error.where else path
            raise _refusal(
                error.what, where=where, expected=error.expected, actual=error.actual
            ) from error


def check_index(index: bytes, shards: Mapping[str, SafetensorsStructure]) -> None:
    """Compare ``index`` with the files beside it, by their path relative to its folder.

    A path that leaves the folder names no file of the manifest, so it is refused as missing.

    Raises:
        MalformedError: ``SAFETENSORS_INDEX``.
    """
    weight_map, total_size = _parse(index)
    tensors: dict[str, set[str]] = {}
    for tensor, path in weight_map.items():
        tensors.setdefault(path, set()).add(tensor)
    for path, names in sorted(tensors.items()):
        if path not in shards:
            raise _refusal(
                "the index names a file that is not in the manifest", actual=ascii(path[:80])
            )
        held = {tensor.name for tensor in shards[path].tensors}
        if names != held:
            raise _refusal(
                "the index and the file disagree on the tensors in it",
                where=path,
                actual=f"they differ in {min(names ^ held)[:80]!a}",
            )
    held_size = sum(
        tensor.end - tensor.begin for path in tensors for tensor in shards[path].tensors
    )
    if total_size not in (None, held_size):
        raise _refusal(
            "the index states another size than its files have",
            where="total_size",
            expected=str(held_size),
            actual=str(total_size),
        )


def _parse(index: bytes) -> tuple[dict[str, str], object]:
    try:
        document = read_foreign_json(index, what="safetensors index", max_depth=_MAX_DEPTH)
    except MalformedError as error:
        raise _refusal(error.what, expected=error.expected, actual=error.actual) from error
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    metadata = document.get("metadata", {}) if isinstance(document, dict) else None
    if not isinstance(metadata, dict) or not _is_weight_map(weight_map):
        raise _refusal(
            "this is no safetensors index",
            expected='{"metadata": {"total_size": …}, "weight_map": {tensor: file, …}}',
        )
    return weight_map, metadata.get("total_size")


def _is_weight_map(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and bool(value) and all(type(p) is str for p in value.values())


def _refusal(what: str, *, where: str = "", expected: str = "", actual: str = "") -> MalformedError:
    return MalformedError(
        Reason.SAFETENSORS_INDEX, what, where=where, expected=expected, actual=actual
    )
