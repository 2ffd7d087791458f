"""Product lines of AMD processors, and what the eight bytes of a TCB version mean on each.

Milan and Genoa put the boot loader first and the SNP firmware at byte 6; Turin begins with the FMC
and has the SNP firmware at byte 3 (SEV Secure Nested Paging Firmware ABI Specification, 56860).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from registry.core.evidence.roots import Vendor

TCB_BYTES: Final = 8
"""Bytes of a TCB version."""

COMPONENTS: Final = ("fmc", "bl", "tee", "snp", "ucode")
"""The components that have a meaning, by the names that claims use."""

_FAMILY_19 = 0x19
_FAMILY_1A = 0x1A


class ProductLine(StrEnum):
    """A generation of processors with one root key; Siena and Bergamo count as Genoa."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


VENDORS: Final[Mapping[ProductLine, Vendor]] = {
    ProductLine.MILAN: Vendor.AMD_MILAN,
    ProductLine.GENOA: Vendor.AMD_GENOA,
    ProductLine.TURIN: Vendor.AMD_TURIN,
}
"""Whose root signs for which line."""

_EARLY = ("bl", "tee", "spl4", "spl5", "spl6", "spl7", "snp", "ucode")
_LAYOUTS: Final[Mapping[ProductLine, tuple[str, ...]]] = {
    ProductLine.MILAN: _EARLY,
    ProductLine.GENOA: _EARLY,
    ProductLine.TURIN: ("fmc", "bl", "tee", "snp", "spl5", "spl6", "spl7", "ucode"),
}


def line_of(family: int, model: int) -> ProductLine | None:
    """The product line of a processor by CPUID family and model; None if it is not known here."""
    if family == _FAMILY_19 and model in range(0x10):
        return ProductLine.MILAN
    if family == _FAMILY_19 and (model in range(0x10, 0x20) or model in range(0xA0, 0xB0)):
        return ProductLine.GENOA
    if family == _FAMILY_1A and model in range(0x12):
        return ProductLine.TURIN
    return None


def components(line: ProductLine, tcb: bytes) -> dict[str, int]:
    """The eight security versions of a TCB version by name; reserved ones are ``spl4`` to ``spl7``.

    ``spl4`` to ``spl7`` are the names that certificates give to reserved components.
    """
    return dict(zip(_LAYOUTS[line], tcb, strict=True))
