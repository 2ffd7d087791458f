"""Replays: the registered model on the recorded input, or a reason why nothing can be said."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest

from registry.client import replay
from registry.client.registry import RegistryClient
from registry.client.replay import Brought, Choices
from registry.client.replays import FoundReplay, ReplayCalls
from registry.core.encoding import write_json
from registry.core.profiles import raw, tensor
from registry.core.profiles.open_inference import InferenceResponse
from registry.core.records import inference
from registry.core.records.disclosure import DisclosedOutput, Disclosure, commit_output
from registry.core.records.predicate import parse
from registry.core.records.replay import PREDICATE_TYPE, Replay, Tolerance, Why, statement
from registry.errors import Reason, RegistryError
from registry.inspection.arrays import to_array, to_tensor
from registry.inspection.rerun import Limits
from registry.shim.proxies.onnx import RecordedSession
from registry.shim.proxies.run_answer import Answer
from registry.shim.recorder.outcomes import Deployment
from registry.shim.revealing import reveal
from tests.client.conftest import Place
from tests.inspection.runnable import drawing, endless, outside, scorer, scorer_input
from tests.replaying import NOON, World, npz, recording
from tests.running import Caller
from tests.shim.world import call

X = to_array(scorer_input(4))
OTHER_LEVEL = "ORT_DISABLE_ALL"
FILES = {
    "model.onnx": scorer(),
    "other/model.onnx": scorer(seed=2),
    "other/endless.onnx": endless(),
    "other/drawing.onnx": drawing(seed=7.0),
    "README.md": b"a scorer",
}
CHOSEN = Choices("model.onnx")
SOON = 30.0


@pytest.fixture(scope="session")
def auditor(place: Place) -> Caller:
    """Somebody who may say what came of a replay."""
    return place.running.admit("auditor-1", "auditor")


@pytest.fixture(scope="session")
def world(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One shim for all tests."""
    folder = tmp_path_factory.mktemp("replays")
    with recording(
        place.running, folder, FILES, place.publisher, place.node, name="acme/replayed"
    ) as world:
        yield world


@pytest.fixture(scope="session")
def answer(world: World) -> Answer:
    """One recorded call."""
    made = world.session().run_recorded(None, {"x": X})
    world.shim.flush(SOON)
    return made


@pytest.fixture
def client(place: Place, auditor: Caller) -> Iterator[RegistryClient]:
    """Ask as the auditor."""
    with place.client(auditor.token) as client:
        yield client


@dataclass
class Desk:
    """An auditor at work on the calls of one shim."""

    client: RegistryClient
    world: World

    def brought(self, answer: Answer, **members: Any) -> Brought:
        """Everything that there is about a call, but for ``members``."""
        full = Brought(npz(x=X), self.world.salt(answer), answer.to_json())
        return replace(full, **members)

    def replay(
        self,
        answer: Answer,
        brought: Brought,
        choices: Choices = CHOSEN,
        folder: Path | None = None,
    ) -> Replay:
        """Run a call again, with the files that the shim has unless there are others."""
        found = replay.find(self.client, *self.world.receipt(answer))
        return replay.run_again(
            self.client, found, brought, choices, folder=folder or self.world.models, at=NOON
        )


@pytest.fixture
def desk(client: RegistryClient, world: World) -> Desk:
    return Desk(client, world)


def refusal(act: Callable[[], object]) -> Reason:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value.reason


def level(name: str, **members: Any) -> Choices:
    return replace(CHOSEN, opt_level=name, **members)


def test_a_call_gives_the_same_bits_again(desk: Desk, answer: Answer) -> None:
    said = desk.replay(answer, desk.brought(answer, output=None))
    assert (said.outcome, said.input, said.reasons) == ("bit_exact", "proven", ())
    assert said.replayed == said.recorded
    assert said.recorded.version == onnxruntime.__version__


def test_the_result_is_logged_and_found_under_its_record(
    desk: Desk, answer: Answer, auditor: Caller
) -> None:
    said = desk.replay(answer, desk.brought(answer))
    envelope = auditor.signer.sign(statement(said))
    desk.client.register(envelope, auditor.signer.public_key)
    leaf = bytes.fromhex(said.receipt.leaf)
    logged = list(desk.client.statements_about(PREDICATE_TYPE, leaf))[-1]
    assert logged.statement.predicate == said
    assert logged.granted.principal == "auditor-1"


def test_an_output_leads_to_its_receipt(desk: Desk, answer: Answer) -> None:
    found = replay.find_output(desk.client, [answer.content_digest])
    assert found.data == replay.find(desk.client, *desk.world.receipt(answer)).data
    wanted = lambda: replay.find_output(desk.client, [answer.content_digest], 2)  # noqa: E731
    assert refusal(wanted) is Reason.UNKNOWN_OUTPUT


def test_the_version_is_fetched_if_it_is_not_there(
    desk: Desk, answer: Answer, tmp_path: Path
) -> None:
    (tmp_path / "fetched").mkdir()
    said = desk.replay(answer, desk.brought(answer), folder=tmp_path / "fetched")
    assert said.outcome == "bit_exact"
    assert (tmp_path / "fetched" / "README.md").read_bytes() == FILES["README.md"]


def test_an_input_without_its_salt_is_unproven(desk: Desk, answer: Answer) -> None:
    said = desk.replay(answer, desk.brought(answer, salt=None))
    assert (said.outcome, said.input) == ("bit_exact", "unproven")
    assert said.reasons == (Why.INPUT_UNPROVEN,)


def test_an_input_as_json_opens_the_same_commitment(desk: Desk, answer: Answer) -> None:
    values = InferenceResponse("x", (scorer_input(4),)).to_bytes()
    document = values.replace(b'"model_name":"x","outputs"', b'"inputs"')
    assert desk.replay(answer, desk.brought(answer, input=document)).input == "proven"


# Inputs and outputs that are not the recorded ones.


def test_another_input_is_refused(desk: Desk, answer: Answer) -> None:
    changed = X.copy()
    changed[0, 0, 0] += 1e-6
    for other in (npz(x=changed), npz(x=X.astype(np.float64)), npz(z=X), npz(x=X[:1])):
        brought = desk.brought(answer, input=other)
        assert refusal(lambda b=brought: desk.replay(answer, b)) is Reason.REPLAY_INPUT  # type: ignore[misc]


def test_the_salt_of_another_call_is_refused(desk: Desk, answer: Answer) -> None:
    shim_id, n = desk.world.receipt(answer)
    for wrong in (
        reveal(desk.world.folder, shim_id, n + 1),
        reveal(desk.world.folder, bytes(16), n),
    ):
        brought = desk.brought(answer, salt=wrong)
        assert refusal(lambda b=brought: desk.replay(answer, b)) is Reason.REPLAY_INPUT  # type: ignore[misc]


def test_a_salt_of_another_size_is_refused(desk: Desk, answer: Answer) -> None:
    brought = desk.brought(answer, salt=bytes(31))
    assert refusal(lambda: desk.replay(answer, brought)) is Reason.MALFORMED_FIELD


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"PK\x03\x04nonsense", b"\xff\xff", b'{"inputs":[]}', b"text"]
)
def test_what_is_no_input_is_refused(desk: Desk, answer: Answer, data: bytes) -> None:
    assert refusal(lambda: desk.replay(answer, Brought(data))) is Reason.REPLAY_INPUT


def test_another_output_is_refused(desk: Desk, answer: Answer) -> None:
    [y, label] = answer.outputs
    for other in (npz(y=y + 1, label=label), npz(y=y), b"{}", b"\xff\xff"):
        brought = desk.brought(answer, output=other)
        assert refusal(lambda b=brought: desk.replay(answer, b)) is Reason.REPLAY_OUTPUT  # type: ignore[misc]


# Other settings.


def test_another_optimisation_level_is_within_the_tolerance(desk: Desk, answer: Answer) -> None:
    said = desk.replay(answer, desk.brought(answer), level(OTHER_LEVEL))
    assert (said.outcome, said.reasons) == ("within_tolerance", (Why.OPT_LEVEL_DIFFERS,))
    assert isinstance(said.difference, msgspec.Struct)
    assert 0 < float(said.difference.abs) < 1e-5
    assert said.difference.elements == 20


def test_who_chooses_other_settings_and_no_tolerance_refutes_nobody(
    desk: Desk, answer: Answer
) -> None:
    exact = Tolerance(abs="0", rel="0", top1=True)
    said = desk.replay(answer, desk.brought(answer), level(OTHER_LEVEL, tolerance=exact))
    assert (said.outcome, said.reasons) == ("indeterminate", (Why.OPT_LEVEL_DIFFERS, Why.VALUES))
    assert parse(write_json(statement(said))).predicate == said


def test_what_is_far_apart_is_a_mismatch_under_any_settings(desk: Desk, lie: Answer) -> None:
    said = desk.replay(lie, desk.brought(lie), level(OTHER_LEVEL))
    assert said.outcome == "mismatch"
    assert Why.OPT_LEVEL_DIFFERS in said.reasons
    assert len(said.reasons) > 1


def test_other_bits_under_other_settings_say_nothing_by_themselves(
    desk: Desk, answer: Answer
) -> None:
    said = desk.replay(answer, desk.brought(answer, output=None), level(OTHER_LEVEL))
    assert said.outcome == "indeterminate"
    assert said.reasons == (Why.OPT_LEVEL_DIFFERS, Why.OUTPUT_NOT_GIVEN)


def test_other_threads_are_said(desk: Desk, answer: Answer) -> None:
    said = desk.replay(answer, desk.brought(answer), replace(CHOSEN, threads=2))
    assert (said.outcome, said.reasons) == ("bit_exact", (Why.THREADS_DIFFER,))


def test_a_setting_that_onnx_runtime_does_not_know_is_refused(desk: Desk, answer: Answer) -> None:
    choices = level("ORT_FASTER")
    assert refusal(lambda: desk.replay(answer, desk.brought(answer), choices)) is Reason.BAD_SETTING


# A node that did not run what it recorded.


@pytest.fixture(scope="session")
def lie(world: World) -> Answer:
    """An output of another model, recorded as one of ``model.onnx`` of the release."""
    honest = world.session()
    session = onnxruntime.InferenceSession(FILES["other/model.onnx"])
    liar = RecordedSession(session, honest._deployment, world.shim.recorder)
    made = liar.run_recorded(None, {"x": X})
    world.shim.flush(SOON)
    return made


def test_an_output_of_another_model_is_a_mismatch(desk: Desk, lie: Answer) -> None:
    said = desk.replay(lie, desk.brought(lie, output=None))
    assert (said.outcome, said.reasons) == ("mismatch", (Why.OUTPUT_NOT_GIVEN,))


def test_how_far_apart_the_models_are_is_said(desk: Desk, lie: Answer) -> None:
    [y, label] = lie.outputs
    assert not np.array_equal(label, world_label())
    said = desk.replay(lie, desk.brought(lie))
    assert (said.outcome, said.reasons) == ("mismatch", (Why.EXACT_TYPE_DIFFERS,))
    assert y.shape == (4, 5)


def world_label() -> Any:
    return onnxruntime.InferenceSession(FILES["model.onnx"]).run(["label"], {"x": X})[0]


def test_an_unproven_input_refutes_nobody(desk: Desk, lie: Answer) -> None:
    for brought in (desk.brought(lie, salt=None), desk.brought(lie, salt=None, output=None)):
        assert desk.replay(lie, brought).outcome == "indeterminate"


def test_a_record_of_a_version_that_is_another_is_refused(desk: Desk, world: World) -> None:
    honest = world.session()._deployment()
    model = msgspec.structs.replace(honest.model, manifest="0" * 64)
    forged = Deployment(model, honest.binding, honest.runtime, honest.uncovered)
    session = onnxruntime.InferenceSession(FILES["model.onnx"])
    made = RecordedSession(session, lambda: forged, world.shim.recorder).run_recorded(
        None, {"x": X}
    )
    world.shim.flush(SOON)
    refused = refusal(lambda: desk.replay(made, desk.brought(made)))
    assert refused is Reason.SUBJECT_MISMATCH


# A record that only commits to the digest of its output.

OUTPUT_SALT = bytes(range(32))


@pytest.fixture(scope="session")
def hidden(world: World, answer: Answer) -> Answer:
    """The same call, of whose output the record shows a commitment only."""
    recorder, deployment = world.shim.recorder, world.session()._deployment()
    request = tensor.request_digest([to_tensor("x", X)])
    opened = recorder.intent(deployment, request)
    shown = commit_output(OUTPUT_SALT, answer.content_digest).hex()
    response = inference.Response(
        profile="output/tensor/v1", content_digest=shown, wire_digest=shown, complete=True
    )
    private = inference.Private(retention_class="chats", output="committed")
    n = recorder.complete(opened, response, private)
    world.shim.flush(SOON)
    return replace(answer, n=n)


def disclosure(hidden: Answer, world: World, **members: Any) -> bytes:
    """What the node shows an auditor."""
    digest = hidden.content_digest.hex()
    output = DisclosedOutput(content_digest=digest, wire_digest=digest, salt=OUTPUT_SALT.hex())
    values: dict[str, Any] = {
        "schema": "disclosure/v1",
        "receipt": f"{world.shim.shim_id}/{hidden.n - 1}",
        "output": output,
    }
    return write_json(Disclosure(**(values | members)))


def test_an_output_that_the_record_hides_is_compared_if_it_is_disclosed(
    desk: Desk, hidden: Answer, world: World
) -> None:
    shows = disclosure(hidden, world)
    said = desk.replay(hidden, desk.brought(hidden, disclosure=shows))
    assert (said.outcome, said.input) == ("bit_exact", "proven")
    near = desk.replay(hidden, desk.brought(hidden, disclosure=shows), level(OTHER_LEVEL))
    assert near.outcome == "within_tolerance"
    # The statement shows no more than the record does.
    for each in (said, near):
        assert hidden.content_digest not in (
            bytes.fromhex(each.recorded_output),
            bytes.fromhex(each.replayed_output),
        )
        assert each.recorded_output == commit_output(OUTPUT_SALT, hidden.content_digest).hex()


def test_an_output_that_nobody_discloses_is_not_compared(
    desk: Desk, hidden: Answer, world: World
) -> None:
    nothing = disclosure(hidden, world, output=msgspec.UNSET)
    for shown in (None, nothing):
        brought = desk.brought(hidden, disclosure=shown)
        refused = refusal(lambda b=brought: desk.replay(hidden, b))  # type: ignore[misc]
        assert refused is Reason.NOT_REPLAYABLE


def test_a_disclosure_of_something_else_is_refused(
    desk: Desk, hidden: Answer, world: World
) -> None:
    zeros = "0" * 64
    others = [
        disclosure(hidden, world, receipt=f"{world.shim.shim_id}/1"),
        disclosure(
            hidden,
            world,
            output=DisclosedOutput(content_digest=zeros, wire_digest=zeros, salt=zeros),
        ),
    ]
    for other in others:
        brought = desk.brought(hidden, disclosure=other)
        refused = refusal(lambda b=brought: desk.replay(hidden, b))  # type: ignore[misc]
        assert refused is Reason.FIELD_COMMITMENT


# A model that gives other numbers each time.


def test_a_model_that_draws_numbers_refutes_nobody(desk: Desk, world: World) -> None:
    x = np.zeros(4, np.float32)
    session = world.session("other/drawing.onnx")
    session.run(["y"], {"x": x})
    made = session.run_recorded(["y"], {"x": x})
    world.shim.flush(SOON)
    choices = Choices("other/drawing.onnx")
    brought = desk.brought(made, input=asked_for_y(x))
    said = desk.replay(made, brought, choices)
    assert said.outcome == "indeterminate"
    assert {Why.NOT_REPEATABLE, Why.VALUES} <= set(said.reasons)
    said = desk.replay(made, replace(brought, output=None), choices)
    assert (said.outcome, said.reasons) == (
        "indeterminate",
        (Why.NOT_REPEATABLE, Why.OUTPUT_NOT_GIVEN),
    )


def asked_for_y(x: Any, times: int = 1) -> bytes:
    """The input of a call that asked for one output by its name, so many times."""
    data = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return write_json({"inputs": [data], "outputs": [{"name": "y"}] * times})


# What cannot be replayed.


def test_a_call_that_gave_no_output_cannot_be_replayed(desk: Desk, world: World) -> None:
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        world.session().run(None, {"x": X[:, :1]})
    world.shim.flush(SOON)
    failed = world.shim.status().registered_n - 1
    shim_id = bytes.fromhex(world.shim.shim_id)
    assert refusal(lambda: replay.find(desk.client, shim_id, failed - 1)) is Reason.NOT_REPLAYABLE


def test_an_output_without_tensors_cannot_be_compared(desk: Desk, world: World) -> None:
    call(world.shim.recorder, b"a chat")
    world.shim.flush(SOON)
    digests = [raw.content_digest(b"a chat")]
    assert refusal(lambda: replay.find_output(desk.client, digests)) is Reason.NOT_REPLAYABLE


def test_a_version_with_several_models_wants_to_be_told_which(desk: Desk, answer: Answer) -> None:
    brought = desk.brought(answer)
    assert refusal(lambda: desk.replay(answer, brought, Choices())) is Reason.NOT_REPLAYABLE
    for path in ("README.md", "none.onnx"):
        choices = Choices(path)
        assert (
            refusal(lambda c=choices: desk.replay(answer, brought, c))  # type: ignore[misc]
            is Reason.WRONG_MODEL_FILE
        )


def test_files_that_are_not_the_registered_ones_are_not_run(
    desk: Desk, answer: Answer, tmp_path: Path
) -> None:
    brought = desk.brought(answer)
    (tmp_path / "other").mkdir()
    for _ in ("missing", "another"):
        refused = refusal(lambda: desk.replay(answer, brought, folder=tmp_path))
        assert refused is Reason.WRONG_MODEL_FILE
        (tmp_path / "model.onnx").write_bytes(FILES["other/model.onnx"])


def test_a_model_that_does_not_end_is_ended(desk: Desk, answer: Answer) -> None:
    choices = Choices("other/endless.onnx", limits=Limits(timedelta(seconds=1)))
    brought = Brought(npz(x=np.zeros(1, np.float32)))
    assert refusal(lambda: desk.replay(answer, brought, choices)) is Reason.REPLAY_LIMIT


def test_an_output_that_is_asked_for_twice_is_given_once(desk: Desk, answer: Answer) -> None:
    brought = Brought(asked_for_y(X, times=2), output=None)
    said = desk.replay(answer, brought)
    assert (said.outcome, said.input) == ("indeterminate", "unproven")


def test_a_model_that_does_not_take_the_input_has_failed(desk: Desk, answer: Answer) -> None:
    brought = Brought(npz(x=X[:, :1]))
    assert refusal(lambda: desk.replay(answer, brought)) is Reason.REPLAY_FAILED


def test_weights_in_files_of_their_own_are_found(
    place: Place, client: RegistryClient, tmp_path: Path
) -> None:
    data, weights = outside("w.bin")
    files = {"m/model.onnx": data, "m/w.bin": weights}
    x = np.arange(4, dtype=np.float32)
    with recording(
        place.running, tmp_path, files, place.publisher, place.node, name="acme/outside"
    ) as world:
        session = world.session("m/model.onnx", external_data=["m/w.bin"])
        answer = session.run_recorded(None, {"x": x})
        world.shim.flush(SOON)
        desk = Desk(client, world)
        brought = Brought(npz(x=x), world.salt(answer))
        said = desk.replay(answer, brought, Choices(), folder=tmp_path / "fetched")
    assert (said.outcome, said.model_file) == ("bit_exact", "m/model.onnx")


def test_the_outputs_that_were_asked_for_are_those_that_are_compared(
    desk: Desk, world: World
) -> None:
    made = world.session().run_recorded(["label"], {"x": X})
    world.shim.flush(SOON)
    values = InferenceResponse("x", (scorer_input(4),)).to_bytes()
    document = values.replace(b'"model_name":"x","outputs"', b'"inputs"')[:-1]
    document += b',"outputs":[{"name":"label"}]}'
    said = desk.replay(made, desk.brought(made, input=document))
    assert (said.outcome, said.input) == ("bit_exact", "proven")
    assert tensor.content_digest(made.tensors).hex() == said.replayed_output


@pytest.mark.parametrize("text", ["", "x/1", "a" * 32, "a" * 32 + "/-1", "a" * 32 + "/x"])
def test_what_names_no_receipt_is_told_apart(text: str) -> None:
    assert replay.parse_receipt(text) is None


def test_a_receipt_has_one_spelling() -> None:
    assert replay.parse_receipt("0a" * 16 + "/12") == (b"\x0a" * 16, 12)
    assert refusal(lambda: replay.parse_receipt("0A" * 16 + "/12")) is Reason.MALFORMED_HEX
    assert refusal(lambda: replay.parse_receipt("0a" * 16 + "/012")) is Reason.MALFORMED_DECIMAL


# --- What a shim makes of it. ---


def said_of(desk: Desk, auditor: Caller, said: Replay) -> FoundReplay | None:
    """Register a replay, and ask as a shim does."""
    envelope = auditor.signer.sign(statement(said))
    desk.client.register(envelope, auditor.signer.public_key)
    return ReplayCalls(desk.client).replay_of(bytes.fromhex(said.receipt.leaf))


def test_a_shim_finds_a_replay_that_agrees(desk: Desk, world: World, auditor: Caller) -> None:
    made = world.session().run_recorded(None, {"x": X})
    world.shim.flush(SOON)
    known = desk.replay(made, desk.brought(made))
    assert ReplayCalls(desk.client).replay_of(bytes.fromhex(known.receipt.leaf)) is None
    found = said_of(desk, auditor, known)
    assert found is not None
    assert found.agrees
    assert found.proof_bytes > 1000


def test_a_shim_is_told_of_a_replay_that_does_not_agree(
    desk: Desk, lie: Answer, auditor: Caller
) -> None:
    found = said_of(desk, auditor, desk.replay(lie, desk.brought(lie)))
    assert found is not None
    assert not found.agrees
