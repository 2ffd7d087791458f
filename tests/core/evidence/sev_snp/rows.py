"""The rows of the public vectors for AMD: what is in the index, as values."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.validity import seconds

_VECTORS = os.environ.get("PROVREG_TEST_VECTORS")
FOLDER = Path(_VECTORS) / "tee" / "amd-snp" if _VECTORS else None
WHY_NOT = "PROVREG_TEST_VECTORS does not say where the public vectors are"

_FLAGS = {
    "S9 debug": SNPFinding.DEBUG,
    "S10 ALIAS_CHECK_COMPLETE clear": SNPFinding.ALIAS_CHECK_CLEAR,
    "S7 committed": SNPFinding.PROVISIONAL_FIRMWARE,
    "S4 VEK certificate signature": SNPFinding.VEK_SIGNATURE,
}
_AZURE = ("trustee-az/", "attestation-rs/az_snp/")
_WINDOW = re.compile(r"(\S+T\d\d:\d\d)Z … (\S+T\d\d:\d\d)Z")


@dataclass(frozen=True)
class Row:
    """One row of the index.

    Attributes:
        name: The file, and a number if it occurs twice.
        file: The file, below the folder.
        azure: Whether it is Azure's form.
        minutes: The window of the endorsement key, to the minute, in Unix seconds.
    """

    name: str
    file: str
    azure: bool
    at: datetime
    verdict: str
    tier: str
    findings: frozenset[str]
    vmpl: int
    minutes: tuple[int, int]
    collateral: tuple[str, ...]
    evidence_id: str

    def evidence(self) -> bytes:
        """The bytes of the evidence."""
        data = read(self.file)
        if self.file.endswith(".hex"):
            return bytes.fromhex("".join(data.decode("ascii").split()))
        return data

    def endorsements(self) -> Endorsements:
        """What the row names."""
        return Endorsements.of(
            (Role.AMD_CHAIN if name.endswith(".pem") else Role.AMD_VEK, read(name))
            for name in self.collateral
        )


def read(name: str) -> bytes:
    """A file of the vectors."""
    assert FOLDER is not None, WHY_NOT
    return (FOLDER / name).read_bytes()


def rows(*, azure: bool) -> list[Row]:
    """The rows of the index; none if there are no vectors."""
    if FOLDER is None:
        return []
    lines = (FOLDER / "INDEX.md").read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = [_row(cells, number) for number, cells in enumerate(table) if _is_row(cells)]
    return [row for row in found if row.azure is azure]


def _is_row(cells: list[str]) -> bool:
    return len(cells) == 10 and cells[0].startswith("`") and cells[4].startswith("**")


def _row(cells: list[str], number: int) -> Row:
    file = cells[0].strip("`")
    verdict, _, tier = cells[4].partition(",")
    window = _WINDOW.search(cells[6])
    vmpl = re.search(r"VMPL (\d)", cells[5])
    assert window is not None
    start, end = (
        seconds(datetime.fromisoformat(part).replace(tzinfo=UTC)) for part in window.groups()
    )
    return Row(
        name=f"{number}-{file}",
        file=file,
        azure=file.startswith(_AZURE),
        at=datetime.fromisoformat(cells[3]),
        verdict=verdict.strip("* "),
        tier=tier.strip(),
        findings=frozenset(finding for flag, finding in _FLAGS.items() if flag in cells[5]),
        vmpl=int(vmpl[1]) if vmpl else 0,
        minutes=(start, end),
        collateral=tuple(re.findall(r"`(\S+\.(?:der|pem|testcer))`", cells[7])),
        evidence_id=cells[8],
    )
