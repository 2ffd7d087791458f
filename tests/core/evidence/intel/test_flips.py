"""33: one bit flipped in each region; what is signed fails, what is not keeps the evidence id."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from registry.core.evidence.checks import Severity
from registry.core.evidence.claims import Examination
from registry.core.evidence.intel.quote import Quote
from tests.core.evidence.intel.minted import examine
from tests.core.evidence.intel.sets import SETS, load, needs_sets
from tools.fake_vendor.intel import Spec, mint

STEP = 5
"""Every fifth byte; each region is longer or begins with one that is flipped."""


def regions(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, begin and end of each region."""
    quote = Quote.parse(data)
    wrapped = 0 if quote.head.version == 3 else 6
    auth, chain = len(quote.qe_auth_data), len(quote.certification_data)
    parts = (
        ("signed", len(quote.head.signed)),
        ("lengths", 4),
        ("signature", 64),
        ("key", 64),
        ("lengths", wrapped),
        ("QE report", 384),
        ("QE signature", 64),
        ("lengths", 2),
        ("auth data", auth),
        ("lengths", 6),
        ("chain", chain),
        ("padding", len(quote.trailing)),
    )
    start = 0
    for name, size in parts:
        if size:
            yield name, start, start + size
        start += size
    assert start == len(data)


def grave(examination: Examination) -> set[str]:
    """Checks that contradict the evidence."""
    return {
        item.check
        for item in examination.checks
        if item.outcome == "fail" and item.severity in (Severity.CRYPTO, Severity.IDENTITY)
    }


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


WANTED = {
    # Another version has another layout, hence I3.
    "signed": {"I1", "I2", "I3", "I13"},
    "signature": {"I13"},
    "key": {"I10", "I13"},
    "lengths": {"I3"},
    "QE report": {"I10"},
    "QE signature": {"I10"},
    "auth data": {"I10"},
}


def check(whole: Examination, flipped: Examination, name: str) -> None:
    same = flipped.evidence_id == whole.evidence_id
    if name in ("signed", "key", "QE report"):
        assert not same
    elif name in ("signature", "QE signature", "auth data", "padding", "chain"):
        assert same
    if name in WANTED:
        assert grave(flipped) & WANTED[name], name
    elif name == "padding":
        assert grave(flipped) == grave(whole)
        assert {item.finding for item in flipped.checks if item.check == "I3"} == {"TRAILING_BYTES"}
    else:
        assert grave(flipped), "an embedded chain has one spelling"


# 33
@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_flipped_bit_is_noticed_or_harmless(version: int) -> None:
    minted = mint(Spec(version=version, tail=bytes(7)))
    whole = examine(minted)
    for name, start, end in regions(minted.evidence):
        for place in range(start, end, STEP):
            changed = flip(minted.evidence, place)
            check(whole, examine(replace(minted, evidence=changed)), name)


@needs_sets
@pytest.mark.parametrize(
    "name",
    [
        item
        for item in SETS
        if item.startswith(("alibaba_quote_5@2025", "phala-tdx_q", "phala-sgx"))
    ],
)
def test_a_flipped_bit_of_a_real_quote_is_noticed_or_harmless(name: str) -> None:
    case = load(name)
    whole = case.examine()
    for region, start, end in regions(case.quote):
        for place in range(start, end, 11):
            changed = replace(case, quote=flip(case.quote, place))
            check(whole, changed.examine(), region)
