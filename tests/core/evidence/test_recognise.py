"""Tests of registry.core.evidence.recognise."""

import socket
from datetime import UTC, datetime

import pytest

from registry.core.encoding import base64_text
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES, Family
from registry.core.evidence.nvidia.container import write_device, write_set
from registry.core.evidence.recognise import recognise, unwrap
from registry.errors import LimitExceededError, MalformedError, Reason
from tests.core.evidence.nvidia.judging import serialized
from tools.fake_vendor import amd, azure, intel, nitro, nvidia, nvidia_token

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)

ONE_OF_EACH = {
    Family.INTEL_DCAP: intel.mint().evidence,
    Family.AMD_SNP: amd.mint().evidence,
    Family.AZURE_SNP_VTPM: azure.mint().evidence,
    Family.AZURE_TDX_VTPM: azure.mint(azure.Spec(hardware=intel.Spec())).evidence,
    Family.AWS_NITRO: nitro.mint().evidence,
    Family.NVIDIA_SPDM: nvidia.mint().evidence,
    Family.NVIDIA_SET: nvidia.mint_set(nvidia.machine(gpus=2, switches=1)).evidence,
    Family.NVIDIA_EAT: nvidia_token.mint().evidence,
}


def test_every_family_has_evidence_here() -> None:
    assert set(ONE_OF_EACH) == set(Family)


@pytest.mark.parametrize("family", Family)
def test_evidence_is_recognised_as_bytes_and_as_hexadecimal(family: Family) -> None:
    evidence = ONE_OF_EACH[family]
    assert recognise(unwrap(evidence), NOON).family is family
    for text in (evidence.hex(), f"{evidence.hex().upper()}\r\n"):
        assert recognise(unwrap(text.encode()), NOON).family is family


@pytest.mark.parametrize("family", Family)
def test_evidence_is_recognised_as_base64_in_lines(family: Family) -> None:
    text = base64_text(ONE_OF_EACH[family])
    lines = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    assert unwrap(f"{lines}\n".encode()) == ONE_OF_EACH[family]
    for stray in (f"{text}=", text + "*", text[:-1]):
        assert unwrap(stray.encode()) == stray.encode()


def test_what_is_broken_behind_its_beginning_is_of_the_family_that_can_say_so() -> None:
    unsigned = nvidia_token.mint(nvidia_token.Spec(algorithm="none")).evidence
    assert recognise(unsigned, NOON).family is Family.NVIDIA_EAT
    assert recognise(ONE_OF_EACH[Family.INTEL_DCAP][:-1], NOON).family is Family.INTEL_DCAP


def test_a_single_device_is_what_it_is_submitted_as() -> None:
    minted = nvidia.mint()
    [device] = minted.devices
    for data, family in (
        (write_device(device), Family.NVIDIA_SPDM),
        (write_set([device]), Family.NVIDIA_SET),
        (serialized([device], "HOPPER"), Family.NVIDIA_SPDM),
        (device.report, Family.NVIDIA_SPDM),
    ):
        assert recognise(data, NOON).family is family


def test_what_nobody_reads_is_of_no_family() -> None:
    for data in (b"", b"{}", b"\x00" * 64, ONE_OF_EACH[Family.AMD_SNP][:-1]):
        with pytest.raises(MalformedError) as caught:
            recognise(data, NOON)
        assert caught.value.reason is Reason.UNKNOWN_FAMILY


def test_what_is_too_large_is_refused_before_anybody_reads_it() -> None:  # row 141
    with pytest.raises(LimitExceededError) as caught:
        recognise(bytes(MAX_EVIDENCE_BYTES + 1), NOON)
    assert caught.value.reason is Reason.EVIDENCE_SIZE


def test_no_socket_can_be_opened_in_these_tests() -> None:
    with pytest.raises(AssertionError, match="without a network"):
        socket.create_connection(("127.0.0.1", 9))
