"""An authority of our own: what it grants, what it rejects, and who believes it."""

import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which

import pytest
import rfc3161_client
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from registry.config import DEFAULT_TSA_POLICY
from registry.core import der
from registry.core.archive import authority as pinning
from registry.core.archive import cms, tsp
from registry.core.archive.timestamp import Timestamp, open_response
from registry.core.archive.tsp import Failure, Request
from registry.errors import MalformedError, Reason
from registry.signing.timestamping import (
    LEAF_LIFE,
    MAX_NAME_CHARACTERS,
    TimestampSigner,
    issue_chain,
)

NOON = datetime(2026, 6, 1, 12, 0, 0, 654321, tzinfo=UTC)
WHOLE = NOON.replace(microsecond=0)
OPENSSL = which("openssl") or ""
MESSAGE = b"what was signed"
DIGEST = hashlib.sha256(MESSAGE).digest()
SIGNER = TimestampSigner.generate("log.example", DEFAULT_TSA_POLICY, NOON)


def granted(request: Request, at: datetime = NOON, signer: TimestampSigner = SIGNER) -> Timestamp:
    response, yes = signer.answer(request.to_bytes(), at)
    assert yes
    return open_response(response, MESSAGE, signer.authority, nonce=request.nonce)


def rejected(request: bytes, at: datetime = NOON, signer: TimestampSigner = SIGNER) -> Failure:
    response, yes = signer.answer(request, at)
    assert not yes
    read = der.read(tsp.TimeStampResp, response, what="response")
    assert read.token is None
    assert read.status.status == tsp.Status.REJECTION
    assert read.status.fail_info is not None
    bits = read.status.fail_info
    set_bits = [
        8 * place + bit
        for place, byte in enumerate(bits.as_bytes())
        for bit in range(8)
        if byte & 0x80 >> bit
    ]
    # X.690 §11.2.2: a named bit list ends with its last bit.
    assert [Failure(number) for number in set_bits] == [
        Failure(8 * len(bits.as_bytes()) - 1 - bits.padding_bits())
    ]
    return Failure(set_bits[0])


def test_a_stamp_says_whole_seconds_by_its_policy_to_a_second() -> None:
    found = granted(Request("sha256", DIGEST, nonce=5))
    assert found.at == WHOLE
    assert found.accuracy == timedelta(seconds=1)
    assert found.policy == DEFAULT_TSA_POLICY
    assert found.nonce == 5
    assert found.authority == "CN=log.example timestamp authority,O=log.example"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_every_accepted_digest_is_stamped(algorithm: tsp.HashName) -> None:
    found = granted(Request(algorithm, hashlib.new(algorithm, MESSAGE).digest()))
    assert found.algorithm == algorithm


@pytest.mark.parametrize("asked", [False, True])
def test_the_certificate_comes_along_if_it_is_asked_for(asked: bool) -> None:
    response, _ = SIGNER.answer(Request("sha256", DIGEST, with_certificate=asked).to_bytes(), NOON)
    token = der.read(tsp.TimeStampResp, response, what="response").token
    assert token is not None
    embedded = [der.element(each) for each in token.content.certificates or ()]
    assert embedded == ([SIGNER.authority.chain[0]] if asked else [])
    open_response(response, MESSAGE, SIGNER.authority)


def test_a_token_without_certificate_is_small_enough_for_a_capsule() -> None:
    response, _ = SIGNER.answer(Request("sha256", DIGEST).to_bytes(), NOON)
    assert len(response) < 700


def test_the_imprint_is_repeated_as_it_was_written() -> None:
    request = Request("sha256", DIGEST, null_parameters=True)
    response, _ = SIGNER.answer(request.to_bytes(), NOON)
    token = der.read(tsp.TimeStampResp, response, what="response").token
    assert token is not None
    info = der.read(tsp.TSTInfo, token.content.content.content, what="info")
    assert der.write(info.message_imprint) == der.write(request.message_imprint())


def test_the_policy_may_be_asked_for() -> None:
    assert granted(Request("sha256", DIGEST, policy=DEFAULT_TSA_POLICY)).at == WHOLE


def test_no_two_tokens_have_a_number_in_common_even_after_a_restart() -> None:
    restarted = TimestampSigner(SIGNER._key, SIGNER.authority, DEFAULT_TSA_POLICY)

    def stamp(signer: TimestampSigner) -> int:
        return granted(Request("sha256", DIGEST), signer=signer).serial

    with ThreadPoolExecutor(4) as threads:
        serials = list(threads.map(stamp, [SIGNER, restarted] * 100))
    assert len(set(serials)) == len(serials)


# Rejections.

SHA1 = cms.AlgorithmIdentifier(algorithm=x509.ObjectIdentifier("1.3.14.3.2.26"))


def test_an_unknown_digest_is_rejected() -> None:
    request = tsp.TimeStampReq(
        version=1,
        message_imprint=tsp.MessageImprint(hash_algorithm=SHA1, hashed_message=bytes(20)),
    )
    assert rejected(der.write(request)) is Failure.BAD_ALG


def test_another_policy_is_rejected() -> None:
    request = Request("sha256", DIGEST, policy="1.2.3.4.1")
    assert rejected(request.to_bytes()) is Failure.UNACCEPTED_POLICY


def test_an_extension_is_rejected() -> None:
    request = tsp.TimeStampReq(
        version=1,
        message_imprint=Request("sha256", DIGEST).message_imprint(),
        extensions=[
            tsp.Extension(id=x509.ObjectIdentifier("1.2.3"), critical=False, value=b"\x05\x00")
        ],
    )
    assert rejected(der.write(request)) is Failure.UNACCEPTED_EXTENSION


@given(st.binary(max_size=200))
def test_what_is_no_request_is_rejected(data: bytes) -> None:
    assert rejected(data) is Failure.BAD_DATA_FORMAT


@pytest.mark.parametrize(
    "data",
    [Request("sha256", DIGEST).to_bytes() + b"\0", bytes(tsp.MAX_REQUEST_BYTES + 1)],
    ids=["something behind it", "too long"],
)
def test_a_request_in_another_spelling_is_rejected(data: bytes) -> None:
    assert rejected(data) is Failure.BAD_DATA_FORMAT


@pytest.mark.parametrize(
    ("at", "fine"),
    [
        (WHOLE - timedelta(seconds=1), False),
        (WHOLE, True),
        (WHOLE + LEAF_LIFE, True),
        (WHOLE + LEAF_LIFE + timedelta(seconds=1), False),
    ],
)
def test_a_time_outside_the_certificates_life_is_not_stamped(at: datetime, fine: bool) -> None:
    signer = TimestampSigner(SIGNER._key, SIGNER.authority, DEFAULT_TSA_POLICY)
    if fine:
        assert granted(Request("sha256", DIGEST), at, signer).at == at
    else:
        request = Request("sha256", DIGEST).to_bytes()
        assert rejected(request, at, signer) is Failure.TIME_NOT_AVAILABLE


def test_a_clock_that_goes_back_is_not_stamped() -> None:
    signer = TimestampSigner.generate("log.example", DEFAULT_TSA_POLICY, NOON)
    request = Request("sha256", DIGEST)
    later = WHOLE + timedelta(minutes=1)
    assert granted(request, later, signer).at == later
    # Within the accuracy nobody is wronged; the stamps stay in order.
    assert granted(request, later - timedelta(seconds=1), signer).at == later
    back = later - timedelta(seconds=2)
    assert rejected(request.to_bytes(), back, signer) is Failure.TIME_NOT_AVAILABLE
    assert granted(request, later, signer).at == later


# Keys and certificates.


def test_the_certificates_are_those_that_stock_clients_want() -> None:
    leaf, root = pinning.certificates(SIGNER.authority.chain)
    spki = x509.SubjectKeyIdentifier.from_public_key
    assert [(each.oid, each.critical) for each in leaf.extensions] == [
        (x509.BasicConstraints.oid, True),
        (x509.KeyUsage.oid, True),
        (x509.ExtendedKeyUsage.oid, True),
        (x509.SubjectKeyIdentifier.oid, False),
        (x509.AuthorityKeyIdentifier.oid, False),
    ]
    value = leaf.extensions.get_extension_for_class
    assert value(x509.BasicConstraints).value == x509.BasicConstraints(False, None)
    assert value(x509.KeyUsage).value.digital_signature
    assert list(value(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.TIME_STAMPING]
    assert value(x509.AuthorityKeyIdentifier).value.key_identifier == (
        spki(root.public_key()).digest
    )
    for certificate in (leaf, root):
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        assert certificate.version is x509.Version.v3


def test_a_long_name_still_fits_its_certificates() -> None:
    signer = TimestampSigner.generate("l" * 200 + ".example", DEFAULT_TSA_POLICY, NOON)
    for certificate in pinning.certificates(signer.authority.chain):
        assert all(len(str(each.value)) <= MAX_NAME_CHARACTERS for each in certificate.subject)


def test_a_certificate_for_another_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(MalformedError) as caught:
        TimestampSigner(other, SIGNER.authority, DEFAULT_TSA_POLICY)
    assert caught.value.reason is Reason.TIMESTAMP_AUTHORITY


def test_a_policy_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(MalformedError) as caught:
        TimestampSigner.generate("log.example", "ours", NOON)
    assert caught.value.reason is Reason.BAD_SETTING


def test_a_new_chain_for_the_same_keys_is_another_authority() -> None:
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chains = {issue_chain("log.example", root, key, NOON).chain_digest for _ in range(2)}
    assert len(chains) == 2


# Who believes it.


def test_the_stock_library_asks_and_believes() -> None:
    request = (
        rfc3161_client.TimestampRequestBuilder()
        .data(MESSAGE)
        .hash_algorithm(rfc3161_client.HashAlgorithm.SHA256)
        .build()
    )
    response, _ = SIGNER.answer(request.as_bytes(), NOON)
    leaf, root = pinning.certificates(SIGNER.authority.chain)
    for certificate in (leaf, None):
        verifier = rfc3161_client.VerifierBuilder(
            tsa_certificate=certificate,
            roots=[root],
            nonce=request.nonce,
            policy_id=x509.ObjectIdentifier(DEFAULT_TSA_POLICY),
        ).build()
        read = rfc3161_client.decode_timestamp_response(response)
        assert verifier.verify_message(read, MESSAGE)


@pytest.mark.skipif(not OPENSSL, reason="the openssl command is not here")
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_openssl_asks_and_believes(digest: str, tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(MESSAGE)
    (tmp_path / "chain.pem").write_bytes(SIGNER.authority.pem)
    openssl(tmp_path, "-query", "-data", "message", f"-{digest}", "-cert", "-out", "query")
    response, yes = SIGNER.answer((tmp_path / "query").read_bytes(), NOON)
    assert yes
    (tmp_path / "response").write_bytes(response)
    verify = ["-verify", "-queryfile", "query", "-in", "response", "-CAfile", "chain.pem"]
    assert "Verification: OK" in openssl(tmp_path, *verify, "-attime", f"{WHOLE.timestamp():.0f}")
    said = openssl(tmp_path, "-reply", "-in", "response", "-text")
    assert "Status: Granted." in said
    assert "Accuracy: 0x01 seconds" in said


def openssl(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [OPENSSL, "ts", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
