"""The rows of the public vectors for NVIDIA: what is in the index, as values."""

import base64
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lxml import etree

from registry.core.evidence.checks import CheckError, Ledger
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nvidia import chain, rim
from registry.core.evidence.nvidia.container import (
    Device,
    read_pem,
    read_report,
    write_device,
)
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.measurements import compare
from registry.core.evidence.nvidia.rules import DEVICE_RULES, SET_RULES, TOKEN_RULES
from registry.core.evidence.nvidia.spdm import Report
from registry.core.evidence.nvidia.tables import CHECKS
from registry.core.evidence.roots import Roots, Vendor
from registry.core.evidence.rules import Rules
from registry.core.evidence.validity import appraised_at

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

    @property
    def reason(self) -> str:
        """Why it is refused, as we name it; empty if it is good by itself."""
        if self.verdict == "valid" or "RIM itself good" in self.findings:
            return ""
        return next(reason for text, reason in _REASONS.items() if text in self.findings)


_REASONS = {
    "G7 chain of 2": "UNTRUSTED_ROOT",
    "G7 SignatureValue": "RIM_SIGNATURE",
    "G7 reference digest": "RIM_DIGEST",
    "G7 well-formed": "UNTRUSTED_ROOT",
    "no resource in Payload": "RIM_EMPTY_PAYLOAD",
    "alternatives not a number": "RIM_ALTERNATIVES",
    "index not a number": "RIM_INDEX",
    "certificate data not decodable": "RIM_CERTIFICATE_DATA",
    "colloquialVersion missing": "RIM_NO_VERSION",
    "Hash missing": "RIM_HASH_MISSING",
    "index missing": "RIM_INDEX_MISSING",
    "size missing": "RIM_SIZE_MISSING",
    "X509Certificate missing": "RIM_NO_CERTIFICATE",
    "Payload missing": "RIM_NO_PAYLOAD",
    "payload parses": "RIM_UNSIGNED",
}
"""What the index says of a manifest, and what we call it."""


def manifest_findings(row: Manifest) -> list[str]:
    """What is wrong with a manifest at the moment of its row: signature and shape, then signer."""
    data = read(row.file)

    def signed() -> None:
        rim.open_signed(data)

    def signer() -> None:
        # Also of what has another shape, so that each reason speaks for itself.
        texts = etree.fromstring(data).iter("{*}X509Certificate")
        certificates = tuple(base64.b64decode("".join((item.text or "").split())) for item in texts)
        if certificates:
            chain.check_links(certificates, chain.MANIFEST_CERTIFICATES, Vendor.NVIDIA_RIM, Roots())
            chain.check_windows(Ledger(CHECKS, appraised_at(row.at)), certificates)

    found = []
    for check in (signed, signer):
        try:
            check()
        except CheckError as error:
            found.append(str(error.finding))
    return found


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


def complete_reason(said: str) -> str:
    """The check and finding that a row of that table names; empty if it names none."""
    for text, reason in (
        ("thisUpdate in the future", "G5 NOT_YET_VALID"),
        ("device OCSP stale", "G5 EXPIRED"),
        ("expired", "G7 EXPIRED"),
    ):
        if text in said:
            return reason
    return ""


@dataclass(frozen=True)
class Pair:
    """A manifest and a report that the index compares: how many entries match, and which do not."""

    manifest: str
    report: str
    matches: int
    wrong: str


PAIRS = (
    Pair(VBIOS_RIM, "go-nvattest-tools/test_raw_gpu_attestation_report.dat", 12, ""),
    Pair(
        "nvtrust/samples/1010_0200_882_96005E0001_PROD.swidtag",
        "attestation-sdk/gpu/hopperAttestationReport.txt",
        12,
        "",
    ),
    Pair(
        "attestation-sdk/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml",
        "attestation-sdk/switch/switchAttestationReport.txt",
        31,
        "",
    ),
    Pair(
        "attestation-sdk/sample_rims/NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml",
        "attestation-sdk/gpu/hopperAttestationReport.txt",
        11,
        "index 9",
    ),
    Pair(
        "attestation-sdk/NV_GPU_DRIVER_GH100_550.144.03.xml",
        "go-nvattest-tools/test_raw_gpu_attestation_report.dat",
        16,
        "index 7, 22, 31, 39, 40",
    ),
)
"""What the notes of the index say of measurements."""


def compared(pair: Pair) -> tuple[int, str]:
    """How many entries of a manifest a report matches, and which it does not."""
    data = read(pair.report)
    raw = data if pair.report.endswith(".dat") else bytes.fromhex(data.decode("ascii"))
    try:
        return compare(Report.parse(raw), [rim.read(read(pair.manifest))]), ""
    except CheckError as error:
        if error.finding is not Found.MEASUREMENT_MISMATCH:
            raise
        return int(error.what.partition(" ")[0]), error.where


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
