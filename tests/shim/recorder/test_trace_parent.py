"""Which ``traceparent`` is one, and what of it is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.shim.recorder.trace_parent import trace_parent

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
WHOLE = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize("flags", ["00", "01", "ff"])
def test_a_trace_is_taken_as_it_is(flags: str) -> None:
    whole = f"00-{TRACE}-{PARENT}-{flags}"
    assert trace_parent(whole) == whole


def test_of_a_later_version_only_what_is_known_is_taken() -> None:
    later = f"cc-{TRACE}-{PARENT}-01"
    assert trace_parent(later) == later
    assert trace_parent(f"{later}-the applicant earns 1234") == later


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the applicant earns 1234",
        WHOLE[:-1],
        WHOLE + "-",
        WHOLE + "-more",
        WHOLE + "x",
        WHOLE + "\n",
        " " + WHOLE,
        WHOLE.upper(),
        WHOLE.replace("-", "_"),
        f"ff-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01more",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f"0x-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-0.",
        f"00-{TRACE}-{PARENT}-\u0660\u0661",
        f"{WHOLE}, {WHOLE}",
        WHOLE * 1000,
    ],
    ids=[
        *("nothing", "words", "short", "dash", "more", "long", "line", "space", "upper", "dashes"),
        *("version", "glued", "trace", "parent", "hex", "prefix", "flags", "digits", "twice"),
        "thousand",
    ],
)
def test_what_is_none_is_not_taken(text: str) -> None:
    assert trace_parent(text) == ""


@given(st.text(max_size=80))
def test_nobodys_words_are_taken(text: str) -> None:
    assert trace_parent(text) == ""


@given(st.binary(min_size=26, max_size=26))
def test_every_trace_is_taken(data: bytes) -> None:
    version, trace, parent, flags = data[:1], data[1:17], data[17:25], data[25:]
    whole = f"{version.hex()}-{trace.hex()}-{parent.hex()}-{flags.hex()}"
    good = version != b"\xff" and any(trace) and any(parent)
    assert trace_parent(whole) == (whole if good else "")
