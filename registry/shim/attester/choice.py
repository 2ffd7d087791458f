"""Which device attests, by an address.

======================================  ===========================================
``tsm:`` or ``tsm:/FOLDER``             TDX or SNP, through Linux
``tsm:/FOLDER?privilege=N``             the same, from privilege level N
``nsm:`` or ``nsm:/DEVICE``             AWS Nitro
``azure:`` or ``azure:/DEVICE``         the vTPM of an Azure confidential VM on AMD
``nvml:``                               NVIDIA GPUs
``agent:http://127.0.0.1:PORT``         a guest agent
``agent:unix:/PATH``                    a guest agent behind a socket
======================================  ===========================================
"""

from pathlib import Path

from registry.core.encoding import decimal
from registry.errors import MalformedError, Reason
from registry.shim.attester import configfs_tsm, nsm, tpm
from registry.shim.attester.azure_vtpm import AzureVTPM
from registry.shim.attester.configfs_tsm import ConfigfsTSM
from registry.shim.attester.guest_agent import GuestAgent
from registry.shim.attester.nsm import DevNSM, NitroNSM
from registry.shim.attester.nvml import NVMLAttester
from registry.shim.attester.port import Attester
from registry.shim.attester.tpm import DevTPM


def open_attester(address: str) -> Attester:
    """The device at ``address``; it is not asked yet.

    Raises:
        MalformedError: ``BAD_SETTING``.
        UnavailableError: ``MISSING_EXTRA``.
    """
    scheme, colon, rest = address.partition(":")
    if colon and scheme == "agent" and rest:
        return GuestAgent(rest)
    path, _, query = rest.partition("?")
    if (colon and not path) or path.startswith("/"):
        if scheme == "tsm":
            return ConfigfsTSM(
                Path(path) if path else configfs_tsm.REPORTS, privilege=_privilege(query)
            )
        if scheme == "nsm" and not query:
            return NitroNSM(DevNSM(Path(path) if path else nsm.DEVICE))
        if scheme == "azure" and not query:
            return AzureVTPM(DevTPM(Path(path) if path else tpm.DEVICE))
        if scheme == "nvml" and not rest:
            return NVMLAttester()
    raise _unknown(address)


def find_device() -> str:
    """The address of the device that attests this host; empty if it has none that we know.

    GPUs do not count: they cannot commit to a key.
    """
    if configfs_tsm.REPORTS.is_dir():
        return "tsm:"
    return "nsm:" if nsm.DEVICE.exists() else ""


def _privilege(query: str) -> int | None:
    if not query:
        return None
    name, _, text = query.partition("=")
    if name != "privilege":
        raise _unknown(query)
    return decimal(text)


def _unknown(address: str) -> MalformedError:
    return MalformedError(
        Reason.BAD_SETTING,
        "no device attests at this address",
        expected="tsm:, nsm:, azure:, nvml:, agent:http://… or agent:unix:/…",
        actual=address[:200],
    )
