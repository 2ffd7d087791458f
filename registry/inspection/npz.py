"""Tensors in a NumPy archive (``.npz``): named arrays, as an in-process caller has them.

An archive may come from anybody: nothing in it is run, and nothing is unpacked that was not
announced with a size that is allowed.
"""

import io
import zipfile
from typing import Final

import numpy as np

from registry.core.profiles.tensor import MAX_TENSORS, Tensor
from registry.errors import MalformedError, Reason
from registry.inspection.arrays import to_tensor

MAX_ARCHIVE_BYTES: Final = 256 * 1024 * 1024
"""Bytes of all arrays of one archive."""

MAGIC: Final = b"PK\x03\x04"
"""How an archive begins."""

_SUFFIX = ".npy"


def read_tensors(data: bytes) -> tuple[Tensor, ...]:
    """The arrays of an archive, in its order.

    Raises:
        MalformedError: ``REPLAY_INPUT`` for what is no such archive, ``UNSUPPORTED_TENSOR``.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_TENSORS or sum(m.file_size for m in members) > MAX_ARCHIVE_BYTES:
                raise _malformed(f"more than {MAX_TENSORS} arrays or {MAX_ARCHIVE_BYTES} bytes")
            return tuple(_tensor(archive, member) for member in members)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as error:
        raise _malformed(f"{type(error).__name__}: {error}"[:300]) from error


def _tensor(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Tensor:
    if not member.filename.endswith(_SUFFIX):
        raise _malformed(f"a member {member.filename[:80]!a}")
    with archive.open(member) as file:
        # No more than was announced, whatever is packed; and its checksum is compared.
        content = file.read(member.file_size)
    with io.BytesIO(content) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise _malformed("bytes behind an array")
    return to_tensor(member.filename.removesuffix(_SUFFIX), array)


def _malformed(actual: str) -> MalformedError:
    return MalformedError(
        Reason.REPLAY_INPUT,
        "this is no archive of named arrays",
        expected="what numpy.savez writes, without objects",
        actual=actual,
    )
