"""Tests of registry.core.evidence.binding."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.evidence.binding import (
    Binding,
    Mismatch,
    committed,
    gpu_nonce,
    mismatches,
)
from registry.core.evidence.claims import Family

NONCE, MODEL, GPU, CONTEXT = (bytes([item]) * 32 for item in range(1, 5))
KEY = b"a session key"
WHOLE = Binding(NONCE, KEY, MODEL, GPU, CONTEXT)

BINDINGS = st.builds(Binding, *[st.none() | st.binary(min_size=1, max_size=3) for _ in range(5)])


def test_the_commitment_is_the_published_construction() -> None:
    preimage = b"provreg/report-data/v1\0"
    for tag, value in enumerate([NONCE, hashlib.sha256(KEY).digest(), MODEL, GPU, CONTEXT], 1):
        preimage += bytes([tag]) + (32).to_bytes(4, "big") + value
    assert WHOLE.report_data() == hashlib.sha512(preimage).digest()
    assert WHOLE.tpm_nonce() == hashlib.sha256(preimage).digest()
    assert gpu_nonce(NONCE) == hashlib.sha256(b"provreg/gpu-nonce/v1\0" + NONCE).digest()


# 131
@given(BINDINGS, BINDINGS)
def test_two_bindings_share_a_preimage_only_if_they_are_one(one: Binding, other: Binding) -> None:
    assert (one.preimage() == other.preimage()) == (one == other)


@pytest.mark.parametrize("family", Family)
def test_what_was_committed_is_found(family: Family) -> None:
    assert mismatches(family, committed(family, WHOLE), WHOLE, WHOLE) == ()


@pytest.mark.parametrize(
    ("field", "finding"),
    [
        ("nonce", Mismatch.WRONG_NONCE),
        ("session_key", Mismatch.WRONG_SESSION_KEY),
        ("model", Mismatch.WRONG_MODEL),
        ("gpu", Mismatch.WRONG_GPU),
        ("context", Mismatch.WRONG_CONTEXT),
    ],
)
@pytest.mark.parametrize("family", [Family.INTEL_DCAP, Family.AMD_SNP, Family.AWS_NITRO])
def test_evidence_for_another_thing_is_refused_by_name(
    family: Family, field: str, finding: Mismatch
) -> None:
    other = replace(WHOLE, **{field: b"\xff" * 32})
    found = mismatches(family, committed(family, other), other, WHOLE)
    assert [name for name, _ in found] == [finding]
    without = replace(WHOLE, **{field: None})
    found = mismatches(family, committed(family, without), without, WHOLE)
    assert [name for name, _ in found] == [finding]


@pytest.mark.parametrize("family", [Family.INTEL_DCAP, Family.AMD_SNP, Family.AZURE_SNP_VTPM])
@pytest.mark.parametrize(
    "said",
    [
        lambda wanted: wanted[:-1],
        lambda wanted: wanted + b"\0",
        lambda wanted: wanted.hex().encode(),
        lambda wanted: bytes(len(wanted)),
    ],
    ids=["prefix", "padded", "hexadecimal text", "zero"],
)
def test_only_all_bytes_of_the_commitment_are_the_commitment(
    family: Family, said: Callable[[bytes], bytes]
) -> None:
    claims = {name: said(value) for name, value in committed(family, WHOLE).items()}
    found = mismatches(family, claims, WHOLE, WHOLE)
    assert [name for name, _ in found] == [Mismatch.WRONG_COMMITMENT]


def test_a_statement_that_the_device_did_not_commit_to_is_refused() -> None:
    claims = committed(Family.AMD_SNP, replace(WHOLE, model=b"\xff" * 32))
    found = mismatches(Family.AMD_SNP, claims, WHOLE, WHOLE)
    assert [name for name, _ in found] == [Mismatch.WRONG_COMMITMENT]


def test_a_gpu_is_asked_for_its_nonce_alone() -> None:
    stated = Binding(nonce=NONCE)
    claims = committed(Family.NVIDIA_SET, stated)
    assert mismatches(Family.NVIDIA_SET, claims, stated, WHOLE) == ()
    found = mismatches(Family.NVIDIA_SET, {"nonce": NONCE}, stated, WHOLE)
    assert [name for name, _ in found] == [Mismatch.WRONG_COMMITMENT]
