"""A recorded ONNX Runtime session, on models small enough to read."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import TensorProto, helper, numpy_helper

from registry.core.profiles import tensor
from registry.core.profiles.recognise import candidates
from registry.core.profiles.tensor import Tensor
from registry.core.records import inference
from registry.errors import (
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RefusedError,
    UnavailableError,
    VerificationError,
)
from registry.inspection import session
from registry.inspection.arrays import to_tensor
from registry.inspection.cpu import instruction_set
from registry.shim.app import Shim, open_shim
from registry.shim.attestation import Attested, KeyAttestation
from registry.shim.privacy.keeping import Keeping
from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.privacy.vault import Vault
from registry.shim.proxies.onnx import RecordedSession
from registry.shim.recorder.asking import Proven
from registry.shim.recorder.calls import Mode
from registry.shim.recorder.request_key import RequestKey
from registry.shim.release import PinnedRelease
from tests.shim.world import (
    BRIEF,
    NOON,
    QUICK,
    MemoryRegistry,
    check_history,
    kinds,
    lay_out,
    release_of,
    written,
)

X = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)


MODES: tuple[Mode, ...] = ("strict", "stream", "best_effort")


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def weight() -> Any:
    return numpy_helper.from_array(np.array([[0.1, 2.5], [-3.0, 7.0]], np.float32), "w")


def linear() -> bytes:
    """``y = x · w``, and ``big`` where an element of it is above 1."""
    return model(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("Greater", ["y", "one"], ["big"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2]),
            helper.make_tensor_value_info("big", TensorProto.BOOL, [None, 2]),
        ],
        [weight(), numpy_helper.from_array(np.array(1, np.float32), "one")],
    )


def echo(kind: int) -> bytes:
    """A model that gives back what it gets."""
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", kind, [None])],
        [helper.make_tensor_value_info("y", kind, [None])],
        [],
    )


def zipped() -> bytes:
    """A model whose output is a list of dictionaries, which is no tensor."""
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
    )
    return model(
        [helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[1, 2])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_value_info("y", kind)],
        [],
    )


def external(folder: Path) -> dict[str, bytes]:
    """The linear model with its weights in a file of their own."""
    folder.mkdir()
    whole = onnx.load_model_from_string(linear())
    path = folder / "model.onnx"
    onnx.save_model(whole, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return {"big/model.onnx": path.read_bytes(), "big/w.bin": (folder / "w.bin").read_bytes()}


FILES = {
    "linear.onnx": linear(),
    "floats.onnx": echo(TensorProto.FLOAT),
    "strings.onnx": echo(TensorProto.STRING),
    "zipped.onnx": zipped(),
    "broken.onnx": b"no model",
}


@dataclass
class Bench:
    """A running shim and the models beside it."""

    shim: Shim
    registry: MemoryRegistry
    folder: Path
    release: PinnedRelease
    models: Path

    def session(self, path: str, **options: Any) -> RecordedSession:
        if options.get("mode") == "best_effort":
            options["unrecorded"] = self.shim.unrecorded
        return RecordedSession.open(self.models, path, self.release, self.shim.recorder, **options)

    def records(self) -> list[inference.Record]:
        return written(self.folder)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    registry = MemoryRegistry.build()
    files = FILES | external(tmp_path / "made")
    models = lay_out(tmp_path / "models", files)
    release = release_of(files)
    with open_shim(
        tmp_path / "shim",
        registry.node,
        registry,
        release,
        models,
        log_key=registry.log.key,
        pace=QUICK,
        timing=BRIEF,
    ) as shim:
        yield Bench(shim, registry, tmp_path / "shim", release, models)


def test_a_run_gives_what_the_engine_alone_would_give(bench: Bench) -> None:
    alone = onnxruntime.InferenceSession(linear()).run(None, {"x": X})
    recorded = bench.session("linear.onnx").run(None, {"x": X})
    assert len(recorded) == 2
    for one, other in zip(recorded, alone, strict=True):
        np.testing.assert_array_equal(one, other)


TELLING = (
    *("get_inputs", "get_outputs", "get_overridable_initializers"),
    *("get_modelmeta", "get_providers", "get_provider_options"),
)


def test_it_tells_of_itself_what_the_engine_alone_would_tell(bench: Bench) -> None:
    alone = onnxruntime.InferenceSession(linear(), providers=["CPUExecutionProvider"])
    recorded = bench.session("linear.onnx")
    for name in TELLING:
        one, other = getattr(recorded, name)(), getattr(alone, name)()
        if isinstance(one, list):
            assert [str(item) for item in one] == [str(item) for item in other]
        else:
            assert type(one) is type(other)
    # As code does that knows no names: the session feeds and is asked by what it tells.
    feed = {item.name: X for item in recorded.get_inputs()}
    assert len(recorded.run([item.name for item in recorded.get_outputs()], feed)) == 2


def test_it_has_no_way_to_run_the_model_without_a_record(bench: Bench) -> None:
    recorded = bench.session("linear.onnx")
    ways = [name for name in dir(onnxruntime.InferenceSession) if name.startswith(("run", "set_"))]
    assert {"run", "run_with_iobinding", "set_providers"} <= set(ways)
    assert [name for name in ways if hasattr(recorded, name)] == ["run"]


@pytest.mark.parametrize("mode", MODES)
def test_a_run_waits_for_the_level_that_it_asks_for(bench: Bench, mode: Mode) -> None:
    session = bench.session("linear.onnx", mode=mode, levels=bench.shim.levels)
    answer = session.run_recorded(None, {"x": X}, level="signed", deadline_ms=15_000)
    assert answer.proven == Proven("signed")
    bench.shim.uploader.flush(10)
    completion = bench.records()[answer.n]
    assert isinstance(completion, inference.Completion)
    assert (completion.asked, completion.deadline_ms) == ("signed", 15_000)


def test_a_run_is_told_what_it_cannot_have(bench: Bench) -> None:
    session = bench.session("linear.onnx", levels=bench.shim.levels)
    answer = session.run_recorded(None, {"x": X}, level="attested")
    assert answer.proven.missed == Reason.UNATTESTED


def test_a_run_with_deadline_0_waits_for_nothing(bench: Bench) -> None:
    session = bench.session("linear.onnx", levels=bench.shim.levels)
    answer = session.run_recorded(None, {"x": X}, level="recomputed", deadline_ms=0)
    assert answer.proven.reached in ("logged", "signed")


def test_without_anybody_who_looks_after_levels_they_are_written_down(bench: Bench) -> None:
    answer = bench.session("linear.onnx").run_recorded(None, {"x": X}, level="attested")
    assert answer.proven == Proven()
    completion = bench.records()[answer.n]
    assert isinstance(completion, inference.Completion)
    assert completion.asked == "attested"


@pytest.mark.parametrize(
    "wanted",
    [{"level": "best"}, {"deadline_ms": 5}, {"level": "signed", "deadline_ms": 10**9}],
    ids=["no level", "deadline alone", "too late"],
)
def test_what_no_run_can_ask_for_is_refused_before_it(bench: Bench, wanted: Any) -> None:
    with pytest.raises((MalformedError, LimitExceededError)) as caught:
        bench.session("linear.onnx").run_recorded(None, {"x": X}, **wanted)
    assert caught.value.reason is Reason.MALFORMED_FIELD
    assert not [item for item in bench.records() if isinstance(item, inference.Intent)]


@dataclass
class Keeper:
    """An attestation whose results a test makes."""

    attested: Attested | None = None

    def follow(self, listener: Callable[[Attested], None]) -> None:
        if self.attested is not None:
            listener(self.attested)

    def holds(self, attested: Attested) -> bool:
        return attested is self.attested

    def require(self) -> None:
        if self.attested is None:
            raise RefusedError(Reason.UNATTESTED, "this node is not attested")


def test_a_run_on_an_attested_host_names_its_evidence(bench: Bench) -> None:
    keeper = Keeper(Attested(b"\x0e" * 32, 7, NOON, NOON, measured=True))
    session = bench.session("linear.onnx", attestation=cast("KeyAttestation", keeper))
    answer = session.run_recorded(None, {"x": X})
    completion = bench.records()[answer.n]
    assert isinstance(completion, inference.Completion)
    assert isinstance(completion.setup_n, int)
    setup = bench.records()[completion.setup_n]
    assert isinstance(setup, inference.Setup)
    assert (setup.evidence, setup.level, setup.binding) == ("0e" * 32, 3, "artifact_verified")
    assert setup.runtime == completion.runtime


def test_a_run_names_the_record_that_says_how_its_model_is_known(bench: Bench) -> None:
    answer = bench.session("linear.onnx").run_recorded(None, {"x": X})
    completion = bench.records()[answer.n]
    assert isinstance(completion, inference.Completion)
    assert isinstance(completion.setup_n, int)
    setup = bench.records()[completion.setup_n]
    assert isinstance(setup, inference.Setup)
    assert (setup.level, setup.files_verified, setup.binding) == (2, 1, "artifact_verified")
    assert (setup.evidence, setup.runtime) == (msgspec.UNSET, completion.runtime)


def test_a_host_that_must_be_attested_runs_nothing_until_it_is(bench: Bench) -> None:
    keeper = Keeper()
    session = bench.session("linear.onnx", attestation=cast("KeyAttestation", keeper))
    with pytest.raises(RefusedError):
        session.run(None, {"x": X})
    keeper.attested = Attested(b"\x0e" * 32, 7, NOON, NOON)
    session.run(None, {"x": X})
    said = [item for item in bench.records() if not isinstance(item, inference.Boot)]
    assert kinds(said) == ["setup", "intent", "notforwarded", "intent", "completion"]


def test_only_the_outputs_asked_for_come_and_count(bench: Bench) -> None:
    answer = bench.session("linear.onnx").run_recorded(["big"], {"x": X})
    assert [item.name for item in answer.tensors] == ["big"]
    assert answer.content_digest == tensor.content_digest([to_tensor("big", answer.outputs[0])])


def test_the_record_names_the_digest_of_the_output(bench: Bench) -> None:
    answer = bench.session("linear.onnx").run_recorded(None, {"x": X})
    completion = bench.records()[answer.n]
    assert isinstance(completion, inference.Completion)
    assert completion.response.content_digest == answer.content_digest.hex()
    assert completion.response.profile == "output/tensor/v1"
    assert completion.model == bench.release.model
    assert completion.binding == "artifact_verified"


def test_whoever_holds_the_answer_as_a_file_finds_its_digest(bench: Bench) -> None:
    answer = bench.session("linear.onnx").run_recorded(None, {"x": X})
    assert candidates(answer.to_json())[0] == answer.content_digest


def test_the_record_says_what_ran(bench: Bench) -> None:
    answer = bench.session("linear.onnx", threads=1).run_recorded(None, {"x": X})
    completion = bench.records()[answer.n]
    assert isinstance(completion, inference.Completion)
    assert completion.runtime == inference.Runtime(
        engine="onnxruntime",
        version=onnxruntime.__version__,
        provider="CPUExecutionProvider",
        opt_level="ORT_ENABLE_ALL",
        threads=1,
        isa=instruction_set(),
    )


def test_the_request_is_its_inputs_and_what_was_asked(bench: Bench) -> None:
    bench.session("linear.onnx").run(["y"], {"x": X})
    intent = bench.records()[2]
    assert isinstance(intent, inference.Intent)
    request = tensor.request_digest([to_tensor("x", X)], ["y"])
    salt = RequestKey(bench.folder / "request.key").salt(bench.shim.shim_id, 2)
    assert inference.commit_request(salt, request).hex() == intent.request


def test_strings_go_through(bench: Bench) -> None:
    words = np.array(["cat", "", "é"], dtype=object)
    answer = bench.session("strings.onnx").run_recorded(None, {"x": words})
    [output] = answer.tensors
    assert (output.datatype, tensor.split_elements(output.raw)) == (
        "BYTES",
        [b"cat", b"", "é".encode()],
    )
    assert candidates(answer.to_json())[0] == answer.content_digest


def test_nan_has_a_digest_but_no_file(bench: Bench) -> None:
    nan = np.array([np.nan], dtype=np.float32)
    answer = bench.session("floats.onnx").run_recorded(None, {"x": nan})
    with pytest.raises(MalformedError) as caught:
        answer.to_json()
    assert caught.value.reason is Reason.PROFILE


def test_many_threads_share_a_session(bench: Bench) -> None:
    session = bench.session("linear.onnx", threads=1)
    threads = [
        threading.Thread(target=lambda: [session.run(None, {"x": X}) for _ in range(10)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.shim.flush(20)
    records = bench.registry.of(bench.shim.shim_id)
    assert kinds(records).count("completion") == 40
    check_history(records)


def test_an_error_of_the_engine_is_a_failure_and_tells_nothing(bench: Bench) -> None:
    with pytest.raises(Exception, match=r"Invalid rank|Got invalid dimensions"):
        bench.session("linear.onnx").run(None, {"x": np.zeros(7, np.float32)})
    failure = bench.records()[3]
    assert isinstance(failure, inference.Failure)
    assert failure.error == "InvalidArgument"


def test_an_output_that_is_no_tensor_is_a_failure(bench: Bench) -> None:
    with pytest.raises(MalformedError) as caught:
        bench.session("zipped.onnx").run(None, {"x": X})
    assert caught.value.reason is Reason.UNSUPPORTED_TENSOR
    failure = bench.records()[3]
    assert isinstance(failure, inference.Failure)
    assert failure.error == "UNSUPPORTED_TENSOR"


def test_an_input_that_is_no_tensor_is_not_run(bench: Bench) -> None:
    with pytest.raises(MalformedError) as caught:
        bench.session("floats.onnx").run(None, {"x": [{"a": 1}]})
    assert caught.value.reason is Reason.UNSUPPORTED_TENSOR
    assert kinds(bench.records()) == ["boot", "setup"]


@pytest.mark.parametrize(
    ("dtype", "datatype", "one"),
    [
        ("bool", "BOOL", b"\1"),
        ("int8", "INT8", b"\1"),
        (">i2", "INT16", b"\1\0"),
        (">u4", "UINT32", b"\1\0\0\0"),
        ("uint64", "UINT64", b"\1" + bytes(7)),
        ("float16", "FP16", b"\x00\x3c"),
        (">f8", "FP64", b"\0\0\0\0\0\0\xf0\x3f"),
        ("U3", "BYTES", b"\1\0\0\0" + b"1"),
        ("S3", "BYTES", b"\1\0\0\0" + b"1"),
    ],
)
def test_arrays_are_tensors_in_little_endian(dtype: str, datatype: str, one: bytes) -> None:
    made = to_tensor("x", np.array([[1, 1]]).astype(dtype))
    assert made == Tensor("x", datatype, (1, 2), one + one)


def test_the_order_in_memory_does_not_count() -> None:
    rows = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert to_tensor("x", np.asfortranarray(rows)) == to_tensor("x", rows)
    assert to_tensor("x", rows.T.copy().T) == to_tensor("x", rows)


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "V4"])
def test_other_arrays_are_refused(dtype: str) -> None:
    with pytest.raises(MalformedError) as caught:
        to_tensor("x", np.zeros(1, dtype))
    assert caught.value.reason is Reason.UNSUPPORTED_TENSOR


def test_a_swapped_model_is_not_loaded(bench: Bench) -> None:
    (bench.models / "linear.onnx").write_bytes(echo(TensorProto.FLOAT))
    with pytest.raises(VerificationError) as caught:
        bench.session("linear.onnx")
    assert caught.value.reason is Reason.WRONG_MODEL_FILE


def test_a_model_swapped_after_loading_changes_nothing(bench: Bench) -> None:
    session = bench.session("linear.onnx")
    (bench.models / "linear.onnx").write_bytes(b"another")
    assert len(session.run(None, {"x": X})) == 2


def test_a_model_outside_the_release_is_not_loaded(bench: Bench) -> None:
    (bench.models / "mine.onnx").write_bytes(linear())
    with pytest.raises(NotFoundError):
        bench.session("mine.onnx")


def test_a_file_that_is_no_model_is_refused(bench: Bench) -> None:
    with pytest.raises(MalformedError) as caught:
        bench.session("broken.onnx")
    assert caught.value.reason is Reason.MALFORMED_ONNX


def test_weights_in_a_file_of_their_own_are_verified_and_used(bench: Bench) -> None:
    session = bench.session("big/model.onnx", external_data=["big/w.bin"])
    np.testing.assert_array_equal(
        session.run(["y"], {"x": X})[0], bench.session("linear.onnx").run(["y"], {"x": X})[0]
    )


def test_swapped_weights_are_not_loaded(bench: Bench) -> None:
    weights = bench.models / "big" / "w.bin"
    weights.write_bytes(bytes(len(weights.read_bytes())))
    with pytest.raises(VerificationError) as caught:
        bench.session("big/model.onnx", external_data=["big/w.bin"])
    assert caught.value.where == str(weights)


def test_weights_are_never_looked_for_on_disk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # ONNX Runtime would find them here, and nobody would have verified them.
    monkeypatch.chdir(bench.models / "big")
    with pytest.raises(MalformedError) as caught:
        bench.session("big/model.onnx")
    assert caught.value.reason is Reason.MALFORMED_ONNX


def test_weights_outside_the_models_folder_are_refused(bench: Bench) -> None:
    with pytest.raises(MalformedError) as caught:
        bench.session("big/model.onnx", external_data=["linear.onnx"])
    assert caught.value.reason is Reason.ONNX_EXTERNAL_DATA


def test_a_missing_engine_names_the_extra(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "onnxruntime", None)
    with pytest.raises(UnavailableError) as caught:
        bench.session("linear.onnx")
    assert caught.value.reason is Reason.MISSING_EXTRA
    assert "provreg[shim]" in caught.value.hint


@pytest.mark.parametrize("mode", MODES)
def test_what_a_run_was_fed_and_gave_is_sealed(bench: Bench, mode: str) -> None:
    policy = PrivacyPolicy(
        schema="privacy-policy/v1", retention_class="scores", keep=True, output="committed"
    )
    vault = Vault(bench.folder / "private")
    session = bench.session("linear.onnx", mode=mode, keeping=Keeping(policy, vault))
    answer = session.run_recorded(None, {"x": X})
    bench.shim.sequence.beat()  # durable after the answer's record
    record = bench.records()[answer.n]
    assert isinstance(record, inference.Completion)
    payload = vault.open(record.intent_n).payload
    assert payload.request.endswith(X.tobytes())
    assert payload.answer == tensor.framed(answer.tensors)
    assert payload.content_digest == answer.content_digest
    assert record.response.content_digest != answer.content_digest.hex()


def test_a_run_that_cannot_be_sealed_gives_nothing_in_strict(bench: Bench) -> None:
    policy = PrivacyPolicy(schema="privacy-policy/v1", retention_class="scores", keep=True)
    (bench.folder / "private").write_bytes(b"no folder")
    session = bench.session("linear.onnx", keeping=Keeping(policy, Vault(bench.folder / "private")))
    with pytest.raises(UnavailableError) as caught:
        session.run(None, {"x": X})
    assert caught.value.reason is Reason.STORAGE_FAILED
    assert isinstance(bench.records()[-1], inference.Failure)
