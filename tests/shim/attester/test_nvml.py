"""GPUs through NVML's own binding, over a driver library that the fake vendor plays."""

# ruff: noqa: N802 - the driver named its functions

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from registry.core.evidence.binding import gpu_nonce
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import rules_of
from registry.errors import Reason, RegistryError, UnavailableError, UnsupportedError
from registry.shim.attester.nvml import NVMLAttester
from tools.fake_vendor.nvidia import Spec, mint_device, mint_set, roots_of
from tools.fake_vendor.nvidia_ocsp import NOON

pynvml: Any = pytest.importorskip("pynvml", reason="the extra provreg[gpu] is not installed")

NONCE = b"\x11" * 32


class Driver:
    """The functions of the C library that are called, by name."""

    def __init__(self, gpus: int = 2) -> None:
        self.gpus = gpus
        self.loaded = True
        self.confidential = True
        self.edit: Callable[[bytes], bytes] = lambda chain: chain
        self.ends = b"\0"
        self.open = 0

    def function(self, name: str) -> Callable[..., int]:
        found: Callable[..., int] = getattr(self, name)
        return found

    def nvmlInitWithFlags(self, _flags: object) -> int:
        self.open += self.loaded
        return 0 if self.loaded else int(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    def nvmlShutdown(self) -> int:
        self.open -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = self.gpus
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> int:
        ctypes.memset(ctypes.byref(device._obj), 0, ctypes.sizeof(device._obj))
        self.current = index.value + 1
        return 0

    def nvmlDeviceGetConfComputeGpuAttestationReport(self, _device: Any, said: Any) -> int:
        if not self.confidential:
            return int(pynvml.NVML_ERROR_NOT_SUPPORTED)
        report = mint_device(Spec(number=self.current, nonce=bytes(said._obj.nonce))).report
        ctypes.memmove(said._obj.attestationReport, report, len(report))
        said._obj.attestationReportSize = len(report)
        return 0

    def nvmlDeviceGetConfComputeGpuCertificate(self, _device: Any, held: Any) -> int:
        chain = mint_device(Spec(number=self.current)).chain
        pem = b"".join(
            x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain
        )
        pem = self.edit(pem) + self.ends
        ctypes.memmove(held._obj.attestationCertChain, pem, len(pem))
        held._obj.attestationCertChainSize = len(pem)
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    played = Driver()
    monkeypatch.setattr(pynvml, "_LoadNvmlLibrary", lambda: None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer", played.function)
    return played


def refusal(nonce: bytes = NONCE) -> Reason:
    with pytest.raises(RegistryError) as caught:
        NVMLAttester().evidence(b"", nonce, b"")
    return caught.value.reason


def test_every_gpu_is_asked_with_a_nonce_made_of_the_registrys(driver: Driver) -> None:
    collected = NVMLAttester().evidence(b"", NONCE, b"")
    assert (collected.family, driver.open) == (Family.NVIDIA_SET, 0)
    specs = [Spec(number=number, nonce=gpu_nonce(NONCE)) for number in (1, 2)]
    given = Endorsements.of((item.role, item.data) for item in mint_set(specs).endorsements.items)
    rules = rules_of(collected.family)
    examination = rules.examine(collected.evidence, given, NOON, roots_of())
    assert [item for item in examination.checks if item.outcome == "fail"] == []
    assert examination.claims["nonce"] == gpu_nonce(NONCE)
    assert len(examination.members) == 2


def test_a_machine_without_a_driver_or_gpus_has_no_such_device(driver: Driver) -> None:
    driver.gpus = 0
    assert refusal() is Reason.ATTESTER_ABSENT
    driver.loaded = False
    assert refusal() is Reason.ATTESTER_ABSENT
    assert driver.open == 0


def test_a_gpu_outside_confidential_mode_is_a_failure(driver: Driver) -> None:
    driver.confidential = False
    with pytest.raises(UnavailableError) as caught:
        NVMLAttester().evidence(b"", NONCE, b"")
    assert caught.value.reason is Reason.ATTESTER_FAILED
    assert driver.open == 0


def test_certificates_that_cannot_be_read_are_a_failure(driver: Driver) -> None:
    driver.edit = lambda chain: chain[:-40]
    assert refusal() is Reason.ATTESTER_FAILED


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_nonce_of_another_size_is_not_padded(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        NVMLAttester().evidence(b"", bytes(size), b"")


@pytest.mark.skipif(sys.platform != "linux", reason="the driver's library has another name there")
def test_on_a_machine_without_the_library_there_is_no_device() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with pytest.raises(UnsupportedError):
            NVMLAttester().evidence(b"", NONCE, b"")
    else:
        pynvml.nvmlShutdown()
        pytest.skip("this machine has NVIDIA's driver")
