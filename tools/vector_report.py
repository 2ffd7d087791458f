"""The table of all public vectors of evidence: what their indexes expect, and what is made of them.

No network is used, and none can be: opening a socket ends the run. The rows are read from the
indexes by the same code as in the tests.
"""

import base64
import os
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.core.evidence import event_log
from registry.core.evidence.appraisal import Appraisal, appraise
from registry.core.evidence.checks import CheckError
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.intel.quote import Quote
from registry.core.evidence.intel.report import TDReport
from registry.core.evidence.nvidia import ocsp
from registry.core.evidence.nvidia.rules import DEVICE_RULES
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules
from registry.core.evidence.starters import starter
from registry.errors import RegistryError
from tests.core.evidence import log_rows
from tests.core.evidence.intel import sets
from tests.core.evidence.nitro import test_vectors as nitro
from tests.core.evidence.nvidia import rows as nvidia
from tests.core.evidence.sev_snp import rows as amd
from tests.core.evidence.test_event_log import fixture

LATER = datetime(2026, 6, 1, tzinfo=UTC)
"""When NVIDIA evidence is judged whose index names no moment."""

_SAME = {"incomplete": "indeterminate"}


@dataclass(frozen=True)
class Outcome:
    """A verdict, a tier (empty if there is none), the findings by name, and the evidence id."""

    verdict: str
    tier: str = ""
    findings: frozenset[str] = frozenset()
    evidence_id: str = ""

    def __str__(self) -> str:
        said = f"{self.verdict}, {self.tier}" if self.tier else self.verdict
        return f"{said} [{' '.join(sorted(self.findings))}]" if self.findings else said


@dataclass(frozen=True)
class Line:
    """One vector.

    Attributes:
        note: What was found beside what the index names, or names in words only.
    """

    family: str
    vector: str
    at: str
    expected: Outcome
    actual: Outcome
    note: str = ""

    @property
    def differs(self) -> bool:
        """Whether it was judged in another way than expected."""
        return self.expected != self.actual


def lines() -> Iterator[Line]:
    """All vectors of all families."""
    yield from _intel()
    yield from _azure_tdx()
    yield from _amd(azure=False)
    yield from _amd(azure=True)
    yield from _nitro()
    yield from _nvidia()
    yield from _complete()
    yield from _manifests()
    yield from _answers()
    yield from _logs()


def _judge(rules: Rules, evidence: bytes, endorsements: Endorsements, at: datetime) -> Appraisal:
    examination = rules.examine(evidence, endorsements, at, Roots())
    return appraise(examination, starter(rules.family), rules)


def _outcome(appraisal: Appraisal, rules: Rules, *, by_check: bool = False) -> Outcome:
    noted = {str(name) for name, weight in rules.weights.items() if weight.treatment == "accept"}
    failed = [item for item in appraisal.findings() if item.finding not in noted]
    name = appraisal.examination.evidence_id
    return Outcome(
        appraisal.verdict.value.lower(),
        appraisal.tier.value,
        frozenset(item.check if by_check else f"{item.check} {item.finding}" for item in failed),
        "" if name is None else name.hex(),
    )


def _intel() -> Iterator[Line]:
    rules = FAMILIES[Family.INTEL_DCAP]
    for name in sets.SETS:
        case = sets.load(name)
        told = case.expected
        status = told["tcb_status"]
        flagged = {sets.FLAGGED[flag] for flag in told["flagged"]} | sets.STATUS[status]
        found = frozenset(f"{check} {finding}" for check, finding in flagged)
        expected = Outcome(told["verdict"], told["tier"], found, told["evidence_id"])
        appraisal = _judge(rules, case.quote, case.endorsements, case.at)
        claims = appraisal.examination.claims
        actual = _outcome(appraisal, rules)
        level = (claims.get("tcb_status"), claims.get("advisory_ids", ()))
        if level != (status, tuple(told["advisory_ids"])):
            actual = Outcome(f"another level: {level!r}")
        yield Line("intel-dcap", name, case.at.isoformat(), expected, actual, str(status))


_AZURE_TDX = re.compile(r"\| `(attestation-rs/az_tdx/[^`]+)` \|.*\| ([0-9a-f]{64}) \|")


def _azure_tdx() -> Iterator[Line]:
    """The same result as its quote alone, at the same times."""
    index = (sets.FOLDER / "intel-dcap" / "INDEX.md").read_text(encoding="utf-8")
    for file, name in _AZURE_TDX.findall(index):
        evidence = (sets.FOLDER / "intel-dcap" / file).read_bytes()
        for stem in (item for item in sets.SETS if item.startswith("azure-td-quote@")):
            case = sets.load(stem)
            told = case.expected
            found = frozenset({"I16 OUT_OF_DATE", "I19 SEPT_VE_ENABLED"})
            expected = Outcome(told["verdict"], told["tier"], found, name)
            yield Line(
                Family.AZURE_TDX_VTPM,
                file,
                case.at.isoformat(),
                expected,
                _azure(Family.AZURE_TDX_VTPM, evidence, case.endorsements, case.at),
            )


def _azure(family: Family, evidence: bytes, endorsements: Endorsements, at: datetime) -> Outcome:
    rules = FAMILIES.get(family)
    if rules is None:
        return Outcome("not judged: nobody here knows this family")
    return _outcome(_judge(rules, evidence, endorsements, at), rules)


_AMD_CHECKS = {
    "ALIAS_CHECK_CLEAR": "S10 ALIAS_CHECK_CLEAR",
    "DEBUG": "S9 DEBUG",
    "PROVISIONAL_FIRMWARE": "S7 PROVISIONAL_FIRMWARE",
    "VEK_SIGNATURE": "S4 VEK_SIGNATURE",
}
"""The check that finds what the index of AMD names."""


def _amd(*, azure: bool) -> Iterator[Line]:
    family = Family.AZURE_SNP_VTPM if azure else Family.AMD_SNP
    for row in amd.rows(azure=azure):
        found = {_AMD_CHECKS[str(item)] for item in row.findings}
        found |= {"S11 REFERENCE_MISMATCH"} if row.vmpl else set()
        expected = Outcome(row.verdict, row.tier, frozenset(found), row.evidence_id)
        actual = _azure(family, row.evidence(), row.endorsements(), row.at)
        yield Line(family, row.file, row.at.isoformat(), expected, actual)


def _nitro() -> Iterator[Line]:
    rules = FAMILIES[Family.AWS_NITRO]
    for name, case in nitro.CASES.items():
        found = frozenset({"N6 DEBUG"} if "N6 debug" in case.findings else set())
        expected = Outcome(case.verdict.lower(), case.tier, found, case.id)
        actual = _outcome(_judge(rules, case.evidence, Endorsements(), case.at), rules)
        yield Line("aws-nitro", name, case.at.isoformat(), expected, actual)


def _nvidia() -> Iterator[Line]:
    for row in nvidia.evidence_rows():
        appraisal = _judge(row.rules, row.evidence(), Endorsements(), LATER)
        actual = _outcome(appraisal, row.rules, by_check=True)
        # The index names what decides; whatever else fails beside it must be worse nowhere.
        shown = actual.findings if row.checks - actual.findings else row.checks
        name = row.evidence_id.removeprefix("set: ").strip("-")
        yield Line(
            row.rules.family,
            row.name,
            LATER.isoformat(),
            Outcome(row.verdict, row.tier, row.checks, name),
            Outcome(actual.verdict, actual.tier, shown, actual.evidence_id),
            " ".join(sorted(actual.findings - row.checks)),
        )


def _complete() -> Iterator[Line]:
    """The one set that has manifests and OCSP answers, judged at the moments of its table."""
    row = next(item for item in nvidia.evidence_rows() if "/test_raw" in item.file)
    for at, policy, said in nvidia.complete_rows():
        days = 90 if "90 days" in policy else 10_000 if policy == "any" else None
        moment = datetime.fromisoformat(at.split(" ")[0])
        examination = DEVICE_RULES.examine(
            row.evidence(), nvidia.complete_set(), moment, Roots.also(answer_days=days)
        )
        policy_ = starter(DEVICE_RULES.family)
        actual = _outcome(appraise(examination, policy_, DEVICE_RULES), DEVICE_RULES)
        word = "valid" if said.startswith("`valid`") else "incomplete"
        tier = "affirming" if word == "valid" else "none"
        reason = nvidia.complete_reason(said)
        found = frozenset({reason} if reason else set())
        yield Line(
            "nvidia-spdm",
            f"the complete set, {policy}",
            moment.isoformat(),
            Outcome(_SAME.get(word, word), tier, found, row.evidence_id),
            actual,
        )


def _manifests() -> Iterator[Line]:
    for row in nvidia.manifest_rows():
        found = nvidia.manifest_findings(row)
        # The index names what decides; what else is wrong with a fragment stands beside it.
        shown = [row.reason] if row.reason in found else found
        yield Line(
            "nvidia RIM",
            row.file,
            row.at.isoformat(),
            _of_reason(row.reason),
            Outcome("invalid" if found else "valid", "", frozenset(shown)),
            " ".join(item for item in found if item not in shown),
        )
    for pair in nvidia.PAIRS:
        matches, wrong = nvidia.compared(pair)
        yield Line(
            "nvidia RIM",
            f"{Path(pair.manifest).name} against {Path(pair.report).name}"[:71],
            "",
            Outcome(f"{pair.matches} match", "", frozenset({pair.wrong} if pair.wrong else set())),
            Outcome(f"{matches} match", "", frozenset({wrong} if wrong else set())),
        )


def _of_reason(reason: str) -> Outcome:
    return Outcome("invalid" if reason else "valid", "", frozenset({reason} if reason else set()))


def _answers() -> Iterator[Line]:
    """OCSP answers: what each says, and of which certificate."""
    for file, status, serial, start, end in nvidia.ocsp_rows():
        answer = ocsp.Answer.parse(base64.b64decode(nvidia.read(file)))
        until = answer.next_update
        said = (
            f"{answer.status.name} {answer.serial:x} {answer.this_update:%Y-%m-%dT%H:%M:%SZ}"
            f" {'' if until is None else until.strftime('%Y-%m-%dT%H:%M:%SZ')}"
        )
        yield Line(
            "nvidia OCSP",
            file.removeprefix("go-nvattest-tools/ocsp/"),
            start,
            Outcome(f"{status} {serial} {start} {end}"),
            Outcome(said),
        )


def _logs() -> Iterator[Line]:
    """Event logs: how many events, which registers they lead to, and why one is refused."""
    for row in log_rows.rows():
        # A log that is refused for its algorithm is not read any further.
        counted = "" if row.reason == "NO_SHA384" else f"{row.events} events"
        wanted = (counted, row.match, row.reason)
        expected = Outcome(row.verdict, "", frozenset(item for item in wanted if item))
        yield Line("event log", row.file, "", expected, _log(row))


def _log(row: log_rows.Row) -> Outcome:
    data = (log_rows.LOGS / row.file).read_bytes()
    raw = (log_rows.LOGS / row.quote).read_bytes() if row.quote else b""
    if row.file.endswith(".json"):
        raw, data = fixture(Path(row.file).stem)
    found: set[str] = set()
    try:
        events = event_log.parse(data)
        found.add(f"{len(events)} events")
        if not raw:
            starts = (f"{item.hex()[:16]}…" for item in event_log.replay(events))
            return Outcome("parse only", "", frozenset({*found, ", ".join(starts)}))
        event_log.replayed_claims(data, TDReport.parse(Quote.parse(raw).head.body).rtmrs)
    except CheckError as error:
        if found:
            found.add("".join("n" if f"RTMR{at}" in error.actual else "y" for at in range(4)))
        return Outcome("invalid", "", frozenset({*found, str(error.finding)}))
    return Outcome("valid", "", frozenset({*found, "yyyy"}))


def write(found: Iterable[Line]) -> int:
    """Print the table; how many lines differ."""
    count = differing = 0
    for line in found:
        count += 1
        differing += line.differs
        mark = "DIFFERS" if line.differs else "ok"
        print(f"{mark:8}{line.family:16}{line.vector:72}{line.at:26}{line.actual} {line.note}")
        if line.differs:
            print(f"{'':8}expected{'':106}{line.expected}")
            if line.expected.evidence_id != line.actual.evidence_id:
                print(f"{'':8}  id {line.expected.evidence_id} / {line.actual.evidence_id}")
    print(f"{count} vectors, {differing} judged otherwise than expected")
    return differing


def _refuse(*_: object, **__: object) -> None:
    message = "evidence is judged without a network"
    raise ConnectionRefusedError(message)


def main() -> int:
    """Judge everything; the exit status."""
    folder = os.environ.get("PROVREG_TEST_VECTORS")
    if not folder or not (Path(folder) / "tee").is_dir():
        print("PROVREG_TEST_VECTORS names no folder with public vectors", file=sys.stderr)
        return 2
    socket.socket = _refuse  # type: ignore[assignment,misc]  # nobody may open one
    try:
        return 1 if write(lines()) else 0
    except RegistryError as error:
        print(error, file=sys.stderr)
        return 1
