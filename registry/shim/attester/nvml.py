"""NVIDIA GPUs through NVML: a report and a certificate chain of each GPU of this machine.

A GPU commits to its nonce and nothing else, so it is asked first, with a nonce made of the
registry's; the CPU's evidence then commits to the GPUs'. Switches are not asked: NVML does not know
them. NVML's Python binding comes with the extra ``provreg[gpu]``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar, Final

from registry.core.evidence.binding import NONCE_BYTES, gpu_nonce
from registry.core.evidence.checks import CheckError
from registry.core.evidence.claims import Family
from registry.core.evidence.nvidia.container import Device, read_pem, write_set
from registry.errors import Reason, UnavailableError
from registry.shim.attester.faults import absent, failed
from registry.shim.attester.port import Collected, Commitment

try:
    import pynvml  # type: ignore[import-untyped, import-not-found, unused-ignore]
except ImportError:
    pynvml = None

MAX_GPUS: Final = 16
"""GPUs of one machine that are asked."""


class NVMLAttester:
    """Asks every GPU of this machine."""

    commits_to: ClassVar[Commitment] = "report_data"

    def __init__(self, library: ModuleType | None = pynvml) -> None:
        """Ask nothing yet.

        Args:
            library: The binding, ``pynvml``.

        Raises:
            UnavailableError: ``MISSING_EXTRA``.
        """
        if library is None:
            raise UnavailableError(
                Reason.MISSING_EXTRA,
                "NVML's Python binding is not installed",
                hint="run: pip install 'provreg[gpu]'",
            )
        self._nvml: Any = library

    def evidence(self, report_data: bytes, nonce: bytes, session_key_der: bytes) -> Collected:  # noqa: ARG002 - a GPU commits to a nonce only
        """See :class:`~registry.shim.attester.port.Attester`; only ``nonce`` is committed to."""
        if len(nonce) != NONCE_BYTES:
            message = f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}"
            raise ValueError(message)
        with self._opened() as count:
            if not 0 < count <= MAX_GPUS:
                raise absent("NVML", f"{count} GPUs")
            devices = [self._ask(index, gpu_nonce(nonce)) for index in range(count)]
        return Collected(Family.NVIDIA_SET, write_set(devices))

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise absent("NVML", str(error), "is the driver loaded?") from error
        try:
            yield self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            raise failed("a GPU does not attest", "NVML", str(error), "is CC mode on?") from error
        finally:
            self._nvml.nvmlShutdown()

    def _ask(self, index: int, nonce: bytes) -> Device:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        said = self._nvml.nvmlDeviceGetConfComputeGpuAttestationReport(handle, nonce)
        held = self._nvml.nvmlDeviceGetConfComputeGpuCertificate(handle)
        report = bytes(said.attestationReport[: said.attestationReportSize])
        chain = bytes(held.attestationCertChain[: held.attestationCertChainSize])
        if bytes(said.nonce) != nonce:
            raise failed("a GPU was asked with another nonce", f"GPU {index}")
        try:
            # The driver ends its text with a NUL or two.
            return Device(report, read_pem(chain.rstrip(b"\0")))
        except CheckError as error:
            raise failed(
                "a GPU's certificates cannot be read", f"GPU {index}", error.detail()
            ) from error
