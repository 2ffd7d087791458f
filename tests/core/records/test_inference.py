"""Inference records of starts and of what runs: one spelling each, and old ones are read on."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.records import inference
from registry.core.records.inference import Boot, Report, SeenHead, Setup
from registry.errors import MalformedError, Reason
from tests.mint import AT

PLACE = inference.Sequence(
    shim_id="5" * 32, boot_id="b" * 32, n=0, prev_digest=inference.FIRST_PREVIOUS
)
MODEL = inference.Model(
    release=f"sha256:{'a' * 64}", manifest="b" * 64, name="acme/x", version="1.2.0"
)
RUNTIME = inference.Runtime(engine="vllm", version="1")

hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
short = st.text(st.characters(codec="utf-8"), max_size=20)


def or_unset(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(msgspec.UNSET) | strategy


heads = st.builds(
    SeenHead,
    origin=st.text("abc.", min_size=1, max_size=10),
    size=st.integers(0, 2**53 - 1),
    root=hexes,
)
boots = st.builds(
    Boot,
    sequence=st.just(PLACE),
    at=st.just(AT),
    prev_stop=st.just("first"),
    software=short,
    config=or_unset(hexes),
    seen=or_unset(heads),
    release=or_unset(hexes.map("sha256:{}".format)),
    evidence=or_unset(hexes),
)
reports = st.builds(
    Report,
    interface=st.sampled_from(["ollama", "llama.cpp", "openai", "open-inference"]),
    model=short,
    version=short,
    digest=or_unset(hexes),
    weights=st.lists(hexes, max_size=3).map(tuple),
    adapters=st.lists(hexes, max_size=3).map(tuple),
    chat_template=or_unset(hexes),
    quantization=short,
    engine=short,
    engine_version=short,
)
setups = st.builds(
    Setup,
    sequence=st.just(PLACE),
    at=st.just(AT),
    model=st.just(MODEL),
    binding=st.sampled_from(["runtime_reported", "name_only"]),
    level=st.just(1),
    runtime=st.just(RUNTIME),
    report=or_unset(reports),
)


@given(boots | setups)
def test_a_record_is_read_as_it_was_written(record: inference.Record) -> None:
    data = inference.write(record)
    assert inference.parse(data) == record
    assert inference.write(inference.parse(data)) == data


def a_boot() -> bytes:
    return inference.write(
        Boot(
            sequence=PLACE,
            at=AT,
            prev_stop="first",
            software="x",
            config="c" * 64,
            seen=SeenHead(origin="log.example", size=7, root="d" * 64),
            evidence="e" * 64,
        )
    )


def a_setup() -> bytes:
    return inference.write(
        Setup(
            sequence=PLACE,
            at=AT,
            model=MODEL,
            binding="runtime_reported",
            level=1,
            runtime=RUNTIME,
            report=Report(
                interface="ollama",
                model="x",
                digest="c" * 64,
                weights=("d" * 64,),
                adapters=("e" * 64,),
                chat_template="f" * 64,
            ),
        )
    )


@pytest.mark.parametrize(
    ("data", "digit"),
    [
        *((a_boot(), digit) for digit in "cde"),
        *((a_setup(), digit) for digit in "cdef"),
    ],
    ids=[
        *("configuration", "root", "evidence"),
        *("digest", "weights", "adapters", "template"),
    ],
)
@pytest.mark.parametrize("spelling", ["upper", "other", "short"])
def test_a_digest_has_one_spelling(data: bytes, digit: str, spelling: str) -> None:
    said = digit.encode() * 64
    spoiled = {"upper": said.upper(), "other": b"g" * 64, "short": said[:-1]}[spelling]
    assert said in data
    with pytest.raises(MalformedError) as caught:
        inference.parse(data.replace(said, spoiled))
    assert caught.value.reason is Reason.MALFORMED_STATEMENT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"size":7', b'"size":-1'),
        (b'"size":7', b'"size":7.0'),
        (b'"origin":"log.example"', b'"origin":""'),
        (b'"root":', b'"key":"","root":'),
        (b'"seen":{', b'"seen":null,"x":{'),
    ],
    ids=["negative", "a fraction", "no origin", "unknown member", "null"],
)
def test_another_head_is_none(before: bytes, after: bytes) -> None:
    data = a_boot()
    assert before in data
    with pytest.raises(MalformedError):
        inference.parse(data.replace(before, after))


def test_records_of_before_there_were_such_members_are_read() -> None:
    boot = Boot(sequence=PLACE, at=AT, prev_stop="first", software="x")
    data = inference.write(boot)
    assert not any(name in data for name in (b"config", b"seen", b"evidence", b"release"))
    assert inference.parse(data) == boot


def test_the_largest_report_fits_into_a_record() -> None:
    # Names and versions have 256 characters at most, of four bytes each.
    text = "\N{GRINNING FACE}" * 256
    report = Report(
        interface="open-inference",
        model=text,
        version=text,
        digest="c" * 64,
        weights=("d" * 64,) * 16,
        adapters=("e" * 64,) * 16,
        chat_template="f" * 64,
        quantization=text,
        engine=text,
        engine_version=text,
    )
    setup = Setup(
        sequence=PLACE,
        at=AT,
        model=MODEL,
        binding="runtime_reported",
        level=1,
        runtime=RUNTIME,
        report=report,
    )
    assert inference.parse(inference.write(setup)) == setup
