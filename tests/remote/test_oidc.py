"""Key sets of identity issuers: which keys count, and what is refused."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Reason, RegistryError
from registry.remote.http import HTTPClient
from registry.remote.oidc import MAX_DOCUMENT_BYTES, MAX_KEYS, fetch_keys, load_keys, read_keys
from tests.oidc import Issuer, jwk, oidc_issuer, rsa_key

EC = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with oidc_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[HTTPClient]:
    with HTTPClient(timeout=timedelta(seconds=5)) as asking:
        yield asking


def keys(*listed: Any) -> bytes:
    return json.dumps({"keys": listed}).encode()


def reason(data: bytes) -> Reason:
    with pytest.raises(RegistryError) as refused:
        read_keys(data)
    return refused.value.reason


def test_keys_are_found_where_the_discovery_document_says(
    issuer: Issuer, client: HTTPClient
) -> None:
    found = fetch_keys(client, issuer.url)
    assert {name: key.algorithm for name, key in found.items()} == {
        "rsa": "RS256",
        "ec": "ES256",
        "ed": "EdDSA",
    }


@pytest.mark.parametrize(
    ("curve", "algorithm"),
    [(ec.SECP256R1, "ES256"), (ec.SECP384R1, "ES384"), (ec.SECP521R1, "ES512")],
)
def test_a_curve_has_one_algorithm(curve: Any, algorithm: str) -> None:
    found = read_keys(keys(jwk(ec.generate_private_key(curve()), "k")))
    assert found["k"].algorithm == algorithm


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "other"},
        {"kid": None},
        {"kid": "k" * 300},
        {"alg": "HS256"},
        {"alg": "ES384"},
        {"crv": "secp256k1"},
        {"x": "AA"},
    ],
)
def test_a_key_for_something_else_is_left_out(changes: dict[str, Any]) -> None:
    assert read_keys(keys(jwk(EC, "k") | changes, jwk(rsa_key(), "rsa"))).keys() == {"rsa"}


def test_a_short_rsa_key_is_left_out() -> None:
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    assert not read_keys(keys(jwk(short, "k")))


def test_private_keys_in_a_key_set_are_left_out_or_read_as_what_they_verify() -> None:
    secret = {"kty": "oct", "kid": "k", "k": "c2VjcmV0", "alg": "HS256"}
    assert not read_keys(keys(secret))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[1]}',
        b'{"keys":[],"keys":[]}',
        keys(*[{}] * (MAX_KEYS + 1)),
        keys(jwk(EC, "k"), jwk(rsa_key(), "k")),
    ],
)
def test_a_malformed_key_set_is_refused(data: bytes) -> None:
    assert reason(data) is Reason.MALFORMED_KEY_SET


_VALUES = st.recursive(
    st.none() | st.text(max_size=9) | st.integers() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use"]), inner)
    ),
)


@given(st.lists(_VALUES, max_size=4), st.binary(max_size=60))
def test_any_key_set_is_read_or_refused(listed: list[Any], data: bytes) -> None:
    for given_ in (keys(*listed), data):
        try:
            found = read_keys(given_)
        except RegistryError:
            continue
        assert all(key.algorithm for key in found.values())


def fetched(issuer: Issuer, client: HTTPClient) -> Reason:
    with pytest.raises(RegistryError) as refused:
        fetch_keys(client, issuer.url)
    return refused.value.reason


WELL_KNOWN = "/.well-known/openid-configuration"


def test_another_issuer_s_document_is_refused(issuer: Issuer, client: HTTPClient) -> None:
    other = {"issuer": issuer.url + "/", "jwks_uri": f"{issuer.url}/keys"}
    issuer.documents[WELL_KNOWN] = json.dumps(other).encode()
    assert fetched(issuer, client) is Reason.MALFORMED_KEY_SET


def test_keys_that_would_come_without_tls_are_not_asked_for(
    issuer: Issuer, client: HTTPClient
) -> None:
    told = {"issuer": issuer.url, "jwks_uri": "http://accounts.example/keys"}
    issuer.documents[WELL_KNOWN] = json.dumps(told).encode()
    assert fetched(issuer, client) is Reason.BAD_SETTING


@pytest.mark.parametrize("jwks_uri", [None, 1, []])
def test_a_document_that_does_not_say_where_the_keys_are_is_refused(
    issuer: Issuer, client: HTTPClient, jwks_uri: Any
) -> None:
    told = {"issuer": issuer.url, "jwks_uri": jwks_uri}
    issuer.documents[WELL_KNOWN] = json.dumps(told).encode()
    assert fetched(issuer, client) is Reason.MALFORMED_KEY_SET


def test_an_issuer_that_answers_too_much_is_refused(issuer: Issuer, client: HTTPClient) -> None:
    issuer.documents["/keys"] = b" " * (MAX_DOCUMENT_BYTES + 1)
    assert fetched(issuer, client) is Reason.ANSWER_TOO_LARGE


def test_an_issuer_that_has_no_document_is_refused(issuer: Issuer, client: HTTPClient) -> None:
    issuer.down = True
    assert fetched(issuer, client) is Reason.REMOTE_STATUS


def test_a_key_file_is_read_as_an_answer_is(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(keys(jwk(EC, "k")))
    assert load_keys(file).keys() == {"k"}
    file.write_bytes(b" " * (MAX_DOCUMENT_BYTES + 1))
    with pytest.raises(RegistryError) as refused:
        load_keys(file)
    assert refused.value.reason is Reason.MALFORMED_KEY_SET
    with pytest.raises(RegistryError) as refused:
        load_keys(tmp_path / "nowhere")
    assert refused.value.reason is Reason.BAD_SETTING
