"""The public vectors for NVIDIA: real reports, manifests and answers, and what is made of each."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.x509 import ocsp

from registry.core.evidence.appraisal import Appraisal, appraise
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nvidia.container import (
    read as read_container,
)
from registry.core.evidence.nvidia.container import (
    write_set,
)
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.ocsp import Answer
from registry.core.evidence.nvidia.rules import DEVICE_RULES, SET_RULES
from registry.core.evidence.nvidia.tables import CHECKS
from registry.core.evidence.policy import Policy
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules
from registry.core.evidence.trust import Tier
from registry.core.evidence.validity import Validity
from registry.core.verdict import Verdict
from tests.core.evidence.nvidia.rows import (
    PAIRS,
    WHY_NOT,
    Manifest,
    Pair,
    Row,
    compared,
    complete_rows,
    complete_set,
    evidence_rows,
    manifest_findings,
    manifest_rows,
    ocsp_rows,
    read,
)

ROWS = evidence_rows()
MANIFESTS = manifest_rows()
ANSWERS = ocsp_rows()
LATER = datetime(2026, 6, 1, tzinfo=UTC)
_COMPLETE = [row for row in ROWS if row.file.startswith("go-nvattest-tools/test_raw")]

pytestmark = pytest.mark.skipif(not ROWS, reason=WHY_NOT)


def judged(
    rules: Rules,
    evidence: bytes,
    at: datetime,
    endorsements: Endorsements | None = None,
    days: int | None = None,
) -> Appraisal:
    """What the vector policy makes of evidence."""
    policy = Policy(name="vectors", family=rules.family, skip=tuple(rules.references))
    roots = Roots.also(answer_days=days)
    examination = rules.examine(evidence, endorsements or Endorsements(), at, roots)
    return appraise(examination, policy, rules)


def failing(appraisal: Appraisal) -> set[str]:
    return {item.check for item in appraisal.findings()}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_evidence_gets_the_verdict_of_the_index(row: Row) -> None:
    appraisal = judged(row.rules, row.evidence(), LATER)
    assert (appraisal.verdict.value.lower(), appraisal.tier) == (row.verdict, row.tier)
    examination = appraisal.examination
    if row.evidence_id == "-":
        assert examination.evidence_id is None
    else:
        assert examination.evidence_id is not None
        assert examination.evidence_id.hex() == row.evidence_id.removeprefix("set: ")
    assert failing(appraisal) >= row.checks
    if row.verdict == "indeterminate":
        # Where the reports name devices that are not in the set, G10 says so.
        assert failing(appraisal) - {"G10"} == row.checks
        passed = {item.check for item in appraisal.checks if item.outcome == "pass"}
        assert passed >= {"G1", "G2", "G3", "G4"}
        assert appraisal.checks[0].inputs


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if "driver" in row.facts],
    ids=lambda row: row.name,
)
def test_reports_say_what_the_index_says(row: Row) -> None:
    claims = judged(row.rules, row.evidence(), LATER).examination.claims
    facts = {
        name: part.removeprefix(name).strip()
        for part in row.facts.split("; ", 1)[1].split(", ")
        for name in ("driver", "VBIOS", "FEATURE_FLAG", "PROTECTED_PCIE_STATUS", "nonce")
        if part.startswith(f"{name} ")
    }
    assert str(claims.get("driver_version", "-")) == facts["driver"]
    firmware = claims.get("vbios_version", claims.get("switch_bios_version", ""))
    assert str(firmware).lower() == facts["VBIOS"]
    flag = claims.get("feature_flag")
    text = flag.to_bytes(2, "little").hex() if isinstance(flag, int) else "-"
    assert text == facts["FEATURE_FLAG"]
    pcie = claims.get("protected_pcie")
    assert (pcie.hex() if isinstance(pcie, bytes) else "-") == facts["PROTECTED_PCIE_STATUS"]
    nonce = claims["nonce"]
    assert isinstance(nonce, bytes)
    assert nonce.hex().startswith(facts["nonce"].rstrip("…"))


def test_the_table_says_something_of_every_check_of_every_row() -> None:
    for row in ROWS:
        checks = judged(row.rules, row.evidence(), LATER).checks
        assert {item.check for item in checks} == set(CHECKS)


@pytest.mark.parametrize(
    ("at", "days", "verdict", "tier", "checks"),
    [
        ("2025-08-21T07:00:00Z", None, Verdict.INDETERMINATE, Tier.NONE, {"G5"}),
        ("2025-10-24T12:00:00Z", None, Verdict.INDETERMINATE, Tier.NONE, {"G5"}),
        ("2025-10-24T12:00:00Z", 90, Verdict.VALID, Tier.AFFIRMING, set()),
        ("2026-02-23T00:00:00Z", 10_000, Verdict.INDETERMINATE, Tier.NONE, {"G7"}),
        ("2026-06-02T00:00:00Z", 10_000, Verdict.INDETERMINATE, Tier.NONE, {"G7"}),
    ],
    ids=["device OCSP good", "RIM OCSP good", "90 days", "VBIOS signer ended", "driver signer too"],
)
def test_the_complete_set_is_judged_as_the_index_says(  # catalogue row 106
    at: str, days: int | None, verdict: Verdict, tier: Tier, checks: set[str]
) -> None:
    assert at in " ".join(row[0] for row in complete_rows())
    appraisal = judged(
        DEVICE_RULES, _COMPLETE[0].evidence(), datetime.fromisoformat(at), complete_set(), days
    )
    assert (appraisal.verdict, appraisal.tier) == (verdict, tier)
    assert failing(appraisal) == checks
    assert appraisal.examination.claims["golden_measurements"] == 33
    assert len(appraisal.examination.endorsements) == 9


def test_what_was_valid_then_stays_valid_then() -> None:
    window = judged(
        DEVICE_RULES,
        _COMPLETE[0].evidence(),
        datetime(2025, 10, 24, 12, tzinfo=UTC),
        complete_set(),
        90,
    ).examination.window
    assert window is not None
    for moment, verdict in (
        (window.start - 1, Verdict.INDETERMINATE),
        (window.start, Verdict.VALID),
        (window.end, Verdict.VALID),
        (window.end + 1, Verdict.INDETERMINATE),
    ):
        at = datetime.fromtimestamp(moment, UTC)
        appraisal = judged(DEVICE_RULES, _COMPLETE[0].evidence(), at, complete_set(), 90)
        assert appraisal.verdict is verdict, Validity.text(moment)


def test_eight_gpus_and_four_switches_of_one_machine_name_each_other() -> None:
    devices = [
        device
        for name in ("gpu", "switch")
        for device in read_container(read(f"nvtrust/ppcie/{name}_evidence.json")).devices
    ]
    appraisal = judged(SET_RULES, write_set(devices), LATER)
    assert failing(appraisal) == {"G5", "G6", "G7", "G8"}
    assert appraisal.examination.claims["gpu_count"] == 8
    assert appraisal.examination.claims["switch_count"] == 4
    fewer = judged(SET_RULES, write_set(devices[1:]), LATER)
    assert fewer.verdict is Verdict.INVALID
    assert Found.TOPOLOGY_GPUS in {item.finding for item in fewer.findings()}


@pytest.mark.parametrize("row", MANIFESTS, ids=lambda row: row.file.rpartition("/")[2])
def test_manifests_are_judged_as_the_index_says(row: Manifest) -> None:  # catalogue row 103
    found = manifest_findings(row)
    assert (row.reason in found) if row.reason else not found


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.manifest.rpartition("/")[2])
def test_golden_measurements_match_as_the_index_says(pair: Pair) -> None:
    assert compared(pair) == (pair.matches, pair.wrong)


def test_a_manifest_of_another_version_is_refused() -> None:  # catalogue row 107
    endorsements = Endorsements.of(
        [
            *(
                (item.role, item.data)
                for item in complete_set().items
                if b'colloquialVersion="550.90.07"' not in item.data
            ),
            (Role.NVIDIA_RIM, read("attestation-sdk/NV_GPU_DRIVER_GH100_550.144.03.xml")),
        ]
    )
    at = datetime(2025, 10, 24, 12, tzinfo=UTC)
    appraisal = judged(DEVICE_RULES, _COMPLETE[0].evidence(), at, endorsements, 90)
    assert appraisal.verdict is Verdict.INVALID
    said = [item for item in appraisal.findings() if item.finding == Found.RIM_VERSION]
    assert [item.check for item in said] == ["G6"]
    assert "550.144.03" in said[0].detail


@pytest.mark.parametrize("cells", ANSWERS, ids=lambda cells: cells[0].split("_")[1:5])
def test_answers_say_what_the_index_says(cells: list[str]) -> None:
    file, status, serial, this_update, next_update = cells
    answer = Answer.parse(base64.b64decode(read(file)))
    assert answer.status is ocsp.OCSPCertStatus[status]
    assert f"{answer.serial:x}" == serial
    assert answer.this_update == datetime.fromisoformat(this_update)
    assert answer.next_update == datetime.fromisoformat(next_update)
    assert answer.next_update - answer.this_update == timedelta(days=1)
