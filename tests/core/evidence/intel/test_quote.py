"""Quotes, PEM chains and collateral have one spelling: what is read is written back, or refused."""

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.evidence.checks import CheckError, Finding
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES
from registry.core.evidence.crl import CRLFinding
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.intel.certificate import (
    MAX_PEM_BYTES,
    MAX_PEM_CERTIFICATES,
    read_pem,
    write_pem,
)
from registry.core.evidence.intel.collateral import (
    MAX_COLLATERAL_BYTES,
    MAX_LEVELS,
    read_qe_identity,
    read_tcb_info,
)
from registry.core.evidence.intel.findings import TABLE, WEIGHTS, Found
from registry.core.evidence.intel.quote import BODY_BYTES, Body, Head, Quote
from registry.core.evidence.intel.rules import RULES
from registry.core.evidence.intel.tcb import FINDINGS
from registry.core.evidence.roots import Roots
from registry.errors import LimitExceededError, Reason
from tests.core.evidence.intel.minted import examine, failures, found, swapped
from tools.fake_vendor import pki
from tools.fake_vendor.intel import NOON, Spec, level, mint

MINTED = mint(Spec())


def head(version: int, kind: Body, filler: bytes) -> Head:
    tee = 0 if kind is Body.ENCLAVE else 0x81
    header = version.to_bytes(2, "little") + b"\x02\x00" + tee.to_bytes(4, "little")
    described = kind.to_bytes(2, "little") + BODY_BYTES[kind].to_bytes(4, "little")
    size = BODY_BYTES[kind]
    body = (filler * size)[:size] if filler else bytes(size)
    return Head(version, kind, header.ljust(48, b"\x07"), described if version == 5 else b"", body)


@given(
    form=st.sampled_from(
        [(3, Body.ENCLAVE), (4, Body.TD_1_0), *((5, kind) for kind in Body)],
    ),
    filler=st.binary(max_size=8),
    parts=st.tuples(*(st.binary(min_size=size, max_size=size) for size in (64, 64, 384, 64))),
    rest=st.tuples(st.binary(max_size=70), st.binary(max_size=200), st.binary(max_size=40)),
)
@settings(max_examples=80, deadline=None)
def test_a_quote_is_written_back_as_it_was_read(
    form: tuple[int, Body], filler: bytes, parts: Any, rest: Any
) -> None:
    quote = Quote(head(*form, filler), *parts, *rest)
    assert Quote.parse(quote.to_bytes()) == quote


@given(data=st.binary(max_size=1200), version=st.sampled_from([0, 3, 4, 5]))
@settings(max_examples=100, deadline=None)
def test_whatever_bytes_are_refused_or_written_back(data: bytes, version: int) -> None:
    if version:
        data = head(version, Body.ENCLAVE if version == 3 else Body.TD_1_0, b"").signed + data
    try:
        quote = Quote.parse(data)
    except CheckError:
        return
    assert quote.to_bytes() == data


@given(ders=st.lists(st.binary(max_size=150), min_size=1, max_size=MAX_PEM_CERTIFICATES))
@settings(deadline=None)
def test_pem_is_written_back_as_it_was_read(ders: list[bytes]) -> None:
    text = write_pem(ders)
    assert read_pem(text) == tuple(ders)
    assert read_pem(text + b"\0") == read_pem(text.removesuffix(b"\n")) == tuple(ders)


# 144
@pytest.mark.parametrize(
    "edit",
    [
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: b" " + pem,
        lambda pem: pem + b"\n\n",
        lambda pem: pem.replace(b"\nMII", b"\n MII", 1),
        lambda pem: pem.replace(b"-----END", b"\n-----END", 1),
        lambda pem: pem.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
        lambda pem: b"text\n" + pem,
        lambda pem: pem * 9,
        lambda pem: b"\xef\xbb\xbf" + pem,
        lambda pem: pem[:64] + b"\n" + pem[64:],
        lambda pem: pem[:0],
    ],
    ids=["CRLF", "space", "two line feeds", "indented", "empty line", "other label", "text",
         "nine times", "BOM", "early line feed", "nothing"],
)  # fmt: skip
def test_another_spelling_of_pem_is_refused(edit: Any) -> None:
    with pytest.raises(CheckError) as caught:
        read_pem(edit(MINTED.pck_chain))
    assert caught.value.finding == Found.PEM


def test_pem_is_bounded() -> None:
    with pytest.raises(CheckError):
        read_pem(write_pem([bytes(MAX_PEM_BYTES)]))


# 143
@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace(b'"version":', b'"version":4,"version":', 1),
        lambda text: text.replace(b'"id":', b'"id":NaN,"x":', 1),
        lambda text: text.replace(b'"version":', b'"y":9007199254740993,"version":', 1),
        lambda text: text.replace(b'"id":"', b'"z":"\\ud800","id":"', 1),
        lambda text: text.replace(b'"version":', b'"version":1.0,"w":', 1),
        lambda text: text.replace(b"2026-", b"2026/", 1),
        lambda text: text.replace(b"2026-05-", b"2026-13-", 1),
        lambda text: text.replace(b'"tcbStatus"', b'"status"', 1),
        lambda text: text.replace(b'"isvsvn":', b'"isvsvn":-', 1),
        lambda text: text.replace(b'"isvsvn":', b'"isvsvn":99999', 1),
        lambda text: b"[" + text + b"]",
        lambda text: text[:0] + b"null",
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text[:-1] + b"," + b'"deep":' + b"[" * 40 + b"]" * 40 + b"}",
    ],
    ids=["twice", "NaN", "big", "surrogate", "float", "date", "month", "member", "negative",
         "large", "array", "null", "BOM", "deep"],
)  # fmt: skip
def test_json_that_readers_disagree_on_is_refused_though_signed(edit: Any) -> None:
    assert ("I9", Found.COLLATERAL) in found(qe_text=edit)


@pytest.mark.parametrize(
    "edit",
    [
        lambda body: body.replace(b'"signature"', b'"more":1,"signature"'),
        lambda body: body.replace(b'"signature":"', b'"signature":"00'),
        lambda body: body[:-3] + b'AF"}',
        lambda body: body.replace(b'"signature"', b'"Signature"'),
        lambda body: body.replace(b"tcbInfo", b"enclaveIdentity"),
        lambda body: body + b" x",
        lambda body: body[:0],
    ],
    ids=["more", "long", "upper case", "member", "other", "trailing", "empty"],
)  # fmt: skip
def test_an_answer_has_one_shape(edit: Any) -> None:
    body = edit(MINTED.roles[Role.INTEL_TCB_INFO])
    with pytest.raises(CheckError) as caught:
        read_tcb_info(body)
    assert caught.value.finding == Found.COLLATERAL
    assert failures(examine(swapped(MINTED, INTEL_TCB_INFO=body or b" "))) == {
        ("I7", Found.COLLATERAL)
    }


def test_what_intel_adds_is_read_over() -> None:
    more = {"tcbType": 0, "advisories": [{"id": "x"}], "new": {"a": 1}}
    assert found(tcb_info=lambda said: {**said, **more}) == set()
    assert found(qe_identity=lambda said: {**said, **more}) == set()


def test_collateral_is_bounded() -> None:
    long = b'{"tcbInfo":' + b" " * MAX_COLLATERAL_BYTES + b'{},"signature":""}'
    for read in (read_tcb_info, read_qe_identity):
        with pytest.raises(CheckError) as caught:
            read(long)
        assert str(MAX_COLLATERAL_BYTES) in caught.value.expected
    many = [level((1,), "OutOfDate", tdx=(1,))] * (MAX_LEVELS + 1)
    assert ("I7", Found.COLLATERAL) in found(tcb_info=lambda said: {**said, "tcbLevels": many})


# 141
def test_evidence_that_nothing_makes_is_refused_before_it_is_read() -> None:
    with pytest.raises(LimitExceededError) as caught:
        RULES.examine(bytes(MAX_EVIDENCE_BYTES + 1), Endorsements(), NOON, Roots())
    assert caught.value.reason is Reason.EVIDENCE_SIZE


# 140
@pytest.mark.parametrize("evidence", [b"", b"\x00" * 1184, b"\x02" * 5000, b"{}"])
def test_other_evidence_is_none_of_intel(evidence: bytes) -> None:
    examination = RULES.examine(evidence, MINTED.endorsements, NOON, MINTED.roots)
    assert examination.evidence_id is None
    assert examination.claims == {}
    assert [item.outcome for item in examination.checks] == ["fail"] + ["skipped"] * 23


# 145
def test_a_crl_is_der_and_nothing_follows() -> None:
    data = MINTED.roles[Role.INTEL_PCK_CRL]
    for edit in (data + b"\0", data[:-1], b"\x30\x80" + data[4:] + b"\0\0"):
        assert ("I6", CRLFinding.CRL_MALFORMED) in failures(
            examine(swapped(MINTED, INTEL_PCK_CRL=edit))
        )


# 146
def test_keys_and_hashes_are_those_of_intel() -> None:
    root = pki.issue(pki.name("Intel SGX Root CA"), pki.p256("intel root"), None, path_length=1)
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        signer = pki.issue(pki.name("Intel SGX TCB Signing"), key, root, ca=False)
        chain = swapped(MINTED, INTEL_TCB_CHAIN=signer.pem + root.pem)
        assert ("I7", Found.CERTIFICATE) in failures(examine(chain))
    weak = pki.issue(
        pki.name("Intel SGX TCB Signing"),
        pki.p256("intel tcb"),
        root,
        ca=False,
        hash_=hashes.SHA384(),
    )
    chain = swapped(MINTED, INTEL_TCB_CHAIN=weak.pem + root.pem)
    assert ("I7", Found.CHAIN_BROKEN) in failures(examine(chain))
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00")
    critical = pki.issue(
        pki.name("Intel SGX TCB Signing"),
        pki.p256("intel tcb"),
        root,
        ca=False,
        extensions=[(unknown, True)],
    )
    chain = swapped(MINTED, INTEL_TCB_CHAIN=critical.pem + root.pem)
    assert ("I7", Found.CERTIFICATE) in failures(examine(chain))
    assert critical.certificate.public_bytes(serialization.Encoding.DER)


def test_every_finding_of_a_policy_has_a_weight() -> None:
    assert set(FINDINGS.values()) <= set(WEIGHTS)
    assert set(RULES.references.values()) | set(RULES.minimums.values()) <= set(TABLE)
    assert RULES.binding[1] in TABLE
    assert RULES.distrust[1] in TABLE
    assert not {Finding(item) for item in WEIGHTS if item in list(Finding)}
