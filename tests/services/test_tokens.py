"""Identity tokens: what holds, and each way in which one does not."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from registry.config import OIDCIssuer
from registry.core.attestation.identity import Identity
from registry.errors import Reason, RegistryError, UnauthenticatedError, UnavailableError
from registry.remote.http import HTTPClient
from registry.services.tokens import (
    KEYS_LIVE,
    LEEWAY,
    MAX_TOKEN_CHARACTERS,
    REFETCH_AFTER,
    Issuers,
)
from tests.oidc import AUDIENCE, SUBJECT, Issuer, jwk, oidc_issuer, pem, rsa_key, segment

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
Refused = Callable[..., Reason]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with oidc_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[HTTPClient]:
    with HTTPClient(timeout=timedelta(seconds=5)) as asking:
        yield asking


@pytest.fixture
def issuers(issuer: Issuer, client: HTTPClient) -> Issuers:
    return Issuers([OIDCIssuer(issuer.url, AUDIENCE)], client)


@pytest.fixture
def refused(issuer: Issuer, issuers: Issuers) -> Refused:
    def refuse(token: str | None = None, at: datetime = NOON, **changes: Any) -> Reason:
        made = issuer.token(at=NOON, **changes) if token is None else token
        with pytest.raises(UnauthenticatedError) as error:
            issuers.authenticate(made, at)
        return error.value.reason

    return refuse


@pytest.mark.parametrize(("kid", "algorithm"), [("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")])
def test_a_token_that_holds_names_its_subject(
    issuer: Issuer, issuers: Issuers, kid: str, algorithm: str
) -> None:
    token = issuer.token(at=NOON, kid=kid, algorithm=algorithm)
    found = issuers.authenticate(token, NOON)
    assert found.identity == Identity(issuer.url, SUBJECT)
    assert found.challenges == (SUBJECT,)


def test_a_verified_email_address_names_its_owner(issuer: Issuer, issuers: Issuers) -> None:
    token = issuer.token(at=NOON, sub="7f3a", email="ada@acme.example", email_verified=True)
    found = issuers.authenticate(token, NOON)
    assert found.identity == Identity(issuer.url, "ada@acme.example")
    assert found.challenges == ("7f3a", "ada@acme.example")


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": 1},
        {"email_verified": None},
    ],
)
def test_an_email_address_that_is_not_verified_names_nobody(
    refused: Refused, claims: dict[str, Any]
) -> None:
    assert refused(email="ada@acme.example", **claims) is Reason.EMAIL_NOT_VERIFIED


@pytest.mark.parametrize(
    "email", ["ada", "ada@", "@acme", "a b@acme.example", "äda@acme.example", "a" * 250 + "@b.cd"]
)
def test_an_email_address_that_fits_into_no_certificate_is_refused(
    refused: Refused, email: str
) -> None:
    assert refused(email=email, email_verified=True) is Reason.UNUSABLE_IDENTITY


@pytest.mark.parametrize("subject", ["ada", "a b:c", "https://acme.example/ä", "x:" + "y" * 1024])
def test_a_subject_that_fits_into_no_certificate_is_refused(refused: Refused, subject: str) -> None:
    assert refused(sub=subject) is Reason.UNUSABLE_IDENTITY


def test_an_expired_token_is_refused(refused: Refused) -> None:
    assert refused(exp=int(NOON.timestamp()) - 3600) is Reason.TOKEN_EXPIRED


def holds(issuers: Issuers, token: str, at: datetime = NOON) -> bool:
    return issuers.authenticate(token, at).identity.name == SUBJECT


def test_a_token_ends_when_it_says_and_not_a_second_later(
    issuer: Issuer, issuers: Issuers, refused: Refused
) -> None:
    token = issuer.token(at=NOON)
    end = NOON + timedelta(seconds=600) + LEEWAY
    assert holds(issuers, token, end - timedelta(seconds=1))
    assert refused(token, at=end) is Reason.TOKEN_EXPIRED


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_from_the_future_is_refused(refused: Refused, claim: str) -> None:
    later = int((NOON + LEEWAY + timedelta(seconds=1)).timestamp())
    assert refused(**{claim: later}) is Reason.TOKEN_NOT_YET_VALID


def test_a_token_needs_no_nbf(issuer: Issuer, issuers: Issuers) -> None:
    assert holds(issuers, issuer.token(at=NOON, leave_out=("nbf",)))


@pytest.mark.parametrize("claim", ["iat", "exp", "sub", "iss"])
def test_a_token_without_what_it_needs_is_refused(refused: Refused, claim: str) -> None:
    assert refused(leave_out=(claim,)) is Reason.MALFORMED_IDENTITY_TOKEN


@pytest.mark.parametrize("value", ["1756728000", 1.5, -1, True, None, 2**70])
def test_a_time_that_is_no_number_of_seconds_is_refused(refused: Refused, value: Any) -> None:
    assert refused(exp=value) is Reason.MALFORMED_IDENTITY_TOKEN


@pytest.mark.parametrize(
    "audience", ["sigstore", ["sigstore"], [AUDIENCE, "sigstore"], [], "", None, {AUDIENCE: 1}]
)
def test_a_token_for_somebody_else_or_somebody_else_too_is_refused(
    refused: Refused, issuer: Issuer, audience: Any
) -> None:
    # By hand: the library refuses to make some of these.
    claims = json.loads(_decode(issuer.token(at=NOON).split(".")[1])) | {"aud": audience}
    assert refused(_sign(claims, issuer.keys["rsa"])) is Reason.WRONG_AUDIENCE


def test_a_token_without_audience_is_refused(refused: Refused) -> None:
    assert refused(leave_out=("aud",)) is Reason.WRONG_AUDIENCE


def test_an_audience_may_stand_in_a_list_alone(issuer: Issuer, issuers: Issuers) -> None:
    assert holds(issuers, issuer.token(at=NOON, aud=[AUDIENCE]))


@pytest.mark.parametrize("name", ["https://other.example", "http://127.0.0.1", ""])
def test_an_unknown_issuer_is_not_even_asked(refused: Refused, issuer: Issuer, name: str) -> None:
    reason = Reason.UNKNOWN_ISSUER if name else Reason.MALFORMED_IDENTITY_TOKEN
    assert refused(iss=name) is reason
    assert not issuer.asked


def test_a_slash_more_makes_another_issuer(refused: Refused, issuer: Issuer) -> None:
    assert refused(iss=issuer.url + "/") is Reason.UNKNOWN_ISSUER


def test_an_unsigned_token_is_refused(refused: Refused, issuer: Issuer) -> None:
    claims = issuer.token(at=NOON).split(".")[1]
    for name in ("none", "None", "nOnE", ""):
        token = f"{segment({'alg': name, 'kid': 'rsa'})}.{claims}."
        assert refused(token) is Reason.TOKEN_ALGORITHM


@pytest.mark.parametrize("algorithm", [["ES256"], {"ES256": 1}, 256, None, True])
def test_an_algorithm_that_is_no_name_is_refused(
    refused: Refused, issuer: Issuer, algorithm: Any
) -> None:
    claims = issuer.token(at=NOON).split(".")[1]
    token = f"{segment({'alg': algorithm, 'kid': 'rsa'})}.{claims}.AAAA"
    assert refused(token) is Reason.TOKEN_ALGORITHM


def test_a_public_key_is_never_taken_for_a_shared_secret(refused: Refused, issuer: Issuer) -> None:
    claims = issuer.token(at=NOON).split(".")[1]
    for algorithm in ("HS256", "HS384", "HS512"):
        secret = pem(issuer.keys["rsa"])
        head = segment({"alg": algorithm, "kid": "rsa"})
        mac = hmac.new(secret, f"{head}.{claims}".encode(), hashlib.sha256).digest()
        assert refused(f"{head}.{claims}.{segment(mac)}") is Reason.TOKEN_ALGORITHM


def test_the_key_decides_which_algorithm_it_signs_with(refused: Refused, issuer: Issuer) -> None:
    assert refused(algorithm="RS512") is Reason.TOKEN_ALGORITHM
    assert refused(algorithm="PS256") is Reason.TOKEN_ALGORITHM
    key = issuer.keys["ec"]
    assert refused(kid="rsa", key=key, algorithm="ES256") is Reason.TOKEN_ALGORITHM


def test_an_unknown_key_is_refused(refused: Refused) -> None:
    assert refused(kid="other", key=rsa_key()) is Reason.UNKNOWN_TOKEN_KEY


def test_a_token_that_names_no_key_is_refused(refused: Refused) -> None:
    assert refused(kid=None) is Reason.UNKNOWN_TOKEN_KEY


def test_a_token_that_brings_its_own_key_is_refused(refused: Refused) -> None:
    mine = rsa_key(1)
    own = {"jwk": jwk(mine, "rsa"), "jku": "http://127.0.0.1:9/keys", "x5u": "http://127.0.0.1:9/"}
    assert refused(key=mine, headers=own) is Reason.TOKEN_SIGNATURE


def test_a_token_of_another_key_of_that_name_is_refused(refused: Refused) -> None:
    assert refused(key=rsa_key(1)) is Reason.TOKEN_SIGNATURE


def test_a_token_that_was_changed_is_refused(refused: Refused, issuer: Issuer) -> None:
    head, claims, signature = issuer.token(at=NOON).split(".")
    other = json.loads(_decode(claims)) | {"sub": "https://ci.example/rival"}
    assert refused(f"{head}.{segment(other)}.{signature}") is Reason.TOKEN_SIGNATURE


def test_critical_extensions_are_refused(refused: Refused) -> None:
    assert refused(headers={"crit": ["b64"], "b64": True}) is Reason.MALFORMED_IDENTITY_TOKEN


def test_a_claim_that_stands_twice_is_refused(refused: Refused, issuer: Issuer) -> None:
    claims = _decode(issuer.token(at=NOON).split(".")[1])[:-1] + b', "sub": "https://x.example"}'
    token = _sign(claims, issuer.keys["rsa"])
    assert refused(token) is Reason.MALFORMED_IDENTITY_TOKEN


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "a.b.c.d", "e30.e30.e30=", "e31.e30.e30"])
def test_what_is_no_token_is_refused(refused: Refused, token: str) -> None:
    assert refused(token) in (Reason.MALFORMED_IDENTITY_TOKEN, Reason.TOKEN_ALGORITHM)


def test_a_token_that_is_too_long_is_refused(refused: Refused) -> None:
    assert refused("a" * (MAX_TOKEN_CHARACTERS + 1)) is Reason.MALFORMED_IDENTITY_TOKEN


_NOBODY = Issuers([], HTTPClient())


@given(
    st.one_of(st.text(), st.lists(st.binary(max_size=40)).map(lambda p: ".".join(map(segment, p))))
)
def test_anything_else_is_refused_and_breaks_nothing(token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        _NOBODY.authenticate(token, NOON)


# --- Keys: asked for when needed, and not too often. ---


def test_keys_are_asked_for_once(issuer: Issuer, issuers: Issuers) -> None:
    for _ in range(3):
        issuers.authenticate(issuer.token(at=NOON), NOON)
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_unknown_keys_make_us_ask_at_most_once_a_minute(issuer: Issuer, refused: Refused) -> None:
    for second in range(50):
        at = NOON + timedelta(seconds=second)
        assert refused(kid="other", key=rsa_key(), at=at) is Reason.UNKNOWN_TOKEN_KEY
    assert len(issuer.asked) == 2


def test_a_new_key_is_found_after_a_minute(issuer: Issuer, issuers: Issuers) -> None:
    issuers.authenticate(issuer.token(at=NOON), NOON)
    issuer.keys["new"] = ec.generate_private_key(ec.SECP256R1())
    token = issuer.token(at=NOON, kid="new", algorithm="ES256")
    with pytest.raises(UnauthenticatedError):
        issuers.authenticate(token, NOON + REFETCH_AFTER - timedelta(seconds=1))
    assert holds(issuers, token, NOON + REFETCH_AFTER)


def test_a_withdrawn_key_ends_within_the_hour(issuer: Issuer, issuers: Issuers) -> None:
    token = issuer.token(at=NOON, exp=int((NOON + 2 * KEYS_LIVE).timestamp()))
    issuers.authenticate(token, NOON)
    del issuer.keys["rsa"]
    with pytest.raises(UnauthenticatedError) as refused:
        issuers.authenticate(token, NOON + KEYS_LIVE)
    assert refused.value.reason is Reason.UNKNOWN_TOKEN_KEY


def test_an_issuer_that_is_down_lets_nobody_in_and_is_not_pestered(
    issuer: Issuer, issuers: Issuers
) -> None:
    issuer.down = True
    for second in range(5):
        with pytest.raises(UnavailableError):
            issuers.authenticate(issuer.token(at=NOON), NOON + timedelta(seconds=second))
    assert len(issuer.asked) == 1
    issuer.down = False
    assert holds(issuers, issuer.token(at=NOON), NOON + REFETCH_AFTER)


def test_keys_may_come_from_a_file(issuer: Issuer, client: HTTPClient, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(issuer.jwks())
    known = Issuers([OIDCIssuer(issuer.url, AUDIENCE, tmp_path / "keys.json")], client)
    assert holds(known, issuer.token(at=NOON))
    assert not issuer.asked


@pytest.mark.parametrize("url", ["http://accounts.example", "ftp://127.0.0.1", "https://a@b"])
def test_an_issuer_without_tls_is_refused_at_the_start(client: HTTPClient, url: str) -> None:
    with pytest.raises(RegistryError) as refused:
        Issuers([OIDCIssuer(url, AUDIENCE)], client)
    assert refused.value.reason is Reason.BAD_SETTING


def test_two_lines_about_one_issuer_are_refused_at_the_start(client: HTTPClient) -> None:
    line = OIDCIssuer("https://accounts.example", AUDIENCE)
    with pytest.raises(RegistryError) as refused:
        Issuers([line, line], client)
    assert refused.value.reason is Reason.BAD_SETTING


def _decode(text: str) -> bytes:
    return jwt.utils.base64url_decode(text)


def _sign(claims: Any, key: rsa.RSAPrivateKey) -> str:
    signed = f"{segment({'alg': 'RS256', 'kid': 'rsa'})}.{segment(claims)}"
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{segment(signature)}"
