"""Reading Nitro documents: the message has one spelling, the document one meaning."""

from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.evidence.checks import CheckError
from registry.core.evidence.nitro.document import (
    MAX_CABUNDLE,
    MAX_CERTIFICATE_BYTES,
    MAX_MODULE_ID_CHARACTERS,
    MAX_PCR,
    MAX_PUBLIC_KEY_BYTES,
    MAX_USER_DATA_BYTES,
    PCR_SIZES,
    SIGNATURE_SIZE,
    Document,
    Message,
)
from registry.core.evidence.nitro.findings import NitroFinding
from registry.core.verdict import Verdict
from tests.core.evidence.nitro.judging import found, judged
from tools.fake_vendor.nitro import PROTECTED, Spec

FIELDS: dict[Any, Any] = {
    "module_id": "i-1-enc2",
    "digest": "SHA384",
    "timestamp": 1,
    "pcrs": {0: bytes(48)},
    "certificate": b"c",
    "cabundle": [b"r"],
}

optional = st.none() | st.binary(max_size=MAX_USER_DATA_BYTES)
documents = st.fixed_dictionaries(
    {
        "module_id": st.text(min_size=1, max_size=MAX_MODULE_ID_CHARACTERS),
        "digest": st.just("SHA384"),
        "timestamp": st.integers(1, 2**63 - 1),
        "pcrs": st.dictionaries(
            st.integers(0, MAX_PCR), st.sampled_from(PCR_SIZES).map(bytes), max_size=MAX_PCR + 1
        ),
        "certificate": st.binary(min_size=1, max_size=MAX_CERTIFICATE_BYTES),
        "cabundle": st.lists(st.binary(min_size=1, max_size=99), min_size=1, max_size=MAX_CABUNDLE),
    },
    optional={
        "public_key": st.none() | st.binary(min_size=1, max_size=MAX_PUBLIC_KEY_BYTES),
        "user_data": optional,
        "nonce": optional,
    },
)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(CheckError) as caught:
        act()
    return str(caught.value.finding)


@given(documents, st.booleans())
def test_every_document_is_read_as_it_was_written(fields: dict[Any, Any], newer: bool) -> None:
    written = cbor2.dumps(fields)
    payload = b"\xbf" + written[1:] + b"\xff" if newer else written
    read = Document.parse(payload)
    for name in ("module_id", "timestamp", "pcrs", "certificate"):
        assert getattr(read, name) == fields[name]
    assert list(read.cabundle) == fields["cabundle"]
    for name in ("public_key", "user_data", "nonce"):
        assert getattr(read, name) == fields.get(name)
    assert read.unknown == ()


@given(st.binary(max_size=200), st.binary(min_size=96, max_size=96), st.booleans())
def test_a_message_is_written_back_byte_for_byte(
    payload: bytes, signature: bytes, tagged: bool
) -> None:
    written = Message(payload, signature).to_bytes()
    read = Message.parse((b"\xd2" if tagged else b"") + written)
    assert (read.payload, read.signature, read.to_bytes()) == (payload, signature, written)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (Message.parse, Document.parse):
        try:
            read(data)
        except CheckError:
            continue


@pytest.mark.parametrize("name", list(FIELDS))
def test_no_field_may_be_missing(name: str) -> None:
    less = {key: value for key, value in FIELDS.items() if key != name}
    assert refusal(lambda: Document.parse(cbor2.dumps(less))) == NitroFinding.MISSING_FIELD


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ({"module_id": ""}, NitroFinding.FIELD_SIZE),
        ({"module_id": "x" * (MAX_MODULE_ID_CHARACTERS + 1)}, NitroFinding.FIELD_SIZE),
        ({"module_id": b"bytes"}, NitroFinding.FIELD_TYPE),
        ({"pcrs": [bytes(48)]}, NitroFinding.FIELD_TYPE),
        ({"pcrs": {True: bytes(48)}}, NitroFinding.PCR_INDEX),
        ({"pcrs": {0: "x" * 48}}, NitroFinding.FIELD_TYPE),
        ({"certificate": "text"}, NitroFinding.FIELD_TYPE),
        ({"certificate": bytes(MAX_CERTIFICATE_BYTES + 1)}, NitroFinding.FIELD_SIZE),
        ({"cabundle": b"bytes"}, NitroFinding.FIELD_TYPE),
        ({"cabundle": ["text"]}, NitroFinding.FIELD_TYPE),
        ({"cabundle": [b""]}, NitroFinding.FIELD_SIZE),
        ({"cabundle": [b"r"] * (MAX_CABUNDLE + 1)}, NitroFinding.CERTIFICATE_COUNT),
        ({"public_key": b""}, NitroFinding.FIELD_SIZE),
        ({"public_key": bytes(MAX_PUBLIC_KEY_BYTES + 1)}, NitroFinding.FIELD_SIZE),
        ({"public_key": "text"}, NitroFinding.FIELD_TYPE),
        ({"user_data": bytes(MAX_USER_DATA_BYTES + 1)}, NitroFinding.FIELD_SIZE),
        ({"nonce": bytes(MAX_USER_DATA_BYTES + 1)}, NitroFinding.FIELD_SIZE),
        ({"nonce": False}, NitroFinding.FIELD_TYPE),
        ({"timestamp": "1"}, NitroFinding.FIELD_TYPE),
        ({"timestamp": cbor2.CBORTag(1, 7)}, NitroFinding.NOT_CBOR),
        ({"digest": b"SHA384"}, NitroFinding.FIELD_TYPE),
    ],
)
def test_a_field_of_another_type_or_size_is_refused(fields: dict[str, Any], finding: str) -> None:
    assert refusal(lambda: Document.parse(cbor2.dumps(FIELDS | fields))) == finding


@pytest.mark.parametrize("payload", [b"\x80", b"\x00", b"\x40", b"\xf6", b"\xbf\xff\xff"])
def test_what_is_no_map_is_no_document(payload: bytes) -> None:
    assert refusal(lambda: Document.parse(payload)) in (
        NitroFinding.FIELD_TYPE,
        NitroFinding.NOT_CBOR,
    )


@pytest.mark.parametrize(
    ("items", "finding"),
    [
        ([], NitroFinding.NOT_SIGN1),
        ([PROTECTED, {}, b""], NitroFinding.NOT_SIGN1),
        ([PROTECTED, {}, b"", bytes(96), 0], NitroFinding.NOT_SIGN1),
        ([PROTECTED, {}, None, bytes(96)], NitroFinding.NOT_SIGN1),
        ([PROTECTED, [], b"", bytes(96)], NitroFinding.NOT_SIGN1),
        ([{1: -35}, {}, b"", bytes(96)], NitroFinding.NOT_SIGN1),
        ([PROTECTED, {}, b"", ""], NitroFinding.NOT_SIGN1),
        ({}, NitroFinding.NOT_SIGN1),
    ],
    ids=["none", "three", "five", "detached", "list", "unwrapped", "text", "map"],
)
def test_a_message_is_four_items(items: object, finding: str) -> None:
    assert refusal(lambda: Message.parse(cbor2.dumps(items))) == finding


@pytest.mark.parametrize(
    "edit",
    [
        lambda all_: b"\x98\x04" + all_[1:],
        lambda all_: b"\x84\x58\x04" + all_[2:],
        lambda all_: all_.replace(b"\xa0\x43abc", b"\xa0\x58\x03abc"),
        lambda all_: all_.replace(b"\xa0\x43abc", b"\xb8\x00\x43abc"),
        lambda all_: all_.replace(b"\x58\x60", b"\x59\x00\x60"),
    ],
    ids=["list", "header", "payload", "map", "signature"],
)
def test_a_message_has_no_longer_spelling(edit: Callable[[bytes], bytes]) -> None:
    written = Message(b"abc", bytes(SIGNATURE_SIZE)).to_bytes()
    assert refusal(lambda: Message.parse(edit(written))) == NitroFinding.NOT_SHORTEST


@pytest.mark.parametrize("start", [b"\x9f", b"\x84\x5f"])
def test_nothing_in_a_message_leaves_its_length_open(start: bytes) -> None:
    written = Message(b"abc", bytes(SIGNATURE_SIZE)).to_bytes()
    if start == b"\x9f":
        opened = start + written[1:] + b"\xff"
    else:
        opened = start + written[1:6] + b"\xff" + written[6:]
    assert refusal(lambda: Message.parse(opened)) == NitroFinding.CHUNKED_STRING


def test_a_field_that_is_not_known_is_for_the_policy_and_refused_by_default() -> None:
    spec = Spec(fields=lambda all_: all_ | {"new": 7})
    appraisal = judged(spec)
    assert found(appraisal) == {"N2": {NitroFinding.UNKNOWN_FIELD}}
    assert appraisal.verdict is Verdict.INVALID
    assert appraisal.trust["configuration"] == 97
