"""The rows of the public vectors for NVIDIA: what is in the index, as values."""

import base64
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nvidia.container import (
    Device,
    read_pem,
    read_report,
    write_device,
)
from registry.core.evidence.nvidia.rules import DEVICE_RULES, SET_RULES, TOKEN_RULES
from registry.core.evidence.rules import Rules

_VECTORS = os.environ.get("PROVREG_TEST_VECTORS")
FOLDER = Path(_VECTORS) / "tee" / "nvidia" if _VECTORS else None
WHY_NOT = "PROVREG_TEST_VECTORS does not say where the public vectors are"

DRIVER_RIM = "go-nvattest-tools/rim/NV_GPU_DRIVER_GH100_550.90.07.xml"
VBIOS_RIM = "go-nvattest-tools/rim/NV_GPU_VBIOS_1010_0200_882_96009F0001.xml"


@dataclass(frozen=True)
class Row:
    """One row of the table of evidence.

    Attributes:
        name: The file, and its chain where one file has several.
        checks: The checks that the index says fail; it counts what is missing in G5 to G8.
        facts: What the index says of the report, as it is written there.
    """

    name: str
    file: str
    chain: str
    verdict: str
    tier: str
    checks: frozenset[str]
    facts: str
    evidence_id: str

    @property
    def rules(self) -> Rules:
        """A device, a set or a token."""
        if "G12" in self.checks:
            return TOKEN_RULES
        return SET_RULES if self.evidence_id.startswith("set:") else DEVICE_RULES

    def evidence(self) -> bytes:
        """The file as it is; a report that comes apart from its chain, in our own form."""
        if self.file.endswith(".json"):
            return read(self.file)
        return write_device(Device(read_report(read(self.file)), read_pem(read(self.chain))))


@dataclass(frozen=True)
class Manifest:
    """One row of the table of manifests."""

    file: str
    at: datetime
    verdict: str
    findings: str
    note: str


def read(name: str) -> bytes:
    """A file of the vectors."""
    assert FOLDER is not None, WHY_NOT
    return (FOLDER / name).read_bytes()


def complete_set() -> Endorsements:
    """Both manifests and the seven answers of the one complete public set."""
    assert FOLDER is not None, WHY_NOT
    answers = sorted((FOLDER / "go-nvattest-tools" / "ocsp").iterdir())
    assert len(answers) == 7
    return Endorsements.of(
        [
            *((Role.NVIDIA_OCSP, base64.b64decode(path.read_bytes())) for path in answers),
            *((Role.NVIDIA_RIM, read(name)) for name in (DRIVER_RIM, VBIOS_RIM)),
        ]
    )


def _section(title: str) -> list[list[str]]:
    """The cells of every row of one table."""
    if FOLDER is None:
        return []
    text = (FOLDER / "INDEX.md").read_text(encoding="utf-8")
    part = text.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]
    table = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def evidence_rows() -> list[Row]:
    """The table of evidence."""
    return [_row(cells) for cells in _section("Evidence")]


def manifest_rows() -> list[Manifest]:
    """The table of manifests."""
    return [
        Manifest(
            _quoted(cells[0]),
            datetime.fromisoformat(cells[2]),
            cells[3].strip("*"),
            cells[4],
            cells[6],
        )
        for cells in _section("RIM files")
    ]


def complete_rows() -> list[tuple[str, str, str]]:
    """The table of the complete set: time, policy, what is expected."""
    return [(cells[0], cells[1], cells[2]) for cells in _section("The complete set")]


def ocsp_rows() -> list[list[str]]:
    """The table of OCSP responses: file, status, serial, window."""
    return [[_quoted(cells[0]), *cells[1:]] for cells in _section("OCSP responses")]


def _row(cells: list[str]) -> Row:
    file, chain = _quoted(cells[0]), _quoted(cells[2])
    verdict, tier = (word.strip(" *") for word in cells[3].split(","))
    named = set(re.findall(r"\bG\d+\b", cells[4].split(";")[0]))
    # What is incomplete lacks manifests and answers.
    checks = {"G5", "G6", "G7", "G8"} if verdict == "incomplete" else named
    return Row(
        name=Path(file).stem + (f"-{Path(chain).stem}" if chain not in ("inside", "none") else ""),
        file=file,
        chain=chain,
        verdict={"incomplete": "indeterminate"}.get(verdict, verdict),
        tier=tier,
        checks=frozenset(checks),
        facts=cells[4],
        evidence_id=cells[5],
    )


def _quoted(cell: str) -> str:
    return cell.strip("`")
