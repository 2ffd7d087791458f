"""Targets of AMD SEV-SNP and of Azure: reports, certificates, chains, submissions."""

from collections.abc import Callable
from typing import Final

from registry.core.certificates import pem
from registry.core.evidence.azure.container import Submission
from registry.core.evidence.azure.hcl import HCLReport, RuntimeData
from registry.core.evidence.azure.rules import SNP_RULES, TDX_RULES
from registry.core.evidence.azure.tpm import TPMQuote
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules
from registry.core.evidence.sev_snp.certificate import EndorsementKey, endorsed
from registry.core.evidence.sev_snp.product import ProductLine
from registry.core.evidence.sev_snp.report import Report
from registry.core.evidence.sev_snp.rules import RULES
from registry.errors import MalformedError, Reason
from tools.fake_vendor import amd, azure, intel
from tools.fuzz.elements import der
from tools.fuzz.members import members
from tools.fuzz.target import Target

_REPORTS: Final = [
    amd.mint(amd.Spec(line=line, version=version, vlek=vlek))
    for line, version, vlek in (
        (ProductLine.MILAN, 2, False),
        (ProductLine.GENOA, 3, True),
        (ProductLine.TURIN, 5, False),
    )
]
_FIRST: Final = _REPORTS[0]
_CHAIN: Final = _FIRST.endorsements.all(Role.AMD_CHAIN)[0]
_SNP: Final = azure.mint()
_TDX: Final = azure.mint(azure.Spec(hardware=intel.Spec()))
_ROOTS: Final = amd.roots()


def _examined(rules: Rules, endorsements: Endorsements, roots: Roots) -> Callable[[bytes], None]:
    """Examine it, and refuse what has no name: to a fuzzer that is what was not read."""

    def again(data: bytes) -> None:
        examination = rules.examine(data, endorsements, amd.NOON, roots)
        if {item.check for item in examination.checks} != set(rules.table):
            message = "a check is missing"
            raise AssertionError(message)
        if examination.evidence_id is None:
            raise MalformedError(Reason.EVIDENCE_CHECK, "unreadable")

    return again


def _read(parse: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def again(data: bytes) -> None:
        parse(data)

    return again


def _certificate(data: bytes) -> None:
    """Read it and what AMD says in it, and judge a good report by it."""
    held = Endorsements.of([(Role.AMD_VEK, data), (Role.AMD_CHAIN, _CHAIN)])
    RULES.examine(_FIRST.evidence, held, amd.NOON, _ROOTS)
    EndorsementKey.parse(data)
    endorsed(data)


def _chain(data: bytes) -> None:
    """Read it, and judge a good report by it."""
    held = Endorsements.of([(Role.AMD_VEK, _FIRST.key_certificate), (Role.AMD_CHAIN, data)])
    RULES.examine(_FIRST.evidence, held, amd.NOON, _ROOTS)
    pem.certificates(data)


def _submission(data: bytes) -> None:
    """Read it; what we write of it means the same."""
    submission = Submission.parse(data)
    own = submission.to_bytes()
    if Submission.parse(own).to_bytes() != own:
        message = "what is written means something else"
        raise AssertionError(message)


_FORMS: Final = tuple(
    azure.write(minted.submission, form)
    for minted in (_SNP, _TDX)
    for form in ("own", "version-1", "platform", "numbers")
    if minted is _SNP or form != "numbers"
)  # fmt: skip
_RUNTIME: Final = HCLReport.parse(_SNP.submission.hcl_report).runtime

TARGETS: Final = (
    Target("snp-report", tuple(item.evidence for item in _REPORTS), _read(Report.parse)),
    Target(
        "snp-evidence",
        tuple(item.evidence for item in _REPORTS[:1]),
        _examined(RULES, _FIRST.endorsements, _ROOTS),
    ),
    Target("snp-key", tuple(item.key_certificate for item in _REPORTS), _certificate, (der,)),
    Target("snp-chain", (_CHAIN,), _chain),
    Target("azure-submission", _FORMS, _submission, (members,)),
    Target(
        "azure-snp", (_SNP.evidence,), _examined(SNP_RULES, _SNP.endorsements, _SNP.roots),
        (members,),
    ),
    Target(
        "azure-tdx", (_TDX.evidence,), _examined(TDX_RULES, _TDX.endorsements, _TDX.roots),
        (members,),
    ),
    Target(
        "azure-hcl",
        (_SNP.submission.hcl_report, _TDX.submission.hcl_report),
        _read(HCLReport.parse),
        words=(b"HCLA",),
    ),
    Target("azure-runtime", (_RUNTIME,), _read(RuntimeData.parse), (members,)),
    Target("azure-quote", (_SNP.submission.quote,), _read(TPMQuote.parse)),
)  # fmt: skip
"""Whatever reads what AMD's processors, its key service or Azure's paravisor made."""
