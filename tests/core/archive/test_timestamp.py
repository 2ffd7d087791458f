"""RFC 3161 tokens: every defect is refused, by us and by what others wrote to verify them."""

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import rfc3161_client
from cryptography import x509
from cryptography.hazmat import asn1
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core import der
from registry.core.archive import cms, timestamp, tsp
from registry.core.archive.authority import Authority as Pinned
from registry.core.archive.timestamp import Timestamp, open_digest, open_response, open_token
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    VerificationError,
)
from tests.authorities import (
    END,
    NOON,
    OTHER_POLICY,
    POLICY,
    START,
    Authority,
    granted,
    identifier,
    key,
    leaf,
    root,
    tlv,
)

VECTORS = os.environ.get("PROVREG_TEST_VECTORS")
"""Where the public vectors are, if they are here."""

OPENSSL = which("openssl") or ""
MESSAGE = b"what was signed"
OURS = Authority()
RSA = Authority(recipes=(leaf(kind="RSA"), root(kind="RSA")))
P384 = Authority(recipes=(leaf(kind="P-384"), root(kind="P-384")))
LONG = Authority(recipes=(leaf(), root("middle", 3), root()))
SIBLING = Authority(recipes=(leaf(number=4), root()))
"""Another authority under the same root, with the same name."""
SECOND = timedelta(seconds=1)


def opened(token: bytes, authority: Pinned | None = None, **asked: Any) -> Timestamp:
    return open_token(token, MESSAGE, authority or OURS.pinned(), **asked)


def refusal(token: bytes, authority: Pinned | None = None, **asked: Any) -> Reason:
    with pytest.raises((MalformedError, VerificationError)) as caught:
        opened(token, authority, **asked)
    return caught.value.reason


# What is believed.


@pytest.mark.parametrize(
    "authority", [OURS, RSA, P384, LONG], ids=["P-256", "RSA", "P-384", "three"]
)
@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_token_is_believed_with_every_accepted_digest(
    authority: Authority, algorithm: str
) -> None:
    found = opened(authority.token(MESSAGE, algorithm=algorithm), authority.pinned())
    assert (found.algorithm, found.imprint) == (
        algorithm,
        hashlib.new(algorithm, MESSAGE).digest(),
    )


def test_a_token_says_who_stamped_when_under_which_policy() -> None:
    accuracy = tsp.Accuracy(seconds=1, millis=500, micros=None)
    found = opened(OURS.token(MESSAGE, serial=2**159, nonce=9, accuracy=accuracy))
    assert found == Timestamp(
        at=NOON,
        accuracy=timedelta(seconds=1, milliseconds=500),
        authority="CN=authority,O=tests",
        policy=POLICY,
        serial=2**159,
        algorithm="sha256",
        imprint=hashlib.sha256(MESSAGE).digest(),
        nonce=9,
    )


def test_a_number_below_zero_is_only_a_number() -> None:
    assert opened(OURS.token(MESSAGE, serial=-0xDEADBEEF)).serial == -0xDEADBEEF


def test_fractions_of_a_second_are_kept() -> None:
    at = NOON + timedelta(milliseconds=250)
    assert opened(OURS.token(MESSAGE, at=at)).at == at


@pytest.mark.parametrize("embedded", [0, 1, 2])
def test_certificates_may_come_along_in_any_order(embedded: int) -> None:
    certificates = OURS.certificates[:embedded]
    opened(OURS.token(MESSAGE, embed=certificates))
    opened(OURS.token(MESSAGE, embed=certificates[::-1]))


def test_a_digest_does_where_the_message_is_gone() -> None:
    digest = hashlib.sha384(MESSAGE).digest()
    found = open_digest(OURS.token(MESSAGE, algorithm="sha384"), digest, OURS.pinned())
    assert found.imprint == digest
    with pytest.raises(VerificationError):
        open_digest(OURS.token(MESSAGE), digest, OURS.pinned())


def test_a_policy_and_a_nonce_that_were_asked_for_are_believed() -> None:
    token = OURS.token(MESSAGE, policy=OTHER_POLICY, nonce=3)
    assert opened(token, policy=OTHER_POLICY, nonce=3).nonce == 3


def test_the_hint_at_the_authority_and_a_full_certificate_binding_are_believed() -> None:
    certificate = OURS.certificates[0]
    issuer = tlv(directory(certificate.issuer))
    serial = cms.IssuerSerial(issuer=[issuer], serial_number=certificate.serial_number)
    token = OURS.token(
        MESSAGE,
        info={"tsa": [tlv(directory(certificate.subject))]},
        bound={"issuer_serial": serial},
    )
    assert opened(token).at == NOON


def directory(name: x509.Name) -> bytes:
    inner = name.public_bytes()
    assert len(inner) < 0x80
    return bytes([0xA4, len(inner)]) + inner


# What is refused: one defect at a time, everything else as it should be.

OTHER = Authority(recipes=(leaf("stranger", 7), root("stranger's root", 8)))
NO_EXTENSION = tsp.Extension(id=x509.ObjectIdentifier("1.2.3"), critical=True, value=b"\x05\x00")
TWICE = asn1.SetOf([tlv(b"\x05\x00"), tlv(b"\x02\x01\x01")])


def accuracy(**parts: int) -> dict[str, tsp.Accuracy]:
    return {"accuracy": tsp.Accuracy(**parts)}


def without_attribute(oid: x509.ObjectIdentifier) -> bytes:
    return OURS.token(MESSAGE, attributes={oid: None})


DEFECTS: list[tuple[str, Callable[[], bytes], Reason]] = [
    ("other bytes", lambda: OURS.token(b"other"), Reason.TIMESTAMP_IMPRINT),
    ("untrusted", lambda: OTHER.token(MESSAGE), Reason.TIMESTAMP_SIGNER),
    (
        "untrusted, with its certificate",
        lambda: OTHER.token(MESSAGE, embed=OTHER.certificates),
        Reason.TIMESTAMP_SIGNER,
    ),
    ("a sibling under the same root", lambda: SIBLING.token(MESSAGE), Reason.TIMESTAMP_SIGNER),
    (
        "another certificate comes along",
        lambda: OURS.token(MESSAGE, embed=SIBLING.certificates),
        Reason.TIMESTAMP_SIGNER,
    ),
    ("another key signed", lambda: OURS.token(MESSAGE, key=key(99)), Reason.TIMESTAMP_SIGNATURE),
    (
        "another certificate is bound",
        lambda: OURS.token(MESSAGE, bind=SIBLING.certificates[0]),
        Reason.TIMESTAMP_SIGNER,
    ),
    (
        "another serial is bound",
        lambda: OURS.token(
            MESSAGE,
            bound={
                "issuer_serial": cms.IssuerSerial(
                    issuer=[tlv(directory(OURS.certificates[0].issuer))], serial_number=1
                )
            },
        ),
        Reason.TIMESTAMP_SIGNER,
    ),
    (
        "the certificate is bound by SHA-1",
        lambda: OURS.token(MESSAGE, bound={"hash_algorithm": identifier("sha1")}),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "the hint names somebody else",
        lambda: OURS.token(MESSAGE, info={"tsa": [tlv(directory(OURS.certificates[1].subject))]}),
        Reason.TIMESTAMP_SIGNER,
    ),
    (
        "the hint is no directory name",
        lambda: OURS.token(MESSAGE, info={"tsa": [tlv(b"\x82\x01a")]}),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "the hint is empty",
        lambda: OURS.token(MESSAGE, info={"tsa": []}),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "before the authority",
        lambda: OURS.token(MESSAGE, at=START - SECOND),
        Reason.TIMESTAMP_VALIDITY,
    ),
    (
        "after the authority",
        lambda: OURS.token(MESSAGE, at=END + SECOND),
        Reason.TIMESTAMP_VALIDITY,
    ),
    (
        "the signature is over another timestamp",
        lambda: OURS.token(
            MESSAGE, attributes={cms.MESSAGE_DIGEST: der.write(hashlib.sha256(b"x").digest())}
        ),
        Reason.TIMESTAMP_SIGNATURE,
    ),
    (
        "the signature is over another type",
        lambda: OURS.token(MESSAGE, attributes={cms.CONTENT_TYPE: der.write(cms.SIGNED_DATA)}),
        Reason.MALFORMED_TIMESTAMP,
    ),
    ("no content type", lambda: without_attribute(cms.CONTENT_TYPE), Reason.MALFORMED_TIMESTAMP),
    ("no digest", lambda: without_attribute(cms.MESSAGE_DIGEST), Reason.MALFORMED_TIMESTAMP),
    (
        "no certificate binding",
        lambda: without_attribute(cms.SIGNING_CERTIFICATE_V2),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "an empty certificate binding",
        lambda: OURS.token(
            MESSAGE,
            attributes={cms.SIGNING_CERTIFICATE_V2: der.write(cms.SigningCertificateV2(certs=[]))},
        ),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "a binding that is none",
        lambda: OURS.token(MESSAGE, attributes={cms.SIGNING_CERTIFICATE_V2: b"\x05\x00"}),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "an attribute with two values",
        lambda: OURS.token(
            MESSAGE,
            signer={
                "signed_attributes": asn1.SetOf(
                    [cms.Attribute(type=cms.SIGNING_TIME, values=TWICE)]
                )
            },
        ),
        Reason.MALFORMED_TIMESTAMP,
    ),
    ("SHA-1", lambda: OURS.token(MESSAGE, algorithm="sha1"), Reason.MALFORMED_TIMESTAMP),
    (
        "an imprint of the wrong length",
        lambda: OURS.token(MESSAGE, imprint=b"short"),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "a signature algorithm with another digest",
        lambda: OURS.token(
            MESSAGE,
            signer={
                "signature_algorithm": cms.AlgorithmIdentifier(
                    algorithm=x509.ObjectIdentifier("1.2.840.10045.4.3.4")
                )
            },
        ),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "a signature algorithm of another key",
        lambda: OURS.token(
            MESSAGE,
            signer={
                "signature_algorithm": cms.AlgorithmIdentifier(
                    algorithm=x509.ObjectIdentifier("1.2.840.113549.1.1.11")
                )
            },
        ),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "a digest algorithm that is not announced",
        lambda: OURS.token(
            MESSAGE, signed={"digest_algorithms": asn1.SetOf([identifier("sha512")])}
        ),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "no signature",
        lambda: OURS.token(MESSAGE, signed={"signers": asn1.SetOf([])}),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "a version of the data",
        lambda: OURS.token(MESSAGE, signed={"version": 1}),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "a version of the signer",
        lambda: OURS.token(MESSAGE, signer={"version": 3}),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "a version of the stamp",
        lambda: OURS.token(MESSAGE, info={"version": 2}),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "another content",
        lambda: OURS.token(
            MESSAGE,
            signed={"content": cms.EncapsulatedContent(type=cms.SIGNED_DATA, content=b"\x30\x00")},
        ),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "a critical extension",
        lambda: OURS.token(MESSAGE, info={"extensions": [NO_EXTENSION]}),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "a huge negative serial",
        lambda: OURS.token(MESSAGE, serial=-(2**160)),
        Reason.MALFORMED_TIMESTAMP,
    ),
    ("a huge serial", lambda: OURS.token(MESSAGE, serial=2**160), Reason.MALFORMED_TIMESTAMP),
    ("a negative nonce", lambda: OURS.token(MESSAGE, nonce=-1), Reason.MALFORMED_TIMESTAMP),
    (
        "negative accuracy",
        lambda: OURS.token(MESSAGE, info=accuracy(seconds=-1)),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "no millisecond",
        lambda: OURS.token(MESSAGE, info=accuracy(millis=0)),
        Reason.MALFORMED_TIMESTAMP,
    ),
    (
        "a thousand microseconds",
        lambda: OURS.token(MESSAGE, info=accuracy(micros=1000)),
        Reason.MALFORMED_TIMESTAMP,
    ),
    ("nothing", lambda: b"", Reason.MALFORMED_TIMESTAMP),
    ("a response", lambda: granted(OURS.token(MESSAGE)), Reason.MALFORMED_TIMESTAMP),
    ("something behind it", lambda: OURS.token(MESSAGE) + b"\0", Reason.MALFORMED_TIMESTAMP),
]


@pytest.mark.parametrize(
    ("make", "reason"),
    [(make, reason) for _, make, reason in DEFECTS],
    ids=[name for name, _, _ in DEFECTS],
)
def test_a_token_with_a_defect_is_refused(make: Callable[[], bytes], reason: Reason) -> None:
    assert refusal(make()) is reason


def test_another_policy_or_nonce_than_was_asked_for_is_refused() -> None:
    token = OURS.token(MESSAGE, nonce=3)
    assert refusal(token, policy=OTHER_POLICY) is Reason.TIMESTAMP_POLICY
    assert refusal(token, nonce=4) is Reason.TIMESTAMP_NONCE
    assert refusal(OURS.token(MESSAGE), nonce=4) is Reason.TIMESTAMP_NONCE


def test_two_signatures_are_refused() -> None:
    one = der.read(cms.ContentInfo, OURS.token(MESSAGE), what="token").content.signers.as_list()
    two = der.read(cms.ContentInfo, OURS.token(MESSAGE), what="token").content.signers.as_list()
    assert refusal(OURS.token(MESSAGE, signed={"signers": asn1.SetOf(one + two)})) is (
        Reason.MALFORMED_TIMESTAMP
    )


def test_more_bytes_than_a_token_may_have_are_not_read() -> None:
    with pytest.raises(LimitExceededError) as caught:
        opened(bytes(timestamp.MAX_TOKEN_BYTES + 1))
    assert caught.value.reason is Reason.TIMESTAMP_TOO_LARGE
    with pytest.raises(LimitExceededError):
        open_response(bytes(tsp.MAX_RESPONSE_BYTES + 1), MESSAGE, OURS.pinned())


# Responses.


def test_the_token_of_a_response_is_believed() -> None:
    assert open_response(granted(OURS.token(MESSAGE)), MESSAGE, OURS.pinned()).at == NOON


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5, 6, -1])
def test_a_response_that_does_not_grant_exactly_what_was_asked_is_refused(status: int) -> None:
    shell = der.read(cms.ContentInfo, OURS.token(MESSAGE), what="token")
    response = tsp.TimeStampResp(
        status=tsp.PKIStatusInfo(
            status=status, status_string=["no"], fail_info=asn1.BitString(b"\x80", 7)
        ),
        token=shell,
    )
    with pytest.raises(VerificationError) as caught:
        open_response(der.write(response), MESSAGE, OURS.pinned())
    assert caught.value.reason is Reason.TIMESTAMP_REJECTED
    assert "BAD_ALG: no" in caught.value.actual


@pytest.mark.parametrize(
    "response",
    [
        b"",
        der.write(tsp.TimeStampResp(status=tsp.PKIStatusInfo(status=0))),
        granted(OURS.token(MESSAGE)) + b"\0",
    ],
    ids=["nothing", "granted without a token", "something behind it"],
)
def test_a_malformed_response_is_refused(response: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        open_response(response, MESSAGE, OURS.pinned())
    assert caught.value.reason is Reason.MALFORMED_TIMESTAMP


# Boundaries.


@given(st.integers(min_value=-3, max_value=3), st.sampled_from([START, END]))
def test_a_certificates_life_includes_both_its_ends(seconds: int, edge: datetime) -> None:
    at = edge + timedelta(seconds=seconds)
    token = OURS.token(MESSAGE, at=at)
    if START <= at <= END:
        assert opened(token).at == at
    else:
        assert refusal(token) is Reason.TIMESTAMP_VALIDITY


@given(
    st.integers(min_value=-2_000_000, max_value=2_000_000),
    st.integers(min_value=-2_000_000, max_value=2_000_000),
)
def test_a_window_includes_both_its_ends(start: int, end: int) -> None:
    opens, closes = NOON + timedelta(microseconds=start), NOON + timedelta(microseconds=end)
    token, pinned = OURS.token(MESSAGE), OURS.pinned(opens, closes)
    if start <= 0 <= end:
        assert opened(token, pinned).at == NOON
    else:
        assert refusal(token, pinned) is Reason.TIMESTAMP_VALIDITY


def test_an_open_window_has_no_end() -> None:
    opened(OURS.token(MESSAGE), OURS.pinned(start=NOON))
    opened(OURS.token(MESSAGE), OURS.pinned(end=NOON))


# Mutations: never another error than ours, and never a changed token that is believed.

TOKEN = OURS.token(MESSAGE, nonce=5, embed=OURS.certificates[:1])
RESPONSE = granted(TOKEN)


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(draw(st.integers(min_value=1, max_value=3))):
        position = draw(st.integers(min_value=0, max_value=len(data) - 1))
        kind = draw(st.sampled_from(["set", "flip", "cut", "insert", "double"]))
        if kind == "set":
            data[position] = draw(st.integers(min_value=0, max_value=255))
        elif kind == "flip":
            data[position] ^= 1 << draw(st.integers(min_value=0, max_value=7))
        elif kind == "cut":
            del data[position : position + draw(st.integers(min_value=1, max_value=9))]
        elif kind == "insert":
            data[position:position] = draw(st.binary(min_size=1, max_size=4))
        else:
            data[position:position] = data[position : position + 16]
        if not data:
            break
    return bytes(data)


@settings(max_examples=500)
@given(mutated(TOKEN))
def test_a_changed_token_is_refused_with_one_of_our_errors(token: bytes) -> None:
    if token == TOKEN:
        return
    with pytest.raises(RegistryError):
        opened(token)


@settings(max_examples=300)
@given(mutated(RESPONSE))
def test_a_changed_response_is_refused_with_one_of_our_errors(response: bytes) -> None:
    try:
        found = open_response(response, MESSAGE, OURS.pinned())
    except RegistryError:
        return
    # Words beside a granted status are signed by nobody.
    assert found == open_response(RESPONSE, MESSAGE, OURS.pinned())


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_with_one_of_our_errors(data: bytes) -> None:
    for read in (opened, tsp.granted_token, tsp.Request.parse):
        with pytest.raises(RegistryError):
            read(data)


# Requests.


@given(
    st.sampled_from(["sha256", "sha384", "sha512"]),
    st.one_of(st.none(), st.integers(min_value=0, max_value=2**160 - 1)),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", POLICY, OTHER_POLICY]),
)
def test_a_request_is_read_as_it_was_written(
    algorithm: Any, nonce: int | None, with_certificate: bool, null: bool, policy: str
) -> None:
    request = tsp.Request(
        algorithm=algorithm,
        imprint=bytes(tsp.HASH_BYTES[algorithm]),
        policy=policy,
        nonce=nonce,
        with_certificate=with_certificate,
        null_parameters=null,
    )
    assert tsp.Request.parse(request.to_bytes()) == request


@pytest.mark.parametrize(
    "request_",
    [
        tsp.TimeStampReq(
            version=2,
            message_imprint=tsp.MessageImprint(
                hash_algorithm=identifier("sha256"), hashed_message=bytes(32)
            ),
        ),
        tsp.TimeStampReq(
            version=1,
            message_imprint=tsp.MessageImprint(
                hash_algorithm=identifier("sha256"), hashed_message=bytes(31)
            ),
        ),
        tsp.TimeStampReq(
            version=1,
            message_imprint=tsp.MessageImprint(
                hash_algorithm=identifier("sha256"), hashed_message=bytes(32)
            ),
            nonce=2**160,
        ),
    ],
    ids=["another version", "a short imprint", "a huge nonce"],
)
def test_a_malformed_request_is_refused(request_: tsp.TimeStampReq) -> None:
    with pytest.raises(MalformedError) as caught:
        tsp.Request.parse(der.write(request_))
    assert caught.value.reason is Reason.MALFORMED_TIMESTAMP


def test_more_bytes_than_a_request_may_have_are_not_read() -> None:
    with pytest.raises(LimitExceededError):
        tsp.Request.parse(bytes(tsp.MAX_REQUEST_BYTES + 1))


def test_a_request_with_an_unknown_digest_is_read_for_the_answer_to_say_so() -> None:
    request = tsp.TimeStampReq(
        version=1,
        message_imprint=tsp.MessageImprint(
            hash_algorithm=identifier("sha1"), hashed_message=bytes(20)
        ),
        extensions=[NO_EXTENSION],
    )
    read = tsp.Request.parse(der.write(request))
    assert (read.algorithm, read.extensions) == ("", ("1.2.3",))


# What others wrote.


def believed_by_library(token: bytes, authority: Authority) -> bool:
    certificates = authority.certificates
    verifier = rfc3161_client.VerifierBuilder(
        tsa_certificate=certificates[0],
        intermediates=list(certificates[1:-1]),
        roots=[certificates[-1]],
    ).build()
    try:
        return verifier.verify_message(
            rfc3161_client.decode_timestamp_response(granted(token)), MESSAGE
        )
    except (ValueError, rfc3161_client.VerificationError):
        return False


@pytest.mark.parametrize(
    "authority", [OURS, RSA, P384, LONG], ids=["P-256", "RSA", "P-384", "three"]
)
@pytest.mark.parametrize("embedded", [False, True])
def test_what_we_believe_the_library_believes_too(authority: Authority, embedded: bool) -> None:
    token = authority.token(MESSAGE, embed=authority.certificates[:1] if embedded else ())
    assert believed_by_library(token, authority)
    opened(token, authority.pinned())


@pytest.mark.parametrize(
    ("make", "ours"),
    [
        (lambda: OURS.token(MESSAGE, at=END), None),
        (lambda: OURS.token(MESSAGE, embed=OURS.certificates), None),
        (lambda: OURS.token(MESSAGE, embed=OURS.certificates[::-1]), None),
        (lambda: OURS.token(MESSAGE, bind=SIBLING.certificates[0]), Reason.TIMESTAMP_SIGNER),
        (lambda: without_attribute(cms.SIGNING_CERTIFICATE_V2), Reason.MALFORMED_TIMESTAMP),
        (
            lambda: OURS.token(MESSAGE, info={"extensions": [NO_EXTENSION]}),
            Reason.MALFORMED_TIMESTAMP,
        ),
    ],
    ids=["last second", "certificates", "in another order", "binding", "none", "extension"],
)
def test_we_judge_by_the_rfcs_where_the_library_may_not(
    make: Callable[[], bytes], ours: Reason | None
) -> None:
    # Why we verify by ourselves. What the library says of these is noted in the docstring of
    # registry.core.archive.timestamp; of the two orders of certificates it takes one.
    token = make()
    if ours is None:
        assert opened(token).at in (NOON, END)
    else:
        assert believed_by_library(token, OURS)
        assert refusal(token) is ours


def test_the_library_takes_only_one_order_of_certificates_and_no_last_second() -> None:
    orders = (OURS.certificates, OURS.certificates[::-1])
    believed = [believed_by_library(OURS.token(MESSAGE, embed=each), OURS) for each in orders]
    assert sorted(believed) == [False, True]
    assert not believed_by_library(OURS.token(MESSAGE, at=END), OURS)


@pytest.mark.skipif(not OPENSSL, reason="the openssl command is not here")
@pytest.mark.parametrize("authority", [OURS, RSA, LONG], ids=["P-256", "RSA", "three"])
def test_openssl_agrees(authority: Authority, tmp_path: Path) -> None:
    pem = authority.pinned(START, END).pem
    (tmp_path / "chain.pem").write_bytes(pem)
    (tmp_path / "message").write_bytes(MESSAGE)
    good = authority.token(MESSAGE, embed=authority.certificates[:1])
    bad = authority.token(b"other", embed=authority.certificates[:1])
    assert openssl_verifies(good, tmp_path)
    assert not openssl_verifies(bad, tmp_path)


def openssl_verifies(token: bytes, folder: Path) -> bool:
    (folder / "response").write_bytes(granted(token))
    command = [OPENSSL, "ts", "-verify", "-data", "message", "-in", "response"]
    command += ["-CAfile", "chain.pem", "-untrusted", "chain.pem"]
    command += ["-attime", str(int(NOON.timestamp()))]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=30, check=False)
    return done.returncode == 0


# Public vectors: real tokens of Sigstore's authorities.


@pytest.mark.skipif(
    VECTORS is None, reason="PROVREG_TEST_VECTORS does not say where the vectors are"
)
@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("rekor2-timestamp-with-embedded-cert", None),
        ("rekor2-timestamp-without-embedded-cert", None),
        ("rekor2-timestamp-with-expired-cert-chain", None),
        (
            "rekor2-timestamp-outside-trust-root-tsa-validity_fail",
            Reason.TIMESTAMP_VALIDITY,
        ),
        ("rekor2-timestamp-payload-mismatch_fail", Reason.TIMESTAMP_IMPRINT),
        ("rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail", Reason.TIMESTAMP_SIGNER),
    ],
)
def test_a_public_token_is_judged_as_it_should_be(case: str, reason: Reason | None) -> None:
    folder = Path(str(VECTORS)) / "sigstore-conformance" / case
    bundle = json.loads((folder / "bundle.sigstore.json").read_text())
    material = bundle["verificationMaterial"]["timestampVerificationData"]
    response = base64.b64decode(material["rfc3161Timestamps"][0]["signedTimestamp"])
    signature = base64.b64decode(bundle["messageSignature"]["signature"])
    pinned = public_authority(json.loads((folder / "trusted_root.json").read_text()))
    if reason is None:
        open_response(response, signature, pinned)
        return
    with pytest.raises(RegistryError) as caught:
        open_response(response, signature, pinned)
    assert caught.value.reason is reason


def public_authority(trusted: Any) -> Pinned:
    authority = trusted["timestampAuthorities"][0]
    chain = tuple(
        base64.b64decode(each["rawBytes"]) for each in authority["certChain"]["certificates"]
    )
    start, end = (authority["validFor"].get(edge) for edge in ("start", "end"))
    return Pinned(chain, moment(start), moment(end))


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
