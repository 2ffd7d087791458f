"""Examines evidence from Azure: the hardware's evidence by its own family, and S15 around it.

The paravisor runs at the highest privilege and owns the vTPM. Its hardware report commits to the
vTPM's attestation key, once a boot; what is fresh, and what an attester can commit with, is the
quote of the vTPM. So all that a vTPM says rests on three equations: the key is the one in the
runtime data, the runtime data is the one in the report, the report is the paravisor's.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives import serialization

from registry.core.digest import SHA256_SIZE, sha256
from registry.core.evidence.azure.container import Submission
from registry.core.evidence.azure.findings import AzureFinding
from registry.core.evidence.azure.hcl import HCLReport, ReportType, RuntimeData
from registry.core.evidence.azure.tpm import TPMQuote
from registry.core.evidence.checks import CheckError, CheckResult, Ledger, Severity
from registry.core.evidence.claims import (
    ClaimValue,
    Examination,
    Family,
    check_size,
    evidence_id,
)
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.intel import rules as intel
from registry.core.evidence.intel.quote import Quote
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules
from registry.core.evidence.sev_snp import rules as sev_snp
from registry.core.evidence.sev_snp.report import SIGNED_BYTES
from registry.core.evidence.validity import appraised_at

S15: Final = "S15"
"""The check that is Azure's own."""

_CHECKED: Final = "runtime data, vTPM key and quote, registers: bound to the hardware report"

SNP_TABLE: Final[Mapping[str, str]] = {
    **{name: text for name, text in sev_snp.RULES.table.items() if name != "S16"},
    S15: _CHECKED,
    "S16": sev_snp.RULES.table["S16"],
}
"""The checks of an SNP report inside Azure's form, in order."""

TDX_TABLE: Final[Mapping[str, str]] = {**intel.RULES.table, S15: _CHECKED}
"""The checks of a TD quote inside Azure's form, in order."""

_PARAVISOR_VMPL = 0


@dataclass(frozen=True, slots=True)
class _Form:
    """One of the two forms.

    Attributes:
        family: Its family.
        table: Its checks.
        type: What the paravisor's report must hold.
        inner: The family of the hardware's evidence.
        evidence: The hardware's evidence in a submission.
        regions: Its signed regions.
    """

    family: Family
    table: Mapping[str, str]
    type: ReportType
    inner: Rules
    evidence: Callable[[Submission, HCLReport], bytes]
    regions: Callable[[bytes], tuple[bytes, ...]]


_SNP: Final = _Form(
    Family.AZURE_SNP_VTPM,
    SNP_TABLE,
    ReportType.SNP,
    sev_snp.RULES,
    lambda _, report: report.hardware,
    lambda hardware: (hardware[:SIGNED_BYTES],),
)
_TDX: Final = _Form(
    Family.AZURE_TDX_VTPM,
    TDX_TABLE,
    ReportType.TDX,
    intel.RULES,
    lambda submission, _: submission.td_quote,
    lambda hardware: Quote.parse(hardware).regions,
)


def examine_snp(
    evidence: bytes, endorsements: Endorsements, at: datetime, roots: Roots
) -> Examination:
    """Examine a submission whose hardware report is an SNP report.

    Raises:
        MalformedError: ``BAD_TIME``.
        LimitExceededError: ``EVIDENCE_SIZE``.
    """
    return _examine(_SNP, evidence, endorsements, at, roots)


def examine_tdx(
    evidence: bytes, endorsements: Endorsements, at: datetime, roots: Roots
) -> Examination:
    """Examine a submission with a TD quote.

    Raises:
        MalformedError: ``BAD_TIME``.
        LimitExceededError: ``EVIDENCE_SIZE``.
    """
    return _examine(_TDX, evidence, endorsements, at, roots)


def hardware_evidence(family: Family, evidence: bytes) -> bytes:
    """The SNP report or TD quote in a submission.

    Raises:
        CheckError: It cannot be read, or is of another form.
    """
    form = _TDX if family is Family.AZURE_TDX_VTPM else _SNP
    submission = Submission.parse(evidence)
    return form.evidence(submission, _paravisor_report(form, submission))


def _examine(
    form: _Form, evidence: bytes, endorsements: Endorsements, at: datetime, roots: Roots
) -> Examination:
    check_size(evidence)
    ledger = Ledger(form.table, appraised_at(at), evidence)
    read: tuple[Submission, HCLReport, TPMQuote] | None = None
    with ledger.check(S15, evidence):
        submission = Submission.parse(evidence)
        report = _paravisor_report(form, submission)
        read = (submission, report, TPMQuote.parse(submission.quote))
    if read is None:
        return Examination(form.family, ledger.at, None, {}, ledger.results(), None)
    submission, report, quote = read
    hardware = form.evidence(submission, report)
    held = endorsements
    if submission.key_certificate:
        held = endorsements.with_([(Role.AMD_VEK, submission.key_certificate)])
    inner = form.inner.examine(hardware, held, at, roots)
    claims: dict[str, ClaimValue] = {**inner.claims, "hcl_version": report.version}
    name = None
    if inner.evidence_id is not None:
        name = evidence_id(form.family, [*form.regions(hardware), quote.signed])
        claims |= _examine_binding(ledger, submission, report, quote, inner)
    given = {item.sha256 for item in endorsements.items}
    return Examination(
        family=form.family,
        at=ledger.at,
        evidence_id=name,
        claims=claims,
        checks=_together(form.table, inner.checks, ledger.results()),
        window=inner.window,
        endorsements=tuple(used for used in inner.endorsements if used in given),
        configured_roots=inner.configured_roots,
    )


def _paravisor_report(form: _Form, submission: Submission) -> HCLReport:
    report = HCLReport.parse(submission.hcl_report)
    if report.type is not form.type or bool(submission.td_quote) is (form is _SNP):
        raise CheckError(
            AzureFinding.HCL_REPORT_TYPE,
            "the hardware of this submission is of another kind",
            severity=Severity.IDENTITY,
            expected=form.type.name,
            actual=f"{report.type.name}, {len(submission.td_quote)} bytes of TD quote",
        )
    return report


def _examine_binding(
    ledger: Ledger,
    submission: Submission,
    report: HCLReport,
    quote: TPMQuote,
    inner: Examination,
) -> dict[str, ClaimValue]:
    """From the hardware's report data to the registers of the vTPM."""
    claims: dict[str, ClaimValue] = {
        "tpm_nonce": quote.nonce,
        "tpm_clock": quote.clock,
        "tpm_resets": quote.resets,
        "tpm_restarts": quote.restarts,
        "tpm_clock_safe": quote.safe,
        "tpm_firmware": quote.firmware,
    }
    _check_report_data(ledger, report, inner)
    runtime: RuntimeData | None = None
    with ledger.check(S15, report.runtime):
        runtime = RuntimeData.parse(report.runtime)
    if runtime is not None:
        claims |= runtime.claims
        spki = runtime.key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        claims["attestation_key"] = sha256(spki)
        with ledger.check(S15, quote.signed):
            quote.verify(runtime.key, submission.signature)
    with ledger.check(S15, *submission.pcrs):
        registers = quote.check_registers(submission.pcrs)
        claims |= {f"pcr_{number}": value for number, value in registers.items()}
    return claims


def _check_report_data(ledger: Ledger, report: HCLReport, inner: Examination) -> None:
    said = inner.claims.get("report_data")
    committed = said if isinstance(said, bytes) else b""
    with ledger.check(S15, report.runtime):
        digest = sha256(report.runtime)
        if not hmac.compare_digest(committed[:SHA256_SIZE], digest):
            raise CheckError(
                AzureFinding.RUNTIME_DATA_MISMATCH,
                "the hardware report commits to other runtime data",
                severity=Severity.IDENTITY,
                expected=committed[:SHA256_SIZE].hex(),
                actual=digest.hex(),
            )
        if any(committed[SHA256_SIZE:]):
            raise CheckError(
                AzureFinding.REPORT_DATA_TAIL,
                "the hardware report commits to more than the runtime data",
                severity=Severity.IDENTITY,
            )
    with ledger.check(S15):
        if report.type is ReportType.SNP:
            if inner.claims.get("vmpl") != _PARAVISOR_VMPL:
                raise CheckError(
                    AzureFinding.PARAVISOR_VMPL,
                    "the hardware report is not the paravisor's, which runs at VMPL 0",
                    severity=Severity.IDENTITY,
                    actual=str(inner.claims.get("vmpl")),
                )
        elif inner.claims.get("tee") != "tdx":
            raise CheckError(
                AzureFinding.NOT_A_TD,
                "the quote is not one of a trust domain",
                severity=Severity.IDENTITY,
            )
        elif not hmac.compare_digest(committed, report.td_report_data):
            raise CheckError(
                AzureFinding.TD_REPORT_MISMATCH,
                "the quote is not made from the paravisor's report",
                severity=Severity.IDENTITY,
                expected=report.td_report_data.hex(),
                actual=committed.hex(),
            )


def _together(
    table: Mapping[str, str], inner: tuple[CheckResult, ...], own: tuple[CheckResult, ...]
) -> tuple[CheckResult, ...]:
    """The results of both, in the order of the table."""
    said = [*inner, *(item for item in own if item.check == S15)]
    order = {name: number for number, name in enumerate(table)}
    return tuple(sorted(said, key=lambda item: order[item.check]))
