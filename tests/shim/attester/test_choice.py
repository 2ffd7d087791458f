"""Which device attests is said by an address."""

import pytest

from registry.errors import MalformedError, Reason, UnavailableError
from registry.shim.attester.azure_vtpm import AzureVTPM
from registry.shim.attester.choice import open_attester
from registry.shim.attester.configfs_tsm import ConfigfsTSM
from registry.shim.attester.guest_agent import GuestAgent
from registry.shim.attester.nsm import NitroNSM
from registry.shim.attester.nvml import NVMLAttester


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("tsm:", ConfigfsTSM),
        ("tsm:/sys/kernel/config/tsm/report", ConfigfsTSM),
        ("tsm:?privilege=1", ConfigfsTSM),
        ("tsm:/folder?privilege=3", ConfigfsTSM),
        ("nsm:", NitroNSM),
        ("nsm:/dev/nsm0", NitroNSM),
        ("azure:", AzureVTPM),
        ("azure:/dev/tpm0", AzureVTPM),
        ("agent:http://127.0.0.1:7090", GuestAgent),
        ("agent:https://agent.example", GuestAgent),
        ("agent:unix:/run/agent.sock", GuestAgent),
    ],
)
def test_an_address_names_a_device(address: str, kind: type) -> None:
    assert type(open_attester(address)) is kind


@pytest.mark.parametrize(
    "address",
    [
        "",
        "tsm",
        "tsm:relative",
        "tsm:/x?other=1",
        "nsm:/x?privilege=1",
        "azure:tpm0",
        "azure:/x?y=1",
        "nvml:/x",
        "agent:",
        "agent:http://example.com",
        "agent:file:///x",
        "sgx:",
        "http://127.0.0.1",
    ],
)
def test_what_names_none_is_refused(address: str) -> None:
    with pytest.raises(MalformedError) as caught:
        open_attester(address)
    assert caught.value.reason is Reason.BAD_SETTING


def test_a_privilege_level_is_a_number() -> None:
    with pytest.raises(MalformedError):
        open_attester("tsm:?privilege=high")


def test_gpus_are_asked_with_nvmls_binding() -> None:
    pytest.importorskip("pynvml", reason="the extra provreg[gpu] is not installed")
    assert type(open_attester("nvml:")) is NVMLAttester


def test_without_the_binding_it_says_what_to_install() -> None:
    with pytest.raises(UnavailableError) as caught:
        NVMLAttester(None)
    assert caught.value.reason is Reason.MISSING_EXTRA
    assert "provreg[gpu]" in caught.value.hint
