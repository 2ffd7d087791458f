"""Replays: outcome, digests, numbers and reasons of one agree, or it is refused."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core import encoding
from registry.core.attestation.statement import Statement, Subject
from registry.core.records import predicate, replay
from registry.core.records.inference import Model, Runtime
from registry.core.records.replay import (
    APART,
    SETTINGS,
    UNKNOWN,
    Difference,
    Receipt,
    Replay,
    Tolerance,
    Why,
)
from registry.errors import MalformedError, Reason

MODEL = Model(release="sha256:" + "1" * 64, manifest="2" * 64, name="acme/x", version="1")
RAN = Runtime(
    engine="onnxruntime",
    version="1.22.0",
    provider="CPUExecutionProvider",
    opt_level="ORT_ENABLE_ALL",
    isa="x86_64 avx2",
)
NEAR = Difference(abs="0.001", rel="0", top1=True, elements=4)
FAR = Difference(abs="7", rel="0.5", top1=True, elements=4)
TOLERANCE = Tolerance(abs="0.01", rel="0.001", top1=True)
OTHER = "5" * 64


def replayed(**members: Any) -> Replay:
    """A bit-exact replay, but for ``members``."""
    said: dict[str, Any] = {
        "receipt": Receipt(shim_id="a" * 32, intent_n=3, n=4, leaf="b" * 64),
        "model": MODEL,
        "model_file": "model.onnx",
        "input": "proven",
        "outcome": "bit_exact",
        "recorded": RAN,
        "replayed": RAN,
        "recorded_output": "4" * 64,
        "replayed_output": "4" * 64,
        "run_us": 1200,
        "issued_at": "2026-09-01T12:00:00Z",
    }
    return Replay(**(said | members))


def other_version() -> Runtime:
    return Runtime(
        engine="onnxruntime",
        version="1.21.0",
        provider=RAN.provider,
        opt_level=RAN.opt_level,
        isa=RAN.isa,
    )


GOOD: dict[str, dict[str, Any]] = {
    "the same bits": {},
    "the same bits of an unproven input": {"input": "unproven", "reasons": (Why.INPUT_UNPROVEN,)},
    "the same bits by another version": {
        "replayed": other_version(),
        "reasons": (Why.ENGINE_VERSION_DIFFERS,),
    },
    "near": {
        "outcome": "within_tolerance",
        "replayed_output": OTHER,
        "tolerance": TOLERANCE,
        "difference": NEAR,
    },
    "far": {
        "outcome": "mismatch",
        "replayed_output": OTHER,
        "tolerance": TOLERANCE,
        "difference": FAR,
        "reasons": (Why.VALUES,),
    },
    "far by another version": {
        "outcome": "mismatch",
        "replayed_output": OTHER,
        "replayed": other_version(),
        "tolerance": TOLERANCE,
        "difference": FAR,
        "reasons": (Why.ENGINE_VERSION_DIFFERS, Why.VALUES),
    },
    "far, from an unproven input": {
        "outcome": "indeterminate",
        "input": "unproven",
        "replayed_output": OTHER,
        "tolerance": TOLERANCE,
        "difference": FAR,
        "reasons": (Why.INPUT_UNPROVEN, Why.VALUES),
    },
    "other bits under the same settings": {
        "outcome": "mismatch",
        "replayed_output": OTHER,
        "reasons": (Why.OUTPUT_NOT_GIVEN,),
    },
    "other bits under other settings": {
        "outcome": "indeterminate",
        "replayed_output": OTHER,
        "replayed": other_version(),
        "reasons": (Why.ENGINE_VERSION_DIFFERS, Why.OUTPUT_NOT_GIVEN),
    },
    "far, of a model that draws numbers": {
        "outcome": "indeterminate",
        "replayed_output": OTHER,
        "tolerance": TOLERANCE,
        "difference": FAR,
        "reasons": (Why.NOT_REPEATABLE, Why.VALUES),
    },
    "another shape": {
        "outcome": "mismatch",
        "replayed_output": OTHER,
        "reasons": (Why.OUTPUT_SHAPE,),
    },
}


def read(said: Replay, **members: Any) -> Statement[Any]:
    made = replay.statement(said)
    for name, value in members.items():
        made = Statement(
            type_=made.type_,
            predicate=made.predicate,
            predicate_type=made.predicate_type,
            subject=value if name == "subject" else made.subject,
        )
    return predicate.parse(encoding.write_json(made))


@pytest.mark.parametrize("what", GOOD)
def test_a_replay_that_agrees_with_itself_is_read_back(what: str) -> None:
    said = replayed(**GOOD[what])
    assert read(said).predicate == said


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "equal digests are no mismatch": GOOD["far"] | {"replayed_output": "4" * 64},
    "other digests are not bit-exact": {"replayed_output": OTHER},
    "near needs numbers": {"outcome": "within_tolerance", "replayed_output": OTHER},
    "a tolerance needs a difference": {"tolerance": TOLERANCE},
    "far is not near": GOOD["near"] | {"difference": FAR},
    "near is no mismatch": GOOD["far"] | {"difference": NEAR},
    "another first is not near": GOOD["near"]
    | {"difference": Difference(abs="0", rel="0", top1=False, elements=4)},
    "an unproven input refutes nothing": GOOD["far"]
    | {"input": "unproven", "reasons": (Why.INPUT_UNPROVEN, Why.VALUES)},
    "an unproven input is said": {"input": "unproven"},
    "a proven input is not unproven": {"reasons": (Why.INPUT_UNPROVEN,)},
    "other settings are said": {"replayed": other_version()},
    "the same settings are not other ones": {"reasons": (Why.ISA_DIFFERS,)},
    "digests refute nothing under other settings": GOOD["other bits under other settings"]
    | {"outcome": "mismatch"},
    "digests refute under the same settings": GOOD["other bits under the same settings"]
    | {"outcome": "indeterminate"},
    "a model that draws numbers refutes nothing": GOOD["far, of a model that draws numbers"]
    | {"outcome": "mismatch"},
    "values refute": GOOD["far"] | {"outcome": "indeterminate"},
    "a mismatch has a reason": {"outcome": "mismatch", "replayed_output": OTHER},
    "nothing is open without a reason": {"outcome": "indeterminate", "replayed_output": OTHER},
    "near was compared": GOOD["near"] | {"reasons": (Why.OUTPUT_NOT_GIVEN,)},
    "near is not apart": GOOD["near"] | {"reasons": (Why.VALUES,)},
    "reasons stand in order": GOOD["far by another version"]
    | {"reasons": (Why.VALUES, Why.ENGINE_VERSION_DIFFERS)},
    "reasons stand once": GOOD["far"] | {"reasons": (Why.VALUES, Why.VALUES)},
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_replay_that_contradicts_itself_is_refused(what: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read(replayed(**CONTRADICTIONS[what]))
    assert caught.value.reason is Reason.MALFORMED_FIELD


@pytest.mark.parametrize("subject", [Subject.named(replay.SUBJECT, b"c" * 32), None])
def test_another_subject_than_the_record_is_refused(subject: Subject | None) -> None:
    said = replayed()
    wrong = subject or Subject.named("output", bytes.fromhex(said.receipt.leaf))
    with pytest.raises(MalformedError) as caught:
        read(said, subject=(wrong,))
    assert caught.value.reason is Reason.SUBJECT_MISMATCH


@pytest.mark.parametrize("path", ["../model.onnx", "/model.onnx", ""])
def test_a_path_that_no_release_has_is_refused(path: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read(replayed(model_file=path))
    assert caught.value.reason is Reason.UNSAFE_PATH


@pytest.mark.parametrize("text", ["1e-3", "+1", "01", "1.", ".5", "0.10", "-1", "nan", "", "1\n"])
def test_a_number_has_one_spelling(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read(replayed(**GOOD["near"] | {"tolerance": Tolerance(abs=text, rel="0", top1=False)}))
    assert caught.value.reason is Reason.MALFORMED_STATEMENT


RUNTIMES = st.builds(
    Runtime,
    engine=st.just("onnxruntime"),
    version=st.sampled_from(["", "1", "2"]),
    provider=st.sampled_from(["", "CPU"]),
    opt_level=st.sampled_from(["", "ALL", "NONE"]),
    isa=st.sampled_from(["", "avx2"]),
    threads=st.integers(0, 2),
)


@given(RUNTIMES, RUNTIMES)
def test_what_is_the_same_needs_no_reason_and_what_is_not_has_one(
    recorded: Runtime, ran: Runtime
) -> None:
    reasons = replay.settings_reasons(recorded, ran)
    assert set(reasons) <= SETTINGS
    complete = all((recorded.version, recorded.provider, recorded.opt_level, recorded.isa))
    assert (not reasons) == (recorded == ran and complete)


@given(
    st.sets(st.sampled_from(sorted((APART | UNKNOWN) - {Why.INPUT_UNPROVEN}))),
    st.booleans(),
    st.booleans(),
)
def test_just_one_of_mismatch_and_indeterminate_can_be_said_of_other_digests(
    reasons: set[Why],
    proven: bool,
    same: bool,
) -> None:
    ran = RAN if same else other_version()
    said = {*reasons, *replay.settings_reasons(RAN, ran)}
    if not proven:
        said.add(Why.INPUT_UNPROVEN)
    taken = 0
    for outcome in ("mismatch", "indeterminate"):
        try:
            read(
                replayed(
                    outcome=outcome,
                    replayed=ran,
                    replayed_output=OTHER,
                    input="proven" if proven else "unproven",
                    reasons=tuple(sorted(said)),
                )
            )
        except MalformedError:
            continue
        taken += 1
    assert taken == bool(said)


def test_the_reasons_are_of_three_kinds_and_no_other() -> None:
    assert not [
        (one, other)
        for one, other in product((SETTINGS, APART, UNKNOWN), repeat=2)
        if one is not other and one & other
    ]
    assert set(Why) == SETTINGS | APART | UNKNOWN
