"""Tests of registry.core.evidence.nvidia.token: what a token is worth, alone."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.digest import sha256
from registry.core.evidence.appraisal import Appraisal, Question, appraise
from registry.core.evidence.binding import Binding, Mismatch, gpu_nonce
from registry.core.evidence.checks import Finding
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.rules import TOKEN_RULES
from registry.core.evidence.nvidia.tables import CHECKS
from registry.core.evidence.policy import Policy
from registry.core.evidence.recognise import recognise
from registry.core.evidence.roots import Roots
from registry.core.evidence.trust import Tier
from registry.core.evidence.validity import seconds
from registry.core.verdict import Verdict
from registry.errors import RegistryError
from tests.core.evidence.nvidia.judging import findings, policy
from tools.fake_vendor import nvidia, pki
from tools.fake_vendor.nvidia_ocsp import NOON
from tools.fake_vendor.nvidia_token import (
    ISSUER,
    Claims,
    Minted,
    Spec,
    high_s,
    jwk_set,
    key_sha256,
    mint,
    token,
)

ONLY = ("G3", Found.TOKEN_ONLY)
"""What is said of every good token: nobody here saw the reports."""


def judge(
    what: Minted | Spec,
    at: datetime = NOON,
    by: Policy | None = None,
    question: Question | None = None,
) -> Appraisal:
    minted = mint(what) if isinstance(what, Spec) else what
    examination = TOKEN_RULES.examine(minted.evidence, minted.endorsements, at, minted.roots)
    return appraise(examination, by or policy(TOKEN_RULES), TOKEN_RULES, question)


def claim(name: str, value: object) -> Callable[[Claims], Claims]:
    return lambda claims: {**claims, name: value}


def without(name: str) -> Callable[[Claims], Claims]:
    return lambda claims: {key: value for key, value in claims.items() if key != name}


def test_a_good_token_whose_key_is_named_is_valid_with_a_warning() -> None:
    appraisal = judge(Spec())
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)
    assert findings(appraisal) == {ONLY}
    assert appraisal.trust == {"hardware": 32, "executables": 33}
    examination = appraisal.examination
    assert examination.configured_roots == (key_sha256(),)
    assert examination.endorsements == (sha256(jwk_set()).hex(),)
    assert examination.claims == {
        "issuer": ISSUER,
        "nonce": bytes(range(32)),
        "device_count": 2,
        "issued_at": seconds(NOON),
        "hardware_model": "GH100 A01 GSP BROM",
        "driver_version": "550.90.07",
        "vbios_version": "96.00.9F.00.01",
    }
    assert recognise(mint().evidence, NOON) is TOKEN_RULES


def test_every_check_of_the_table_says_something_of_a_token_and_of_what() -> None:
    checks = judge(Spec()).checks
    assert [item.check for item in checks] == list(CHECKS)
    told = {item.check: item for item in checks}
    assert told["G1"].inputs == (sha256(mint().evidence).hex(),)
    texts = json.loads(mint().evidence)
    for text in (texts[0][1], *texts[1].values()):
        assert sha256(text.encode()).hex() in told["G12"].inputs
    for name in ("G2", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G11"):
        assert (told[name].outcome, told[name].finding) == ("skipped", Finding.NOT_APPLICABLE)


def test_a_report_is_no_token() -> None:
    appraisal = judge(Minted(nvidia.mint().evidence, Endorsements(), Roots()))
    assert findings(appraisal) == {("G1", Found.CONTAINER)}
    assert appraisal.verdict is Verdict.INVALID


def test_a_policy_may_refuse_tokens() -> None:
    strict = policy(TOKEN_RULES, treatments={"TOKEN_ONLY": "fatal"})
    assert judge(Spec(), by=strict).verdict is Verdict.INVALID


def test_without_the_issuers_keys_a_token_stays_open_whatever_a_policy_waives() -> None:
    minted = mint()
    alone = Minted(minted.evidence, Endorsements(), minted.roots)
    lenient = policy(TOKEN_RULES, skip=(*TOKEN_RULES.references, *sorted(TOKEN_RULES.optional)))
    for by in (None, lenient):
        appraisal = judge(alone, by=by)
        assert findings(appraisal) == {("G12", Found.TOKEN_UNVERIFIED)}
        assert appraisal.verdict is Verdict.INDETERMINATE


def test_keys_that_somebody_brings_along_do_not_count_unless_they_are_named() -> None:
    forged = pki.p384("forger")
    minted = mint(Spec(key=forged))
    brought = Endorsements.of([(Role.NVIDIA_JWKS, jwk_set(forged))])
    for roots in (Roots(), minted.roots):
        appraisal = judge(Minted(minted.evidence, brought, roots))
        assert findings(appraisal) == {("G12", Finding.UNTRUSTED_ROOT)}
        assert appraisal.verdict is Verdict.INVALID


def test_a_token_counts_from_its_first_second_until_before_its_last() -> None:
    end = NOON + timedelta(hours=1)
    second = timedelta(seconds=1)
    for at, verdict in (
        (NOON - second, Verdict.INDETERMINATE),
        (NOON, Verdict.VALID),
        (end - second, Verdict.VALID),
        (end, Verdict.INDETERMINATE),
    ):
        assert judge(Spec(), at).verdict is verdict
    assert findings(judge(Spec(), NOON - second)) == {("G12", Finding.NOT_YET_VALID)}
    assert findings(judge(Spec(), end)) == {("G12", Finding.EXPIRED)}


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        (without("exp"), Found.TOKEN_CLAIMS),  # row 135
        (without("iat"), Found.TOKEN_CLAIMS),
        (without("iss"), Found.TOKEN_CLAIMS),
        (without("eat_nonce"), Found.TOKEN_CLAIMS),
        (claim("exp", 2**40), Found.TOKEN_CLAIMS),
        (claim("exp", "soon"), Found.TOKEN_CLAIMS),
        (claim("eat_nonce", "AB" * 32), Found.TOKEN_CLAIMS),
        (claim("eat_nonce", "ab" * 31), Found.TOKEN_CLAIMS),
        (claim("x-nvidia-overall-att-result", "true"), Found.TOKEN_CLAIMS),
        (claim("x-nvidia-overall-att-result", False), Found.TOKEN_REFUSES),
        (without("x-nvidia-overall-att-result"), Found.TOKEN_REFUSES),
        (claim("submods", {"GPU-0": ["DIGEST", ["SHA-1", "00"]]}), Found.TOKEN_CLAIMS),
        (claim("submods", {"GPU-0": "claims"}), Found.TOKEN_CLAIMS),
        (claim("submods", {"GPU-0": ["DIGEST", ["SHA-256", "00"]]}), Found.TOKEN_DIGEST),
    ],
    ids=range(14),
)
def test_an_overall_token_says_what_it_must(
    changed: Callable[[Claims], Claims], finding: str
) -> None:
    appraisal = judge(Spec(overall=changed))
    assert findings(appraisal) == {("G12", finding)}
    assert appraisal.verdict is Verdict.INVALID


def test_a_token_that_is_not_yet_valid_by_its_own_word_stays_open() -> None:  # row 135
    later = seconds(NOON) + 60
    appraisal = judge(Spec(overall=claim("nbf", later)))
    assert findings(appraisal) == {("G12", Finding.NOT_YET_VALID)}
    assert appraisal.verdict is Verdict.INDETERMINATE


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        (claim("measres", "fail"), Found.TOKEN_REFUSES),
        (without("measres"), Found.TOKEN_REFUSES),
        (claim("x-nvidia-gpu-attestation-report-nonce-match", False), Found.TOKEN_REFUSES),
        (claim("x-nvidia-gpu-driver-rim-signature-verified", None), Found.TOKEN_REFUSES),
        (claim("eat_nonce", "ab" * 32), Found.TOKEN_NONCE),
        (claim("iss", "https://nras.elsewhere"), Found.TOKEN_NONCE),
        (without("exp"), Found.TOKEN_CLAIMS),
    ],
    ids=range(7),
)
def test_one_device_that_its_token_denies_spoils_all(
    changed: Callable[[Claims], Claims], finding: str
) -> None:
    spec = Spec(device=lambda number, claims: changed(claims) if number == 1 else claims)
    appraisal = judge(spec)
    assert findings(appraisal) == {("G12", finding)}
    assert appraisal.verdict is Verdict.INVALID


def test_a_device_whose_debugging_is_on_is_refused() -> None:
    spec = Spec(device=lambda _, claims: {**claims, "dbgstat": "enabled"})
    appraisal = judge(spec)
    assert findings(appraisal) == {ONLY, ("G9", Found.TOKEN_DEBUG)}
    assert (appraisal.verdict, appraisal.trust["configuration"]) == (Verdict.INVALID, 96)


def test_the_token_of_a_device_must_be_the_one_that_is_named() -> None:
    foreign = token({"iss": ISSUER})
    exchanged = judge(Spec(bundle=lambda tokens: {**tokens, "GPU-1": foreign}))
    more = judge(Spec(bundle=lambda tokens: {**tokens, "GPU-9": foreign}))
    for appraisal in (exchanged, more):
        assert findings(appraisal) == {("G12", Found.TOKEN_DIGEST)}
        assert appraisal.verdict is Verdict.INVALID


def test_without_the_tokens_of_its_devices_an_overall_token_stays_open() -> None:
    def fewer(tokens: dict[str, str]) -> dict[str, str]:
        return {name: text for name, text in tokens.items() if name != "GPU-1"}

    minted = mint()
    lone = json.loads(minted.evidence)[0][1].encode()
    for what in (Spec(bundle=fewer), Minted(lone, minted.endorsements, minted.roots)):
        appraisal = judge(what)
        assert findings(appraisal) == {("G12", Found.TOKEN_DIGEST)}
        assert appraisal.verdict is Verdict.INDETERMINATE


def test_a_token_has_one_name_whatever_its_signature_and_wrapper() -> None:  # row 123
    names = {
        judge(what).examination.evidence_id
        for what in (
            Spec(),
            Spec(bundle=lambda tokens: {**tokens, "": high_s(tokens[""])}),
        )
    }
    minted = mint()
    wrapped = json.dumps({"claims": [], "detached_eat": json.loads(minted.evidence)}, indent=1)
    again = judge(Minted(wrapped.encode(), minted.endorsements, minted.roots))
    assert again.verdict is Verdict.VALID
    assert names == {again.examination.evidence_id}


def test_a_token_commits_to_the_nonce_of_a_challenge() -> None:
    asked = Binding(nonce=b"\x07" * 32)
    question = Question(stated=asked, expected=asked)
    good = judge(Spec(nonce=gpu_nonce(b"\x07" * 32)), question=question)
    assert findings(good) == {ONLY}
    assert next(item for item in good.checks if item.check == "G11").outcome == "pass"
    appraisal = judge(Spec(), question=question)
    assert ("G11", Mismatch.WRONG_COMMITMENT) in findings(appraisal)
    assert appraisal.verdict is Verdict.INVALID


def test_reference_values_and_floors_are_compared() -> None:
    named = {"issuer": (ISSUER,), "driver_version": ("550.90.08",)}
    other = policy(TOKEN_RULES, reference_values=named, skip=("device_count", "vbios_version"))
    assert ("G6", Finding.REFERENCE_MISMATCH) in findings(judge(Spec(), by=other))
    eight = policy(TOKEN_RULES, minimum={"device_count": 8})
    assert ("G10", Finding.BELOW_MINIMUM) in findings(judge(Spec(), by=eight))


@pytest.mark.parametrize(
    "shape",
    [
        [["JWT", "T"]],
        [["JWT", "T"], {}],
        [["JWT", "T"], {"GPU-0": 1}],
        [["JWT", "T"], {"GPU-0": "T"}, {}],
        [["CWT", "T"], {"GPU-0": "T"}],
        [["JWT"], {"GPU-0": "T"}],
        [["JWT", "T"], {f"GPU-{number}": "T" for number in range(33)}],
        [[], {}],
    ],
    ids=range(8),
)
def test_another_shape_is_no_detached_token(shape: object) -> None:
    text = json.dumps(shape).replace('"T"', json.dumps(token({})))
    appraisal = judge(Minted(text.encode(), Endorsements(), Roots()))
    assert findings(appraisal) == {("G1", Found.CONTAINER)}
    assert appraisal.examination.evidence_id is None


_GOOD = mint()


@given(st.integers(0, len(_GOOD.evidence) - 1), st.integers(0, 255))
def test_no_byte_of_a_detached_token_can_change(at: int, byte: int) -> None:
    changed = _GOOD.evidence[:at] + bytes([byte]) + _GOOD.evidence[at + 1 :]
    if json.loads(_GOOD.evidence) == _loaded(changed):
        return
    appraisal = judge(Minted(changed, _GOOD.endorsements, _GOOD.roots))
    assert appraisal.verdict is not Verdict.VALID


@given(st.binary(max_size=300), st.datetimes(datetime(1990, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_whatever_bytes_say_only_our_own_errors_leave(data: bytes, at: datetime) -> None:
    for evidence, jwks in ((data, jwk_set()), (_GOOD.evidence, data)):
        try:
            TOKEN_RULES.examine(
                evidence, Endorsements.of([(Role.NVIDIA_JWKS, jwks)]), at, _GOOD.roots
            )
        except RegistryError:
            continue


def _loaded(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None
