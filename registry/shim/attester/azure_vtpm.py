"""Azure confidential VMs on AMD: the paravisor's report and a quote of its vTPM.

The report of the hardware is made once, at boot, and commits to the vTPM's attestation key; both
stand in an index of the TPM. Fresh is the quote alone, whose nonce is the commitment. The
certificate of the chip is asked of AMD by the registry.
"""

from typing import ClassVar, Final

from registry.core.evidence.azure.container import Submission
from registry.core.evidence.azure.hcl import HCLReport, ReportType
from registry.core.evidence.azure.tpm import PCR_COUNT, TPMQuote
from registry.core.evidence.checks import CheckError
from registry.core.evidence.claims import Family
from registry.shim.attester.faults import failed
from registry.shim.attester.port import Collected, Commitment
from registry.shim.attester.tpm import DEVICE, TPM, DevTPM, TPMDevice

REPORT_INDEX: Final = 0x0140_0001
"""Where the paravisor leaves its report."""

ATTESTATION_KEY: Final = 0x8100_0003
"""The vTPM's key, which the report names as HCLAkPub."""

MAX_ATTEMPTS: Final = 3
"""How often registers are quoted again that change while they are read."""

_NONCE_BYTES = 32
_REGISTERS = tuple(range(PCR_COUNT))


class AzureVTPM:
    """Asks the vTPM of the virtual machine."""

    commits_to: ClassVar[Commitment] = "tpm_nonce"

    def __init__(self, device: TPMDevice | None = None) -> None:
        """Ask nothing yet; the device of Linux if none is given."""
        self._tpm = TPM(device or DevTPM(), str(DEVICE))

    def evidence(self, report_data: bytes, nonce: bytes, session_key_der: bytes) -> Collected:  # noqa: ARG002 - committed in report_data
        """See :class:`~registry.shim.attester.port.Attester`."""
        if len(report_data) != _NONCE_BYTES:
            message = f"a vTPM commits to {_NONCE_BYTES} bytes, not {len(report_data)}"
            raise ValueError(message)
        report = self._tpm.index(REPORT_INDEX)
        try:
            if HCLReport.parse(report).type is not ReportType.SNP:
                raise failed(
                    "this machine runs on Intel TDX, whose quote stands elsewhere",
                    str(DEVICE),
                    hint="name a guest agent: --attester agent:http://127.0.0.1:PORT",
                )
        except CheckError as error:
            raise failed(
                "the paravisor's report cannot be read", str(DEVICE), str(error)
            ) from error
        quote, signature, registers = self._quoted(report_data)
        submission = Submission(report, quote, signature, registers)
        return Collected(Family.AZURE_SNP_VTPM, submission.to_bytes())

    def _quoted(self, nonce: bytes) -> tuple[bytes, bytes, tuple[bytes, ...]]:
        """A quote, its signature, and the registers that it is of."""
        for _ in range(MAX_ATTEMPTS):
            registers = self._tpm.registers(_REGISTERS)
            quote, signature = self._tpm.quote(ATTESTATION_KEY, nonce, _REGISTERS)
            try:
                TPMQuote.parse(quote).check_registers(registers)
            except CheckError:
                continue
            return quote, signature, registers
        raise failed("the vTPM's registers change all the time", str(DEVICE))
