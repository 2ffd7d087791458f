"""Tests of registry.core.evidence.nvidia.ocsp."""

import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.evidence.checks import CheckError, Finding, Ledger
from registry.core.evidence.endorsements import Role
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.ocsp import Answer, Answers, Subject, check_responder
from registry.core.evidence.nvidia.tables import CHECKS
from registry.core.evidence.validity import seconds
from registry.core.verdict import Verdict
from tests.core.evidence.nvidia.judging import exchanged, findings, judge
from tools.fake_vendor.nvidia import Spec, mint
from tools.fake_vendor.nvidia_certificates import authorities, boot_rom
from tools.fake_vendor.nvidia_ocsp import NOON, Said, answer, element

SUBJECT = boot_rom("nvidia", "HOPPER", 1)
ISSUER = authorities("nvidia", "GH100")[2]
ABOUT = Subject(SUBJECT.der, ISSUER.der)


def said(*answers: Said, at: timedelta = timedelta(0), days: int | None = None) -> str:
    """What is found by these answers; empty if the certificate was good."""
    ledger = Ledger({"G5": CHECKS["G5"]}, seconds(NOON + at))
    with ledger.check("G5"):
        known = Answers([answer(SUBJECT, ISSUER, item) for item in answers], days)
        known.check_readable()
        known.check(ledger, "G5", ABOUT, known.strays([ABOUT]))
    [result] = ledger.results()
    return result.finding


@pytest.mark.parametrize(
    ("at", "finding"),
    [
        (timedelta(hours=-1, seconds=-1), Finding.NOT_YET_VALID),
        (timedelta(hours=-1), ""),
        (timedelta(hours=22, minutes=59, seconds=59), ""),
        (timedelta(hours=23), Finding.EXPIRED),
    ],
    ids=["before", "first", "last", "next update"],
)
def test_an_answer_counts_until_the_next_one(at: timedelta, finding: str) -> None:
    assert said(Said(), at=at) == finding


@pytest.mark.parametrize(
    ("days", "at", "finding"),
    [
        (90, timedelta(hours=-1, seconds=-1), Finding.NOT_YET_VALID),
        (90, timedelta(days=90, hours=-1), ""),
        (90, timedelta(days=90, hours=-1, seconds=1), Finding.EXPIRED),
        (0, timedelta(hours=-1), ""),
        (0, timedelta(hours=-1, seconds=1), Finding.EXPIRED),
    ],
    ids=["before", "last", "after", "none", "none after"],
)
def test_a_policy_may_say_how_long_an_answer_counts(days: int, at: timedelta, finding: str) -> None:
    assert said(Said(), at=at, days=days) == finding


def test_an_answer_without_a_next_one_counts_when_it_is_given() -> None:
    assert said(Said(life=None), at=timedelta(hours=-1)) == ""
    assert said(Said(life=None)) == Finding.EXPIRED
    assert said(Said(life=None), days=1) == ""


def test_the_issuer_may_answer_itself() -> None:
    assert said(Said(responder="issuer")) == ""


@pytest.mark.parametrize("responder", ["delegated", "issuer"])
def test_a_responder_may_give_its_name(responder: str) -> None:
    assert said(Said(responder=responder, by_name=True)) == ""
    assert said(Said(responder="stranger", by_name=True)) == Found.OCSP_RESPONDER


def test_a_responder_may_answer_from_its_first_second() -> None:
    began = NOON - timedelta(days=365)
    at = timedelta(days=-365)
    assert said(Said(this_update=began), at=at) == ""
    early = Said(this_update=began - timedelta(seconds=1))
    assert said(early, at=at) == Found.OCSP_RESPONDER


def test_a_responder_whose_certificate_ended_since_answered_well() -> None:
    """As with NVIDIA's own: answers of August 2025 by a responder who ended in September."""
    ended = timedelta(days=365, seconds=-1)
    assert said(Said(responder_life=ended)) == ""
    before = timedelta(days=364, hours=22)
    assert said(Said(responder_life=before)) == Found.OCSP_RESPONDER


@pytest.mark.parametrize(
    ("item", "finding"),
    [
        (Said(status="revoked", revoked_at=NOON), Finding.REVOKED),
        (Said(status="revoked", revoked_at=NOON + timedelta(seconds=1)), ""),
        (
            Said(
                status="revoked",
                revoked_at=NOON + timedelta(days=1),
                reason=x509.ReasonFlags.key_compromise,
            ),
            Finding.REVOKED,
        ),
        (
            Said(
                status="revoked",
                revoked_at=NOON + timedelta(days=1),
                reason=x509.ReasonFlags.ca_compromise,
            ),
            Finding.REVOKED,
        ),
        (
            Said(
                status="revoked",
                revoked_at=NOON + timedelta(days=1),
                reason=x509.ReasonFlags.superseded,
            ),
            "",
        ),
    ],
    ids=["now", "later", "key stolen", "authority's key stolen", "superseded later"],
)
def test_a_revocation_counts_from_its_date_unless_the_key_was_stolen(
    item: Said, finding: str
) -> None:
    assert said(item) == finding


def test_the_newest_answer_that_counts_is_taken() -> None:
    old = Said(this_update=NOON - timedelta(days=30))
    future = Said(this_update=NOON + timedelta(days=1))
    assert said(old, Said(), future) == ""
    assert said(old, future) == Finding.EXPIRED
    assert said(future) == Finding.NOT_YET_VALID
    assert said(Said(status="unknown"), Said()) == ""


def test_one_answer_that_says_revoked_is_enough() -> None:
    assert said(Said(), Said(status="revoked")) == Finding.REVOKED
    late = Said(status="revoked", this_update=NOON + timedelta(days=5))
    assert said(Said(), late) == Finding.REVOKED


def test_a_forged_answer_is_refused_beside_a_good_one() -> None:
    assert said(Said(), Said(responder="stranger")) == Found.OCSP_RESPONDER


def _serial(data: bytes) -> bytes:
    """The answer about a certificate with another serial number, and the old signature."""
    serial = SUBJECT.certificate.serial_number.to_bytes(9, "big")
    assert data.count(serial) == 1
    return data.replace(serial, serial[:-1] + bytes([serial[-1] ^ 1]))


def test_an_answer_about_the_same_issuer_is_about_another_certificate() -> None:
    assert said(Said(data=_serial)) == Found.OCSP_OTHER_CERTIFICATE


def test_an_answer_with_the_same_serial_number_by_another_issuer_is_another() -> None:
    other = authorities("elsewhere", "GH100")[2]
    assert said(Said(about=(SUBJECT, other))) == Found.OCSP_OTHER_CERTIFICATE


def test_an_answer_that_was_edited_is_not_the_responders() -> None:
    with pytest.raises(CheckError) as caught:
        check_responder(_tampered(answer(SUBJECT, ISSUER)), ISSUER.der)
    assert caught.value.finding is Found.OCSP_RESPONDER


def _tampered(data: bytes) -> bytes:
    """One second later than it was signed."""
    return data.replace(b"20260601110000Z", b"20260601110001Z")


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data + b"\0",
        lambda data: data[:-1],
        lambda _: b"",
        lambda _: b"\x30\x03\x0a\x01\x06",
        lambda data: data + bytes(20_000),
    ],
    ids=["trailing", "cut", "empty", "unauthorized", "long"],
)
def test_what_is_no_answer_is_refused(edit: object) -> None:
    assert said(Said(data=edit)) == Found.OCSP_MALFORMED  # type: ignore[arg-type]  # functions all


def _two(signed: bytes) -> bytes:
    """Twice what it says of the certificate."""
    single = signed[signed.rindex(b"\x30\x81", 0, signed.index(b"\x30\x81", 8) + 2) :]
    head = signed[3 : len(signed) - len(single)]
    inner = single[3:]
    return element(0x30, head + element(0x30, inner + inner))


def _ends_first(signed: bytes) -> bytes:
    """The next answer comes before this one."""
    return signed.replace(b"20260602110000Z", b"20260601105959Z")


def _ends_at_once(signed: bytes) -> bytes:
    """The next answer comes with this one."""
    return signed.replace(b"20260602110000Z", b"20260601110000Z")


@pytest.mark.parametrize(
    ("item", "finding", "text"),
    [
        (Said(signed=_two), Found.OCSP_MALFORMED, "another number of certificates"),
        (Said(signed=_ends_at_once), Found.OCSP_MALFORMED, "ends before it begins"),
        (Said(signed=_ends_first), Found.OCSP_MALFORMED, "ends before it begins"),
        (Said(nonce_critical=True), Found.OCSP_MALFORMED, "a critical extension"),
        (Said(data=lambda _: b"\x30\x03\x0a\x01\x06"), Found.OCSP_MALFORMED, "did not answer"),
        (Said(data=lambda data: data * 30), Found.OCSP_MALFORMED, "too long"),
        (Said(responder="purpose"), Found.OCSP_RESPONDER, "not for OCSP"),
        (Said(responder="authority"), Found.OCSP_RESPONDER, "not for signatures"),
        (Said(sha256=True), Found.OCSP_RESPONDER, "SHA-384"),
        (Said(certificates=lambda own: own * 5), Found.OCSP_RESPONDER, "too many certificates"),
        (Said(certificates=lambda own: own * 2), Found.OCSP_RESPONDER, "does not come with"),
        (Said(certificates=lambda _: []), Found.OCSP_RESPONDER, "does not come with"),
    ],
    ids=[
        "two",
        "no window",
        "window",
        "nonce",
        "refusal",
        "long",
        "purpose",
        "authority",
        "hash",
        "five",
        "twice",
        "none",
    ],
)
def test_an_answer_has_one_form(item: Said, finding: str, text: str) -> None:
    with pytest.raises(CheckError) as caught:
        known = Answers([answer(SUBJECT, ISSUER, item)], None)
        known.check_readable()
        ledger = Ledger(CHECKS, seconds(NOON))
        known.check(ledger, "G5", ABOUT, known.strays([ABOUT]))
    assert caught.value.finding == finding
    assert text in caught.value.what


def test_an_answer_that_cannot_be_read_makes_evidence_bad() -> None:
    minted = mint(Spec())
    answers = [*minted.endorsements.all(Role.NVIDIA_OCSP), b"no answer"]
    appraisal = judge(exchanged(minted, Role.NVIDIA_OCSP, answers))
    assert findings(appraisal) == {("G5", Found.OCSP_MALFORMED)}
    assert appraisal.verdict is Verdict.INVALID


def test_answers_about_strangers_do_no_harm() -> None:
    minted = mint(Spec())
    _, family, provisioner = authorities("elsewhere", "GH100")
    stranger = answer(provisioner, family)
    answers = [*minted.endorsements.all(Role.NVIDIA_OCSP), stranger]
    assert judge(exchanged(minted, Role.NVIDIA_OCSP, answers)).verdict is Verdict.VALID


def test_a_response_is_what_its_responder_wrote() -> None:
    read = Answer.parse(answer(SUBJECT, ISSUER))
    assert read.serial == SUBJECT.certificate.serial_number
    assert read.status is ocsp.OCSPCertStatus.GOOD
    assert read.this_update == NOON - timedelta(hours=1)
    response = ocsp.load_der_ocsp_response(read.data)
    assert response.public_bytes(serialization.Encoding.DER) == read.data


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0), st.integers(1, 255))
def test_no_byte_of_what_a_responder_signed_can_change(at: int, change: int) -> None:
    data = bytearray(answer(SUBJECT, ISSUER))
    signed = ocsp.load_der_ocsp_response(bytes(data)).tbs_response_bytes
    data[data.index(signed) + at % len(signed)] ^= change
    ledger = Ledger({"G5": CHECKS["G5"]}, seconds(NOON))
    with ledger.check("G5"):
        known = Answers([bytes(data)], None)
        known.check_readable()
        known.check(ledger, "G5", ABOUT, known.strays([ABOUT]))
    assert ledger.results()[0].outcome == "fail"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_whatever_is_changed_in_an_answer_is_a_finding_at_most() -> None:
    good = answer(SUBJECT, ISSUER)
    for at in range(len(good)):
        for change in (1, 0x10, 0xFF):
            data = bytearray(good)
            data[at] ^= change
            with contextlib.suppress(CheckError):
                Answer.parse(bytes(data))
                check_responder(bytes(data), ISSUER.der)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_other_bytes_are_no_answer(data: bytes) -> None:
    with pytest.raises(CheckError):
        Answer.parse(data)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([-3600, 22 * 3600 + 3599 + 1, 90 * 86400 - 3600]),
    st.integers(-1, 1),
    st.sampled_from([None, 90]),
)
def test_every_boundary_second_of_an_answer_is_sharp(
    edge: int, step: int, days: int | None
) -> None:
    at = edge + step
    last = 90 * 86400 - 3600 if days else 23 * 3600 - 1
    expected = Finding.NOT_YET_VALID if at < -3600 else Finding.EXPIRED if at > last else ""
    assert said(Said(), at=timedelta(seconds=at), days=days) == expected


def test_a_good_chain_of_answers_is_named_in_the_result() -> None:
    minted = mint(replace(Spec()))
    examination = judge(minted).examination
    assert len(examination.endorsements) == len(minted.endorsements.items)
