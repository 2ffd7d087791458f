"""A model is run as it was registered, and can do nothing but compute, for a while."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from registry.core.digest import DigestSet
from registry.core.profiles import tensor
from registry.core.profiles.tensor import Tensor
from registry.core.records.manifest import File
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.inspection import rerun, session
from registry.inspection.arrays import to_array, to_tensor
from registry.inspection.rerun import Limits, Ran, Settings
from registry.inspection.rerun_exchange import Answer, Request, head_of, read_message, write_message
from tests.inspection.runnable import (
    casting,
    drawing,
    echo,
    elsewhere,
    endless,
    folding,
    outside,
    pair,
    scorer,
    scorer_input,
    swelling,
)

SMALL = Limits(timedelta(seconds=60), 2**31)
GIVEN: Any = {"expected": bytes(32), "settings": Settings(threads=1), "limits": SMALL}


def laid_out(folder: Path, data: bytes, path: str = "model.onnx") -> File:
    """A file of a release."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data)
    return File(path=path, size=len(data), digest=DigestSet.of(data))


def run(
    folder: Path,
    data: bytes,
    inputs: Sequence[Tensor],
    asked: Sequence[str] = (),
    *,
    expected: bytes = bytes(32),
    settings: Settings | None = None,
    limits: Limits = SMALL,
) -> Ran:
    file = laid_out(folder, data)
    chosen = Settings(threads=1) if settings is None else settings
    return rerun.run(
        folder, file, (), inputs, asked, expected=expected, settings=chosen, limits=limits
    )


def refusal(act: object) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        act()  # type: ignore[operator]
    return caught.value


def test_a_model_gives_the_bits_that_it_gives_here(tmp_path: Path) -> None:
    x = scorer_input()
    ran = run(tmp_path, scorer(), [x])
    y, label = onnxruntime.InferenceSession(scorer()).run(None, {"x": to_array(x)})
    assert ran.outputs == (to_tensor("y", y), to_tensor("label", label))
    assert ran.version == onnxruntime.__version__
    assert ran.run_us > 0


def test_only_the_outputs_that_were_asked_for_are_given_in_that_order(tmp_path: Path) -> None:
    ran = run(tmp_path, scorer(), [scorer_input()], ["label", "y"])
    assert [item.name for item in ran.outputs] == ["label", "y"]
    assert [item.name for item in run(tmp_path, scorer(), [scorer_input()], ["y"]).outputs] == ["y"]


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_threads_do_not_change_the_bits(tmp_path: Path, threads: int) -> None:
    x = scorer_input(64)
    ran = run(tmp_path, scorer(), [x], settings=Settings(threads=threads))
    assert ran.outputs == run(tmp_path, scorer(), [x]).outputs


def test_how_far_the_graph_is_rewritten_changes_the_last_bits(tmp_path: Path) -> None:
    results = {
        level: run(tmp_path, scorer(), [scorer_input(64)], ["y"], settings=Settings(level, 1))
        for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")
    }
    one, other = (to_array(ran.outputs[0]) for ran in results.values())
    assert not np.array_equal(one, other)
    assert np.allclose(one, other, atol=1e-5)


def test_weights_in_files_of_their_own_are_handed_over(tmp_path: Path) -> None:
    data, weights = outside("w.bin")
    files = laid_out(tmp_path, data, "m/model.onnx"), laid_out(tmp_path, weights, "m/w.bin")
    x = to_tensor("x", np.zeros(4, np.float32))
    ran = rerun.run(tmp_path, files[0], files[1:], [x], **GIVEN)
    assert to_array(ran.outputs[0]).tolist() == [1, 2, 3, 4]


def test_weights_that_were_not_handed_over_are_not_looked_for(tmp_path: Path) -> None:
    data, weights = outside("w.bin")
    laid_out(tmp_path, weights, "w.bin")
    x = to_tensor("x", np.zeros(4, np.float32))
    assert refusal(lambda: run(tmp_path, data, [x])).reason is Reason.MALFORMED_ONNX


def test_text_goes_in_and_comes_out(tmp_path: Path) -> None:
    x = Tensor("x", "BYTES", (3,), tensor.join_elements([b"cat", b"", "é".encode()]))
    [y] = run(tmp_path, echo(TensorProto.STRING), [x]).outputs
    assert y == Tensor("y", "BYTES", (3,), x.raw)


@pytest.mark.parametrize(
    "value",
    [
        Tensor("x", "BYTES", (1,), tensor.join_elements([b"\xff"])),
        Tensor("x", "BF16", (1,), bytes(2)),
    ],
    ids=["no text", "BF16"],
)
def test_a_tensor_that_cannot_be_run_is_refused(tmp_path: Path, value: Tensor) -> None:
    error = refusal(lambda: run(tmp_path, echo(TensorProto.STRING), [value]))
    assert error.reason is Reason.UNSUPPORTED_TENSOR


@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
def test_a_file_that_is_not_the_registered_one_is_not_run(tmp_path: Path, change: str) -> None:
    file = laid_out(tmp_path, scorer())
    data = scorer()
    changed = {"longer": data + b"\0", "shorter": data[:-1], "other": data[:-1] + b"?"}
    (tmp_path / file.path).write_bytes(changed[change])
    error = refusal(lambda: rerun.run(tmp_path, file, (), [scorer_input()], **GIVEN))
    assert isinstance(error, VerificationError)
    assert error.reason is Reason.WRONG_MODEL_FILE


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    file = laid_out(tmp_path, scorer(), "real.onnx")
    (tmp_path / "model.onnx").symlink_to(tmp_path / "real.onnx")
    linked = File(path="model.onnx", size=file.size, digest=file.digest)
    error = refusal(lambda: rerun.run(tmp_path, linked, (), [], **GIVEN))
    assert error.reason is Reason.NOT_A_REGULAR_FILE


@pytest.mark.parametrize("what", ["no input", "another name", "another type", "another shape"])
def test_an_input_that_the_model_does_not_take_is_a_failed_run(tmp_path: Path, what: str) -> None:
    given_ = {
        "no input": [],
        "another name": [to_tensor("z", np.zeros((1, 4, 16), np.float32))],
        "another type": [to_tensor("x", np.zeros((1, 4, 16), np.float64))],
        "another shape": [to_tensor("x", np.zeros((1, 3, 16), np.float32))],
    }
    error = refusal(lambda: run(tmp_path, scorer(), given_[what]))
    assert error.reason is Reason.REPLAY_FAILED


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    assert refusal(lambda: run(tmp_path, b"nonsense", [])).reason is Reason.MALFORMED_ONNX


@pytest.mark.parametrize("counted", [True, False], ids=["for", "while"])
def test_a_run_that_takes_too_long_is_ended(tmp_path: Path, *, counted: bool) -> None:
    x = to_tensor("x", np.zeros(1, np.float32))
    data = endless(counted=counted)
    error = refusal(lambda: run(tmp_path, data, [x], limits=Limits(timedelta(seconds=1.5), 2**31)))
    assert isinstance(error, LimitExceededError)
    assert error.reason is Reason.REPLAY_LIMIT


@pytest.mark.parametrize(
    ("elements", "reason"),
    [(2**27, Reason.REPLAY_LIMIT), (2**33, Reason.REPLAY_FAILED), (2**60, Reason.REPLAY_FAILED)],
)
def test_a_run_that_takes_too_much_is_refused(
    tmp_path: Path, elements: int, reason: Reason
) -> None:
    x = to_tensor("x", np.array([elements], np.int64))
    assert refusal(lambda: run(tmp_path, swelling(), [x])).reason is reason


@pytest.mark.parametrize("seed", [None, 7.0], ids=["without a seed", "with a seed"])
def test_a_model_that_draws_numbers_does_not_repeat_itself(
    tmp_path: Path, seed: float | None
) -> None:
    x = to_tensor("x", np.zeros(4, np.float32))
    assert not run(tmp_path, drawing(seed), [x]).repeats
    x = scorer_input()
    assert run(tmp_path, scorer(), [x]).repeats
    expected = tensor.content_digest(run(tmp_path, scorer(), [x]).outputs)
    assert run(tmp_path, scorer(), [x], expected=expected).repeats


@pytest.mark.parametrize("what", ["eight-bit floats", "a sequence"])
def test_an_output_that_is_no_tensor_of_a_known_type_is_refused(tmp_path: Path, what: str) -> None:
    data = {"eight-bit floats": casting(TensorProto.FLOAT8E4M3FN), "a sequence": pair()}[what]
    x = to_tensor("x", np.zeros(4, np.float32))
    assert refusal(lambda: run(tmp_path, data, [x])).reason is Reason.UNSUPPORTED_TENSOR


@pytest.mark.parametrize("what", ["an operator", "an operator set"])
def test_a_model_that_asks_for_what_is_not_here_is_not_loaded(tmp_path: Path, what: str) -> None:
    data = {
        "an operator": elsewhere(),
        "an operator set": casting(TensorProto.FLOAT, opset=99),
    }[what]
    x = to_tensor("x", np.zeros(4, np.float32))
    assert refusal(lambda: run(tmp_path, data, [x])).reason is Reason.MALFORMED_ONNX


def test_a_constant_that_takes_too_much_is_not_computed(tmp_path: Path) -> None:
    # Whether ONNX Runtime computes it while it loads the model is its own choice.
    x = to_tensor("x", np.zeros(4, np.float32))
    error = refusal(lambda: run(tmp_path, folding(2**28), [x], limits=Limits(SMALL.time, 2**30)))
    assert error.reason in {Reason.MALFORMED_ONNX, Reason.REPLAY_FAILED, Reason.REPLAY_LIMIT}


def test_bits_that_compare_equal_are_told_apart(tmp_path: Path) -> None:
    values = np.array([0.0, -0.0, np.nan, -np.nan], np.float32)
    x = to_tensor("x", values)
    [y] = run(tmp_path, echo(TensorProto.FLOAT), [x]).outputs
    assert y.raw == x.raw
    assert len({y.raw[place : place + 4] for place in range(0, 16, 4)}) == 4


def test_a_process_that_dies_is_a_limit(tmp_path: Path) -> None:
    error = refusal(
        lambda: run(tmp_path, scorer(), [scorer_input()], limits=Limits(SMALL.time, 2**20))
    )
    assert error.reason is Reason.REPLAY_LIMIT


@pytest.mark.parametrize(
    "act",
    [
        pytest.param("open('/etc/passwd')", id="open a file"),
        pytest.param("import socket; socket.socket()", id="open a socket"),
        pytest.param("import subprocess; subprocess.run(['/bin/true'])", id="start a process"),
    ],
)
def test_a_model_can_do_nothing_but_compute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    # In the place of ONNX Runtime, when it would read the model: what a model could have it do.
    code = f"""
import socket, subprocess
from registry.errors import MalformedError, Reason
from registry.inspection import rerun_worker as worker
def session(*_arguments, **_named):
    try:
        {act}
    except OSError:
        raise MalformedError(Reason.MALFORMED_ONNX, "sealed") from None
worker.open_session = session
worker.main()
"""
    monkeypatch.setattr(rerun, "WORKER", [sys.executable, "-I", "-c", code])
    error = refusal(lambda: run(tmp_path, scorer(), [scorer_input()]))
    assert (error.reason, error.what) == (Reason.MALFORMED_ONNX, "sealed")


@pytest.mark.parametrize(
    "answer", ["", "print('x')", "import os; os.abort()", "while True: print('x' * 65536)"]
)
def test_a_worker_that_answers_nothing_sensible_is_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(rerun, "WORKER", [sys.executable, "-I", "-c", answer])
    monkeypatch.setattr(rerun, "MAX_MESSAGE_BYTES", 2**20)
    error = refusal(lambda: run(tmp_path, scorer(), [scorer_input()]))
    assert error.reason is Reason.REPLAY_LIMIT


@pytest.mark.parametrize("settings", [Settings("ORT_FASTER"), Settings(threads=257)])
def test_settings_that_nobody_knows_are_refused(tmp_path: Path, settings: Settings) -> None:
    error = refusal(lambda: run(tmp_path, scorer(), [scorer_input()], settings=settings))
    assert error.reason is Reason.BAD_SETTING


def test_a_missing_engine_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "onnxruntime", None)
    error = refusal(lambda: run(tmp_path, scorer(), [scorer_input()]))
    assert isinstance(error, UnavailableError)
    assert error.reason is Reason.MISSING_EXTRA


# What the two processes say to each other.

TENSORS = st.lists(
    st.builds(
        lambda name, raw: Tensor(name, "UINT8", (len(raw),), raw), st.text(), st.binary(max_size=9)
    ),
    max_size=4,
)


@given(TENSORS)
def test_a_message_is_read_back(tensors: list[Tensor]) -> None:
    head = Answer(outputs=tuple(map(head_of, tensors)), version="1", run_us=2)
    assert read_message(write_message(head, tensors), Answer) == (head, tuple(tensors))


@given(TENSORS, st.data())
def test_a_message_that_is_cut_or_longer_is_refused(
    tensors: list[Tensor], data: st.DataObject
) -> None:
    whole = write_message(Answer(outputs=tuple(map(head_of, tensors))), tensors)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"\0"):
        with pytest.raises(MalformedError):
            read_message(wrong, Answer)


def test_a_request_is_no_answer() -> None:
    with pytest.raises(MalformedError):
        read_message(write_message(Answer(), ()), Request)
