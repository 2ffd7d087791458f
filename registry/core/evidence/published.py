"""What was published about vendors and verifiers, as distrust entries: for each to judge.

Forged microcode (CVE-2024-56161, *EntrySign*): AMD-SB-3019 names the least SNP firmware of each
product line that attests the fix, and the least microcode patch of each design. The microcode
component of a TCB is the last byte of that patch's level; designs of one line count on their own,
and are told apart by what reports from version 3 on say of the processor. AMD-SB-7033
(CVE-2024-36347) says the same of Turin, by levels that were not at hand: no entry speaks of it.
"""

from itertools import product
from typing import Final

from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, Selector

_SNP: Final = (Family.AMD_SNP, Family.AZURE_SNP_VTPM)

_FIXED_FIRMWARE: Final = {"Milan": 0x18, "Genoa": 0x17}
"""The SNP component of a TCB from which on a product line attests fixed microcode."""

_FIXED_MICROCODE: Final = (
    ({"product_line": "Milan", "cpu_model": "1", "cpu_stepping": "1"}, 0xDB),
    # With stacked cache: Milan-X, Genoa-X.
    ({"product_line": "Milan", "cpu_model": "1", "cpu_stepping": "2"}, 0x44),
    ({"product_line": "Genoa", "cpu_model": "17", "cpu_stepping": "1"}, 0x54),
    ({"product_line": "Genoa", "cpu_model": "17", "cpu_stepping": "2"}, 0x4F),
    # Bergamo and Siena, whose keys are those of Genoa.
    ({"product_line": "Genoa", "cpu_model": "160"}, 0x19),
)
"""Designs, and the microcode component of a TCB from which on each is fixed."""


def _entrysign(selector: Selector) -> Entry:
    return Entry(
        selector=selector,
        effective_from="2025-02-03T00:00:00Z",
        reason="microcode of this age is not safe from forgery (EntrySign)",
        reference="AMD-SB-3019, CVE-2024-56161",
    )


STARTER: Final = (
    *(
        Entry(
            selector=Selector(family=family, claims={"product_line": "Milan"}),
            effective_from="2026-05-13T00:00:00Z",
            reason="the seed of Milan's endorsement keys was extracted: any report can be forged",
            reference="arXiv 2605.12990",
        )
        for family in _SNP
    ),
    *(
        _entrysign(Selector(family=family, claims={"product_line": line}, below={"tcb_snp": level}))
        for family, (line, level) in product(_SNP, _FIXED_FIRMWARE.items())
    ),
    *(
        _entrysign(Selector(family=family, claims=design, below={"tcb_ucode": level}))
        for family, (design, level) in product(_SNP, _FIXED_MICROCODE)
    ),
    Entry(
        selector=Selector(
            family=Family.INTEL_DCAP,
            verifiers=tuple(f"dcap-qvl 0.3.{patch}" for patch in range(9)),
        ),
        effective_from="2026-01-01T00:00:00Z",
        retroactive=True,
        reason="these versions never verified the identity of the quoting enclave",
        reference="CVE-2026-22696",
    ),
)
"""To begin with; whoever takes it over has read it."""
