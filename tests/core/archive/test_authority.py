"""Pinned authorities: which chains are taken, and which are not."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from registry.core.archive import authority as pinning
from registry.core.archive.authority import Authority as Pinned
from registry.errors import MalformedError, Reason
from tests.authorities import END, NOON, START, Authority, leaf, root

STAMPING = ExtendedKeyUsageOID.TIME_STAMPING
CODE = ExtendedKeyUsageOID.CODE_SIGNING
NAMES = x509.NameConstraints([x509.DNSName("example")], None)


def refused(chain: tuple[bytes, ...]) -> str:
    with pytest.raises(MalformedError) as caught:
        Pinned(chain)
    assert caught.value.reason is Reason.TIMESTAMP_AUTHORITY
    return caught.value.what


def middle(**parts: Any) -> Any:
    return root("middle", 3, **parts)


@pytest.mark.parametrize(
    "recipes",
    [
        (leaf(), root()),
        (leaf(kind="RSA"), root(kind="RSA")),
        (leaf(kind="P-384"), root(kind="P-384")),
        (leaf(), middle(path_length=0), root(path_length=1)),
        (leaf(), middle(purposes=(STAMPING,), purposes_critical=False), root()),
        (leaf(ca=None, signs=None), root(signs=None)),
    ],
    ids=["two", "RSA", "P-384", "three", "a middle with the purpose", "sparse extensions"],
)
def test_a_chain_for_timestamps_is_taken(recipes: tuple[Any, ...]) -> None:
    authority = Authority(recipes=recipes)
    assert authority.pinned().subject == "CN=authority,O=tests"


@pytest.mark.parametrize(
    ("recipes", "what"),
    [
        ((leaf(purposes=None), root()), "not one for timestamps"),
        ((leaf(purposes=(CODE,)), root()), "not one for timestamps"),
        ((leaf(purposes=(STAMPING, CODE)), root()), "not one for timestamps"),
        ((leaf(purposes_critical=False), root()), "not one for timestamps"),
        ((leaf(ca=True), root()), "is an authority over certificates"),
        ((leaf(signs=False), root()), "key may not sign"),
        ((leaf(extra=((NAMES, True),)), root()), "not understood"),
        ((leaf(), root(ca=False)), "no authority over certificates"),
        ((leaf(), root(ca=None)), "no authority over certificates"),
        ((leaf(), root(signs=False)), "may not sign certificates"),
        ((leaf(), middle(purposes=(CODE,)), root()), "not one for timestamps"),
        ((leaf(), middle(), root(path_length=0)), "longer than an issuer allows"),
        ((leaf(), middle(extra=((NAMES, True),)), root()), "not understood"),
    ],
)
def test_a_chain_with_a_defect_is_refused(recipes: tuple[Any, ...], what: str) -> None:
    assert what in refused(Authority(recipes=recipes).chain)


def test_a_lone_certificate_is_no_chain() -> None:
    assert "2 to 8" in refused(Authority(recipes=(leaf(),)).chain)
    assert "2 to 8" in refused(())


def test_too_many_certificates_are_no_chain() -> None:
    chain = Authority().chain
    assert "2 to 8" in refused((chain[0], *[chain[1]] * pinning.MAX_CHAIN))


def test_a_chain_with_its_root_first_is_refused() -> None:
    refused(Authority().chain[::-1])


def test_a_chain_without_its_root_is_refused() -> None:
    chain = Authority(recipes=(leaf(), middle(), root())).chain
    assert "issued by the next" in refused(chain[:2])


def test_a_root_that_only_has_the_issuers_name_is_refused() -> None:
    ours, theirs = Authority().chain, Authority(recipes=(leaf(), root(number=9))).chain
    assert "signature does not verify" in refused((ours[0], theirs[1]))


def test_bytes_that_are_no_certificate_are_refused() -> None:
    chain = Authority().chain
    refused((chain[0], b"\x30\x00"))
    refused((chain[0] + b"\0", chain[1]))
    assert "too large" in refused((chain[0], bytes(pinning.MAX_CERTIFICATE_BYTES + 1)))


def test_weak_keys_are_refused() -> None:
    assert "no accepted kind" in refused(Authority(recipes=(leaf(kind="secp256k1"), root())).chain)
    assert "no accepted kind" in refused(Authority(recipes=(leaf(), root(kind="RSA-1024"))).chain)


def test_a_chain_in_pem_is_read_and_written_back() -> None:
    pinned = Authority(recipes=(leaf(), middle(), root())).pinned()
    assert Pinned.parse_pem(pinned.pem) == pinned


@pytest.mark.parametrize("data", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\xff" * 10])
def test_pem_without_certificates_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        Pinned.parse_pem(data)
    assert caught.value.reason is Reason.TIMESTAMP_AUTHORITY


def test_an_endless_file_is_not_read_as_pem() -> None:
    with pytest.raises(MalformedError):
        Pinned.parse_pem(bytes(pinning.MAX_PEM_BYTES + 1))


def test_another_chain_has_another_digest() -> None:
    ours, theirs = Authority(), Authority(recipes=(leaf(number=5), root()))
    assert ours.pinned().chain_digest != theirs.pinned().chain_digest
    assert ours.pinned(START, END).chain_digest == ours.pinned().chain_digest


def test_one_certificate_of_the_chain_may_end_before_the_others() -> None:
    chain = Authority(recipes=(leaf(), root(end=NOON))).pinned()
    chain.check_validity(NOON)
    with pytest.raises(Exception, match="root"):
        chain.check_validity(NOON + timedelta(seconds=1))


def test_certificates_are_read_as_they_were_written() -> None:
    authority = Authority()
    read = pinning.certificates(authority.chain)
    assert tuple(each.public_bytes(Encoding.DER) for each in read) == authority.chain
