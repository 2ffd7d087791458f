"""Tests of registry.core.evidence.nvidia.eat."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError
from registry.core.evidence.nvidia import eat
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.roots import Roots
from tools.fake_vendor import pki
from tools.fake_vendor.nvidia_token import jwk_set, key_sha256, roots_of, token

GOOD = token({"x": 1}, "ES384")


def verify(text: str, jwks: bytes | None, roots: Roots | None = None) -> eat.Token:
    read = eat.Token.parse(text)
    eat.verify(read, () if jwks is None else (jwks,), roots or roots_of())
    return read


def finding(text: str, jwks: bytes | None) -> str:
    with pytest.raises(CheckError) as caught:
        verify(text, jwks)
    return caught.value.finding


def test_a_token_that_its_issuer_signed_says_what_it_says() -> None:
    read = verify(GOOD, jwk_set())
    assert read.claims == {"x": 1}
    assert read.header["alg"] == "ES384"


def test_without_its_issuers_keys_nothing_can_be_said_of_a_token() -> None:
    assert finding(GOOD, None) == Found.TOKEN_UNVERIFIED


@pytest.mark.parametrize(
    "changed",
    [
        {"kid": "other"},
        {"kty": "RSA"},
        {"crv": "P-256"},
        {"x": "AAAA"},
        {"y": "AA=="},
        {"x": "A" * 64, "y": "A" * 64},
        {"kid": None},
        {"alg": "ES256"},
        {"use": "enc"},
    ],
    ids=["name", "kind", "curve", "short", "padded", "off", "no name", "algorithm", "use"],
)
def test_only_a_p384_key_of_that_name_counts(changed: dict[str, Any]) -> None:
    assert finding(GOOD, jwk_set(**changed)) == Found.TOKEN_KEY


def test_a_key_that_nobody_named_does_not_count() -> None:
    with pytest.raises(CheckError) as caught:
        verify(GOOD, jwk_set(), Roots())
    assert caught.value.finding == "UNTRUSTED_ROOT"


def test_a_set_of_somebody_elses_keys_beside_the_issuers_changes_nothing() -> None:
    read = eat.Token.parse(GOOD)
    foreign = jwk_set(pki.p384("somebody else"))
    for sets in ((foreign, jwk_set()), (jwk_set(), foreign), (b"{", jwk_set())):
        spki, used = eat.verify(read, sets, roots_of())
        assert (sha256(spki).hex(), used) == (key_sha256(), jwk_set())


def test_a_coordinate_has_one_length() -> None:
    key = json.loads(jwk_set())["keys"][0]
    both = b"".join(base64.urlsafe_b64decode(key[name]) for name in ("x", "y"))
    x, y = (base64.urlsafe_b64encode(part).decode() for part in (both[:51], both[51:]))
    assert "=" not in x + y
    assert finding(GOOD, jwk_set(x=x, y=y)) == Found.TOKEN_KEY


def test_two_keys_of_one_name_are_none() -> None:
    twice = jwk_set().replace(b'{"keys": [', b'{"keys": [' + jwk_set()[10:-2] + b",")
    assert finding(GOOD, twice) == Found.TOKEN_KEY
    assert finding(GOOD, b"[]") == Found.TOKEN_KEY
    assert finding(GOOD, b"{") == Found.TOKEN_KEY


@pytest.mark.parametrize("header", [{"crit": ["b64"]}, {"b64": False}], ids=["crit", "b64"])
def test_headers_that_change_what_is_signed_are_refused(header: dict[str, Any]) -> None:
    assert finding(token({}, "ES384", **header), jwk_set()) == Found.TOKEN_ALGORITHM


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("AQgw_-.01"))
def test_no_character_of_a_token_can_change(at: int, character: str) -> None:
    if GOOD[at] != character:
        with pytest.raises(CheckError):
            verify(GOOD[:at] + character + GOOD[at + 1 :], jwk_set())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "e30=.e30=.AA",
        "a.b",
        "a.b.c.d",
        "....",
        "e30.e30.!",
        "e30.W10.",
        "e31.e30.AA",
        "A" * 70_000,
    ],
    ids=range(9),
)
def test_other_text_is_no_token(text: str) -> None:
    assert finding(text, jwk_set()) == Found.TOKEN_MALFORMED


def test_a_token_without_a_signature_is_unsigned_whatever_it_says() -> None:
    unsigned = token({}, "none")
    assert finding(unsigned, jwk_set()) == Found.TOKEN_UNSIGNED
    assert finding(f"{unsigned}AAAA", jwk_set()) == Found.TOKEN_UNSIGNED
    assert finding(GOOD.rpartition(".")[0] + ".", jwk_set()) == Found.TOKEN_UNSIGNED


def test_a_signature_of_another_length_is_refused() -> None:
    head, _, signature = GOOD.rpartition(".")
    raw = base64.urlsafe_b64decode(signature)
    longer = base64.urlsafe_b64encode(b"\0" + raw[:48] + b"\0" + raw[48:]).decode().rstrip("=")
    assert finding(f"{head}.{longer}", jwk_set()) == Found.TOKEN_SIGNATURE
    assert finding(f"{head}.AAAA", jwk_set()) == Found.TOKEN_SIGNATURE
    # As numbers these are the same as in the good one.
    padded = base64.urlsafe_b64encode(raw[:48] + b"\0" + raw[48:]).decode().rstrip("=")
    assert finding(f"{head}.{padded}", jwk_set()) == Found.TOKEN_SIGNATURE
