"""The list to begin with: what it names by number is believed from that number on, not below."""

from datetime import UTC, datetime

import pytest

from registry.core import encoding
from registry.core.evidence.appraisal import Question
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, applying, check, check_names
from registry.core.evidence.families import rules_of
from registry.core.evidence.published import STARTER
from registry.core.evidence.sev_snp.product import ProductLine
from tests.core.evidence.sev_snp.minted import examined, judged
from tools.fake_vendor.amd import NOON, Spec

FIXED = {"fmc": 1, "bl": 4, "tee": 0, "snp": 0x18, "ucode": 0xDB}
ENTRYSIGN = tuple(item for item in STARTER if "EntrySign" in item.reason)
PUBLISHED = datetime(2025, 2, 3, tzinfo=UTC)


def distrusted(spec: Spec, at: datetime = NOON, *, now: bool = True) -> list[str]:
    found = applying(ENTRYSIGN, examined(spec, at), now=now)
    assert all(item.selector.family is Family.AMD_SNP for item in found)
    return [next(iter(item.selector.below)) for item in found]


@pytest.mark.parametrize(
    ("line", "model", "stepping", "level"),
    [
        (ProductLine.MILAN, 0x01, 1, 0xDB),
        (ProductLine.MILAN, 0x01, 2, 0x44),
        (ProductLine.GENOA, 0x11, 1, 0x54),
        (ProductLine.GENOA, 0x11, 2, 0x4F),
        (ProductLine.GENOA, 0xA0, 2, 0x19),
    ],
    ids=["Milan", "Milan-X", "Genoa", "Genoa-X", "Bergamo"],
)
def test_microcode_that_can_be_forged_is_distrusted_by_design(
    line: ProductLine, model: int, stepping: int, level: int
) -> None:
    cpu = (0x19, model, stepping)
    old = Spec(line=line, cpu=cpu, tcb=FIXED | {"ucode": level - 1})
    new = Spec(line=line, cpu=cpu, tcb=FIXED | {"ucode": level})
    assert distrusted(old) == ["tcb_ucode"]
    assert distrusted(new) == []


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("line", "level"), [(ProductLine.MILAN, 0x18), (ProductLine.GENOA, 0x17)])
def test_firmware_that_cannot_attest_the_fix_is_distrusted(
    line: ProductLine, level: int, version: int
) -> None:
    old = Spec(line=line, version=version, tcb=FIXED | {"snp": level - 1})
    new = Spec(line=line, version=version, tcb=FIXED | {"snp": level})
    assert distrusted(old) == ["tcb_snp"]
    assert distrusted(new) == []


def test_nothing_is_said_of_turin() -> None:
    tcb = dict.fromkeys(FIXED, 0)
    assert distrusted(Spec(line=ProductLine.TURIN, tcb=tcb)) == []


def test_evidence_from_before_a_publication_counts_as_then() -> None:
    spec = Spec(line=ProductLine.GENOA, tcb=FIXED | {"ucode": 0x53})
    assert NOON > PUBLISHED
    assert distrusted(spec, now=False) == ["tcb_ucode"]
    before = PUBLISHED.replace(year=2024)
    assert distrusted(spec, before, now=False) == []
    assert distrusted(spec, before, now=True) == ["tcb_ucode"]


def test_what_is_distrusted_is_refused_and_says_where_that_was_published() -> None:
    spec = Spec(line=ProductLine.GENOA, tcb=FIXED | {"ucode": 0x53})
    [found] = judged(spec, question=Question(distrusted=STARTER)).findings()
    assert (found.check, found.finding) == ("S16", "DISTRUSTED")
    assert "CVE-2024-56161" in found.detail


@pytest.mark.parametrize("entry", STARTER, ids=[str(number) for number in range(len(STARTER))])
def test_each_entry_selects_something_by_claims_of_its_family(entry: Entry) -> None:
    check(entry)
    check_names(entry, rules_of(entry.selector.family))
    assert encoding.read_json(encoding.write_json(entry), Entry) == entry


def test_azure_is_distrusted_for_what_amd_is() -> None:
    said = {
        family: [
            encoding.write_json((item.selector.claims, item.selector.below))
            for item in STARTER
            if item.selector.family is family
        ]
        for family in (Family.AMD_SNP, Family.AZURE_SNP_VTPM)
    }
    assert said[Family.AMD_SNP] == said[Family.AZURE_SNP_VTPM]
    assert len(said[Family.AMD_SNP]) == 8
