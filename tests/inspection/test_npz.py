"""Archives of arrays: what NumPy writes is read, and nothing in them is run or swells."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from registry.errors import MalformedError, Reason
from registry.inspection import npz
from registry.inspection.arrays import to_tensor

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def saved(save: Callable[..., None] = np.savez, **arrays: Any) -> bytes:
    with io.BytesIO() as file:
        save(file, **arrays)
        return file.getvalue()


def archive(**members: bytes) -> bytes:
    """An archive of these members."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as writer:
            for name, data in members.items():
                writer.writestr(name.replace("_", "."), data)
        return file.getvalue()


def npy(array: Any) -> bytes:
    with io.BytesIO() as file:
        np.save(file, array)
        return file.getvalue()


def refusal(data: bytes) -> Reason:
    with pytest.raises(MalformedError) as caught:
        npz.read_tensors(data)
    return caught.value.reason


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_with_their_names(save: Callable[..., None]) -> None:
    texts = np.array(["cat", "é"])
    found = npz.read_tensors(saved(save, x=X, t=texts, big=X.astype(">f8").T))
    assert found == (
        to_tensor("x", X),
        to_tensor("t", texts),
        to_tensor("big", X.astype(np.float64).T),
    )


def test_objects_are_not_read() -> None:
    assert refusal(saved(x=np.array([{}], dtype=object))) is Reason.REPLAY_INPUT


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04",
        saved(x=X)[:-30],
        archive(readme_txt=b"hello"),
        archive(x_npy=b"hello"),
        archive(x_npy=npy(X) + b"?"),
        archive(x_npy=npy(X)[:-1]),
    ],
    ids=["start", "cut", "no array", "no header", "longer", "shorter"],
)
def test_what_is_no_archive_of_arrays_is_refused(data: bytes) -> None:
    assert refusal(data) is Reason.REPLAY_INPUT


def test_an_archive_that_swells_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(np.savez_compressed, x=np.zeros(2**20, np.float32))
    assert len(data) < 2**14
    monkeypatch.setattr(npz, "MAX_ARCHIVE_BYTES", 2**20)
    assert refusal(data) is Reason.REPLAY_INPUT


def test_an_array_larger_than_its_member_is_refused() -> None:
    header = npy(np.zeros(3, np.float32)).replace(b"(3,)", b"(9,)", 1)
    assert refusal(archive(x_npy=header)) is Reason.REPLAY_INPUT


def test_more_arrays_than_a_call_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_TENSORS", 1)
    assert refusal(saved(x=X, y=X)) is Reason.REPLAY_INPUT
