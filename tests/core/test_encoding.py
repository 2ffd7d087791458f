"""Encodings: whatever would not be written back byte for byte is refused."""

import base64
import json
import sys
import threading
import time
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import assume, given
from hypothesis import strategies as st

from registry.core.encoding import (
    MAX_SAFE_INTEGER,
    AsciiKey,
    Count,
    Hex16,
    Hex32,
    Hex64,
    SafeInt,
    Text,
    Time,
    Value,
    base64_bytes,
    base64_text,
    decimal,
    hex_bytes,
    read_foreign_numbers,
    read_json,
    write_json,
)
from registry.errors import MalformedError, Reason

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | TEXTS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(KEYS, children, max_size=4),
    max_leaves=12,
)


class Inner(Value, frozen=True):
    """A value inside another."""

    n: SafeInt
    words: tuple[str, ...] = ()


class Outer(Value, frozen=True):
    """A value whose members stand in another order than they are written."""

    z_last: str
    a_first: Inner
    by_key: dict[AsciiKey, int] = msgspec.field(default_factory=dict)
    flag: bool = False


OUTERS = st.builds(
    Outer,
    z_last=TEXTS,
    a_first=st.builds(
        Inner,
        n=st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER),
        words=st.lists(TEXTS, max_size=3).map(tuple),
    ),
    by_key=st.dictionaries(KEYS.filter(bool), st.integers(-9, 9), max_size=3),
    flag=st.booleans(),
)


def refusal(data: bytes, kind: Any = Outer) -> Reason:
    with pytest.raises(MalformedError) as caught:
        read_json(data, kind)
    return caught.value.reason


# JSON.


@given(JSON)
def test_plain_values_are_written_as_the_rfc_8785_library_writes_them(value: Any) -> None:
    assert write_json(value) == rfc8785.dumps(value)


@given(OUTERS)
def test_typed_values_are_written_as_the_rfc_8785_library_writes_them(value: Outer) -> None:
    written = write_json(value)
    assert written == rfc8785.dumps(json.loads(written))


@given(OUTERS)
def test_what_was_written_is_read_back(value: Outer) -> None:
    assert read_json(write_json(value), Outer) == value


@given(OUTERS, st.data())
def test_a_second_spelling_of_the_same_value_is_refused(value: Outer, data: st.DataObject) -> None:
    written = write_json(value)
    plain = json.loads(written)
    respelled = data.draw(
        st.sampled_from(
            [
                json.dumps(plain, ensure_ascii=False).encode(),
                json.dumps(plain, ensure_ascii=True, separators=(",", ":")).encode(),
                json.dumps(
                    dict(reversed(plain.items())), ensure_ascii=False, separators=(",", ":")
                ).encode(),
                written + b"\n",
                b" " + written,
                b"\xef\xbb\xbf" + written,
                written.replace(b"/", b"\\/"),
                written.replace(b":", b": ", 1),
                written[:-1] + b',"flag":false}',
            ]
        )
    )
    assume(respelled != written)
    assert refusal(respelled) in {Reason.NOT_CANONICAL, Reason.MALFORMED_JSON}


BASE = b'{"a_first":{"n":1},"z_last":"x"}'


def test_the_base_of_the_following_cases_is_read() -> None:
    assert read_json(BASE, Outer) == Outer(z_last="x", a_first=Inner(n=1))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a_first":{"n":1},"z_last":"x","z_last":"x"}', Reason.NOT_CANONICAL),
        (b'{"a_first":{"n":2},"a_first":{"n":1},"z_last":"x"}', Reason.NOT_CANONICAL),
        (b'{"z_last":"x","a_first":{"n":1}}', Reason.NOT_CANONICAL),
        (b'{"a_first":{"n":1},"flag":false,"z_last":"x"}', Reason.NOT_CANONICAL),
        (b'{"a_first":{"n":1},"z_last":"\\u0078"}', Reason.NOT_CANONICAL),
        (b'{"a_first":{"n":1},"z_last":"\\/"}', Reason.NOT_CANONICAL),
        (b'{"a_first":{"n":-0},"z_last":"x"}', Reason.NOT_CANONICAL),
        (BASE + b" ", Reason.NOT_CANONICAL),
        (BASE + b"{}", Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":1},"z_last":"\\ud800"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":1},"z_last":"\xff"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":1},"z_last":"\xed\xa0\x80"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":NaN},"z_last":"x"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":Infinity},"z_last":"x"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":1.5},"z_last":"x"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":1e400},"z_last":"x"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":01},"z_last":"x"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":9007199254740992},"z_last":"x"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":"1"},"z_last":"x"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":1},"unknown":1,"z_last":"x"}', Reason.MALFORMED_JSON),
        (b'{"a_first":{"n":1}}', Reason.MALFORMED_JSON),
        (b"[]", Reason.MALFORMED_JSON),
        (b"", Reason.MALFORMED_JSON),
        (b"[" * 100_000, Reason.MALFORMED_JSON),
    ],
)
def test_every_other_spelling_is_refused_with_its_reason(data: bytes, reason: Reason) -> None:
    assert refusal(data) is reason


@pytest.mark.parametrize("number", [b"1.0", b"1e0", b"10e-1"])
def test_an_integer_spelled_as_a_float_is_refused(number: bytes) -> None:
    data = BASE.replace(b'"n":1', b'"n":' + number)
    assert refusal(data) in {Reason.NOT_CANONICAL, Reason.MALFORMED_JSON}


def test_deeply_nested_json_is_refused_without_a_crash() -> None:
    deep = b'{"a_first":' * 50_000 + b"1" + b"}" * 50_000
    assert refusal(deep) is Reason.MALFORMED_JSON


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Hex16, "a" * 32, "A" * 32),
        (Hex16, "0" * 32, "0" * 32 + "\\n"),
        (Hex32, "f" * 64, "g" * 64),
        (Hex64, "1" * 128, "1" * 127),
        (Text, "a" * 4096, "a" * 4097),
        (AsciiKey, "k", "é"),
        (AsciiKey, "k", ""),
        (Time, "2026-09-01T12:00:00Z", "2026-09-01T12:00:00+00:00"),
        (Time, "2026-09-01T12:00:00.123456Z", "2026-09-01T12:00:00.123Z"),
        (Time, "2026-09-01T12:00:00Z", "2026-09-01 12:00:00Z"),
        (Time, "2026-09-01T12:00:00Z", "\uff12026-09-01T12:00:00Z"),
    ],
)
def test_a_type_takes_its_own_spelling_only(kind: Any, good: str, bad: str) -> None:
    read_json(f'"{good}"'.encode(), kind)
    assert refusal(f'"{bad}"'.encode(), kind) is Reason.MALFORMED_JSON


@pytest.mark.parametrize("number", [-1, MAX_SAFE_INTEGER + 1])
def test_a_count_is_neither_negative_nor_unsafe(number: int) -> None:
    assert refusal(str(number).encode(), Count) is Reason.MALFORMED_JSON


# Base64.


@given(st.binary(max_size=40))
def test_base64_is_read_back(data: bytes) -> None:
    assert base64_bytes(base64_text(data)) == data


@pytest.mark.parametrize(
    "text",
    ["QQ", "QR==", "QQ==\n", " QQ==", "QQ= =", "Q===", "QQ==QQ==", "Q-_=", "QQ=", "é", "=", "QUI"],
)
def test_base64_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        base64_bytes(text)
    assert caught.value.reason is Reason.MALFORMED_BASE64


@given(st.text("QRSTAB+/=-_ \n", max_size=9))
def test_base64_is_never_read_unless_it_would_be_written_so(text: str) -> None:
    try:
        data = base64_bytes(text)
    except MalformedError:
        return
    assert base64.b64encode(data).decode() == text


# Hexadecimal and decimal.


@given(st.binary(max_size=20))
def test_hexadecimal_is_read_back(data: bytes) -> None:
    assert hex_bytes(data.hex(), len(data)) == data


@pytest.mark.parametrize("text", ["AB", "a", "abc", "abcd", " ab", "ab ", "0x", "\u0660\u0660", ""])
def test_hexadecimal_in_another_spelling_or_length_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        hex_bytes(text, 1)
    assert caught.value.reason is Reason.MALFORMED_HEX


@given(st.integers(0, 2**63 - 1))
def test_decimals_are_read_back(number: int) -> None:
    assert decimal(str(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "-1", "+1", "01", "00", "1_000", " 1", "1 ", "1\n", "٣", "²", "1.0", "0x1"),
        *(str(2**63), "9" * 19, "9" * 20, "1" * 5000),
    ],
)
def test_a_decimal_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        decimal(text)
    assert caught.value.reason is Reason.MALFORMED_DECIMAL


def test_others_run_while_a_long_array_of_numbers_is_read() -> None:
    # It fails at its end, so that nothing but reading it takes time.
    data = b"[" + b"1," * 500_000 + b"x"
    caught: list[Reason] = []

    def read() -> None:
        try:
            read_foreign_numbers(data, what="request")
        except MalformedError as error:
            caught.append(error.reason)

    turns = 0
    reader = threading.Thread(target=read)
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    try:
        reader.start()
        while reader.is_alive():
            turns += 1
            time.sleep(0)
    finally:
        sys.setswitchinterval(before)
    assert caught == [Reason.MALFORMED_JSON]
    assert turns > 10
