"""Certificates on request: what stock clients send, and each reason to refuse."""

import base64
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from registry.config import OIDCIssuer, ServerSettings
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.identity import Identity
from registry.core.certificates.chain import Authority, Window, issuing_authority
from registry.core.certificates.signing import SigningCertificate
from registry.core.digest import sha256
from registry.core.keys import PublicKey
from registry.core.records import certificate, predicate
from registry.errors import Reason, RegistryError
from registry.remote.http import Answer, HTTPClient
from registry.server.app import open_services
from registry.server.http.identity import MAX_REQUEST_BYTES, read_request
from registry.server.http.routing import Request
from registry.services.identity import (
    MAX_CSR_BYTES,
    MAX_PER_IDENTITY,
    MAX_PER_WINDOW,
    WINDOW,
    Rate,
    requested_key,
)
from registry.signing.file import StatementSigner
from tests.mint import dataset_statement
from tests.oidc import AUDIENCE, SUBJECT, Issuer, oidc_issuer, rsa_key
from tests.running import Caller
from tests.server.served import Served, served

PATH = "/api/v2/signingCert"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with oidc_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def registry(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A registry that issues certificates."""
    folder = tmp_path_factory.mktemp("registry") / "data"
    believed = (OIDCIssuer(issuer.url, AUDIENCE),)
    with served(folder, ca=True, oidc_issuers=believed, origin="log.example") as running:
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[HTTPClient]:
    with HTTPClient() as asking:
        yield asking


@pytest.fixture
def post(registry: Served, client: HTTPClient) -> Any:
    def send(token: str | None, body: Any) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return client.post(
            registry.url + PATH, data, content_type="application/json", headers=headers
        )

    return send


@pytest.fixture
def refused(post: Any, registry: Served) -> Any:
    """The reason and status of a refusal, after which nothing more is in the log."""

    def refuse(token: str | None, body: Any) -> tuple[str, int]:
        before = registry.stored()
        answer = post(token, body)
        assert registry.stored() == before
        return json.loads(answer.body)["reason"], answer.status

    return refuse


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def csr(key: Any = None, algorithm: Any = None) -> bytes:
    """What sigstore-python sends: an empty subject, and no authority."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key or new_key(), algorithm or hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def by_csr(key: Any = None) -> dict[str, Any]:
    return {"certificateSigningRequest": b64(csr(key))}


def by_possession(key: Any, challenge: str, token: str | None = None) -> dict[str, Any]:
    """What sigstore-go and sigstore-js send."""
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body: dict[str, Any] = {
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": pem.decode()},
            "proofOfPossession": b64(key.sign(challenge.encode(), ec.ECDSA(hashes.SHA256()))),
        }
    }
    if token is not None:
        body["credentials"] = {"oidcIdentityToken": token}
    return body


def chain(answer: Answer) -> list[bytes]:
    assert answer.status == 200, answer.body
    told = json.loads(answer.body)["signedCertificateEmbeddedSct"]["chain"]["certificates"]
    return [
        x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)
        for pem in told
    ]


def test_a_signing_request_with_a_bearer_token_is_answered_with_a_certificate(
    registry: Served, issuer: Issuer, post: Any
) -> None:
    key = new_key()
    leaf, root = chain(post(issuer.token(), by_csr(key)))
    read = SigningCertificate.parse(leaf)
    assert (read.identity, read.issuer) == (SUBJECT, issuer.url)
    assert read.key == PublicKey(key.public_key())
    pinned = x509.load_pem_x509_certificate(
        (registry.folder / "keys" / "ca-chain.pem").read_bytes()
    )
    assert pinned.public_bytes(serialization.Encoding.DER) == root
    window = Window(datetime(2020, 1, 1, tzinfo=UTC))
    issuing_authority(leaf, [Authority((root,), window)], datetime.now(UTC))


@pytest.mark.parametrize("in_body", [True, False])
def test_a_signature_over_the_subject_is_answered_with_a_certificate(
    issuer: Issuer, post: Any, in_body: bool
) -> None:
    token = issuer.token()
    body = by_possession(new_key(), SUBJECT, token if in_body else None)
    leaf, _ = chain(post(None if in_body else token, body))
    assert SigningCertificate.parse(leaf).identity == SUBJECT


@pytest.mark.parametrize("challenge", ["7f3a", "ada@acme.example"])
def test_a_client_may_sign_its_subject_or_its_address(
    issuer: Issuer, post: Any, challenge: str
) -> None:
    token = issuer.token(sub="7f3a", email="ada@acme.example", email_verified=True)
    leaf, _ = chain(post(token, by_possession(new_key(), challenge)))
    assert SigningCertificate.parse(leaf).identity == "ada@acme.example"


def test_a_publisher_gets_a_certificate_for_its_own_token(registry: Served, post: Any) -> None:
    leaf, _ = chain(post(registry.acme.token, by_csr()))
    read = SigningCertificate.parse(leaf)
    assert read.issuer == "https://log.example"
    assert read.identity == "https://log.example/principal/acme"


def test_every_certificate_is_in_the_log_before_anybody_has_it(
    registry: Served, issuer: Issuer, post: Any
) -> None:
    leaf, _ = chain(post(issuer.token(), by_csr()))
    index = registry.stored().entries - 1
    entry = registry.services.reading.entry(index)
    envelope = Envelope.parse(entry.envelope)
    said = predicate.parse(envelope.payload)
    assert said.predicate_type == certificate.PREDICATE_TYPE
    assert said.subject[0].digest.sha256 == sha256(leaf).hex()
    assert certificate.signing_certificate(said.predicate).der == leaf
    assert (said.predicate.authenticated_by, said.predicate.identity) == ("oidc", SUBJECT)


def test_the_authority_is_told_to_whom_asks(registry: Served, client: HTTPClient) -> None:
    answer = client.get(registry.url + "/api/v2/trustBundle").expect()
    (told,) = json.loads(answer.body)["chains"]
    assert told["certificates"] == [(registry.folder / "keys" / "ca-chain.pem").read_text()]


# --- Refusals. ---


def test_nobody_gets_a_certificate_without_a_token(refused: Any) -> None:
    assert refused(None, by_csr()) == (Reason.NO_TOKEN, 401)


def test_an_unknown_bearer_token_is_refused(refused: Any) -> None:
    assert refused("provreg_" + "x" * 43, by_csr()) == (Reason.UNKNOWN_TOKEN, 401)


def test_an_auditor_gets_no_certificate(registry: Served, refused: Any) -> None:
    assert refused(registry.auditor.token, by_csr()) == (Reason.ROLE, 403)


def test_an_expired_token_gets_no_certificate(issuer: Issuer, refused: Any) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    assert refused(issuer.token(at=past), by_csr()) == (Reason.TOKEN_EXPIRED, 401)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "sigstore"}, Reason.WRONG_AUDIENCE),
        ({"iss": "https://accounts.example"}, Reason.UNKNOWN_ISSUER),
        ({"kid": "other", "key": rsa_key()}, Reason.UNKNOWN_TOKEN_KEY),
        ({"email": "ada@acme.example"}, Reason.EMAIL_NOT_VERIFIED),
        ({"sub": "ada"}, Reason.UNUSABLE_IDENTITY),
        ({"key": rsa_key(1)}, Reason.TOKEN_SIGNATURE),
    ],
)
def test_a_token_that_does_not_hold_gets_no_certificate(
    issuer: Issuer, refused: Any, changes: dict[str, Any], reason: Reason
) -> None:
    assert refused(issuer.token(**changes), by_csr()) == (reason, 401)


def test_two_different_tokens_are_refused(issuer: Issuer, refused: Any) -> None:
    body = by_possession(new_key(), SUBJECT, issuer.token(sub="https://rival.example"))
    assert refused(issuer.token(), body) == (Reason.MALFORMED_IDENTITY_TOKEN, 401)


def test_another_key_s_signature_proves_nothing(issuer: Issuer, refused: Any) -> None:
    body = by_possession(new_key(), SUBJECT)
    body["publicKeyRequest"]["proofOfPossession"] = b64(
        new_key().sign(SUBJECT.encode(), ec.ECDSA(hashes.SHA256()))
    )
    assert refused(issuer.token(), body) == (Reason.PROOF_OF_POSSESSION, 400)


def test_a_signature_over_somebody_else_s_subject_proves_nothing(
    issuer: Issuer, refused: Any
) -> None:
    body = by_possession(new_key(), "https://ci.example/rival")
    assert refused(issuer.token(), body) == (Reason.PROOF_OF_POSSESSION, 400)


def test_a_signing_request_of_another_key_proves_nothing(issuer: Issuer, refused: Any) -> None:
    request = x509.load_pem_x509_csr(csr())
    stranger = new_key().sign(request.tbs_certrequest_bytes, ec.ECDSA(hashes.SHA256()))
    while len(stranger) != len(request.signature):
        stranger = new_key().sign(request.tbs_certrequest_bytes, ec.ECDSA(hashes.SHA256()))
    der = request.public_bytes(serialization.Encoding.DER)
    asked = {"certificateSigningRequest": b64(_csr_pem(der.replace(request.signature, stranger)))}
    assert refused(issuer.token(), asked) == (Reason.PROOF_OF_POSSESSION, 400)


def _csr_pem(der: bytes) -> bytes:
    text = b64(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    body = "\n".join(lines)
    return (
        f"-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n"
    ).encode()


@pytest.mark.parametrize(
    "key", [rsa_key(), ec.generate_private_key(ec.SECP384R1())], ids=["RSA", "P-384"]
)
def test_keys_of_another_kind_are_refused(issuer: Issuer, refused: Any, key: Any) -> None:
    assert refused(issuer.token(), by_csr(key)) == (Reason.KEY_ALGORITHM, 400)
    body = by_possession(new_key(), SUBJECT)
    body["publicKeyRequest"]["publicKey"]["content"] = (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    assert refused(issuer.token(), body) == (Reason.KEY_ALGORITHM, 400)


@pytest.mark.parametrize("algorithm", ["RSA_PSS", "ED25519", 2])
def test_a_key_that_claims_to_be_of_another_kind_is_refused(
    issuer: Issuer, refused: Any, algorithm: Any
) -> None:
    body = by_possession(new_key(), SUBJECT)
    body["publicKeyRequest"]["publicKey"]["algorithm"] = algorithm
    assert refused(issuer.token(), body) == (Reason.KEY_ALGORITHM, 400)


@pytest.mark.parametrize(
    "request_",
    [b"", b"no request", csr()[:-40], csr() * 2, b"\n" + csr(), csr(algorithm=hashes.SHA384())],
    ids=["empty", "text", "truncated", "two", "leading", "SHA-384"],
)
def test_a_malformed_signing_request_is_refused(
    issuer: Issuer, refused: Any, request_: bytes
) -> None:
    asked = {"certificateSigningRequest": b64(request_)}
    assert refused(issuer.token(), asked) == (Reason.MALFORMED_CERTIFICATE_REQUEST, 400)


def test_a_signing_request_that_is_too_long_is_refused(issuer: Issuer, refused: Any) -> None:
    asked = {"certificateSigningRequest": b64(b"-" * (MAX_CSR_BYTES + 1))}
    assert refused(issuer.token(), asked) == (Reason.MESSAGE_TOO_LARGE, 413)


def test_a_request_that_is_too_long_is_refused(issuer: Issuer, refused: Any) -> None:
    body = b" " * (MAX_REQUEST_BYTES + 1)
    assert refused(issuer.token(), body) == (Reason.BODY_TOO_LARGE, 413)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.MALFORMED_JSON),
        (b"{", Reason.MALFORMED_JSON),
        (b'{"credentials":{},"credentials":{}}', Reason.MALFORMED_JSON),
        ([], Reason.MALFORMED_FIELD),
        ({}, Reason.MALFORMED_FIELD),
        ({**by_csr(), "more": 1}, Reason.MALFORMED_FIELD),
        ({**by_csr(), **by_possession(new_key(), SUBJECT)}, Reason.MALFORMED_FIELD),
        ({"certificateSigningRequest": 1}, Reason.MALFORMED_FIELD),
        ({"certificateSigningRequest": "=="}, Reason.MALFORMED_BASE64),
        ({"publicKeyRequest": {}}, Reason.MALFORMED_FIELD),
        ({"publicKeyRequest": {"publicKey": {"content": "x"}}}, Reason.MALFORMED_FIELD),
        ({**by_csr(), "credentials": {"oidcIdentityToken": 1}}, Reason.MALFORMED_FIELD),
    ],
)
def test_a_malformed_request_is_refused(
    issuer: Issuer, refused: Any, body: Any, reason: Reason
) -> None:
    assert refused(issuer.token(), body) == (reason, 400)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.text(max_size=9) | st.integers(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "credentials",
                            "publicKeyRequest",
                            "certificateSigningRequest",
                            "publicKey",
                            "content",
                            "proofOfPossession",
                            "oidcIdentityToken",
                        ]
                    ),
                    inner,
                    max_size=4,
                )
            ),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_other_body_is_refused_with_an_error_of_ours(body: bytes) -> None:
    with contextlib.suppress(RegistryError):
        read_request(Request("POST", PATH, body=body))


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(_csr_pem)))
def test_anything_else_is_no_signing_request(data: bytes) -> None:
    with pytest.raises(RegistryError):
        requested_key(data)


def test_a_principal_that_was_revoked_gets_no_certificate(registry: Served, refused: Any) -> None:
    leaver = registry.admit("leaver", "publisher", namespaces=["leaver/*"])
    registry.services.access.revoke("leaver", compromised=False)
    assert refused(leaver.token, by_csr()) == (Reason.TOKEN_REVOKED, 401)


def test_one_identity_cannot_have_all_certificates(
    registry: Served, issuer: Issuer, post: Any, refused: Any
) -> None:
    token = issuer.token(sub="https://ci.example/greedy")
    body = by_csr()
    for _ in range(MAX_PER_IDENTITY):
        assert post(token, body).status == 200
    assert refused(token, body) == (Reason.TOO_MANY_CERTIFICATES, 429)
    assert post(issuer.token(sub="https://ci.example/modest"), body).status == 200
    assert registry.stored().entries > MAX_PER_IDENTITY


def test_all_together_have_a_limit_too_which_passes() -> None:
    rate, noon = Rate(), datetime(2026, 9, 1, 12, tzinfo=UTC)
    for number in range(MAX_PER_WINDOW):
        rate.take(Identity("i", f"u:{number}"), noon)
    with pytest.raises(RegistryError) as refused:
        rate.take(Identity("i", "u:more"), noon)
    assert refused.value.reason is Reason.TOO_MANY_CERTIFICATES
    rate.take(Identity("i", "u:more"), noon + WINDOW)
    assert len(rate._all) == 1


# --- The authority's files, and what is off by default. ---


def test_without_the_setting_there_is_no_authority(tmp_path: Path, client: HTTPClient) -> None:
    with served(tmp_path / "data") as plain:
        answer = client.post(plain.url + PATH, b"{}", content_type="application/json")
        assert answer.status == 404
    assert not list((tmp_path / "data").rglob("c[at]*.pem"))


def test_issuers_without_an_authority_are_a_mistake(tmp_path: Path) -> None:
    believed = (OIDCIssuer("https://accounts.example", AUDIENCE),)
    with pytest.raises(RegistryError) as refused, served(tmp_path / "d", oidc_issuers=believed):
        pass
    assert refused.value.reason is Reason.BAD_SETTING


def test_the_registry_s_own_name_is_no_issuer(tmp_path: Path) -> None:
    believed = (OIDCIssuer("https://log.example", AUDIENCE),)
    with (
        pytest.raises(RegistryError) as refused,
        served(tmp_path / "d", ca=True, origin="log.example", oidc_issuers=believed),
    ):
        pass
    assert refused.value.reason is Reason.BAD_SETTING


def reopen(folder: Path) -> list[bytes]:
    """Start and stop; what the authority's files hold."""
    with open_services(ServerSettings(folder, ca=True)) as (services, _):
        assert services.certification is not None
        return [(folder / "keys" / name).read_bytes() for name in AUTHORITY_FILES]


AUTHORITY_FILES = ("ca.pem", "ct.pem", "ca-chain.pem", "ct.pem.pub")


def test_an_authority_keeps_its_keys_which_are_nobody_else_s(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert reopen(folder) == reopen(folder)
    keys = folder / "keys"
    private = list(keys.glob("*.pem"))
    private.remove(keys / "ca-chain.pem")
    assert len({file.read_bytes() for file in private}) == 4
    assert all(file.stat().st_mode & 0o77 == 0 for file in private)


@pytest.mark.parametrize("lost", ["ca.pem", "ct.pem"])
def test_an_authority_whose_key_is_lost_is_not_made_again(tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "data"
    reopen(folder)
    (folder / "keys" / lost).unlink()
    with pytest.raises(RegistryError) as refused:
        reopen(folder)
    assert refused.value.reason is Reason.KEY_LOST
    assert "log retire" in refused.value.hint


def test_an_authority_whose_key_was_replaced_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    reopen(folder)
    (folder / "keys" / "ca.pem").write_bytes((folder / "keys" / "ct.pem").read_bytes())
    with pytest.raises(RegistryError) as refused:
        reopen(folder)
    assert refused.value.reason is Reason.STORED_BYTES


@pytest.mark.parametrize("left", [1, 2, 3])
def test_a_first_start_that_died_half_way_goes_on(tmp_path: Path, left: int) -> None:
    folder = tmp_path / "data"
    before = reopen(folder)
    for name in AUTHORITY_FILES[left:]:
        (folder / "keys" / name).unlink()
    assert reopen(folder)[:left] == before[:left]


# --- Publishing with a certified key. ---


def test_a_publisher_without_a_lasting_key_signs_with_the_certified_one(
    registry: Served, post: Any
) -> None:
    robot = registry.admit("robot", "publisher", namespaces=["robot/*"], keys=[])
    key = new_key()
    chain(post(robot.token, by_csr(key)))
    said = dataset_statement(name="robot/reviews")
    registry.register(StatementSigner(key).sign(said).to_bytes(), robot)


def test_a_publisher_with_a_lasting_key_signs_with_no_other(registry: Served, post: Any) -> None:
    key = new_key()
    chain(post(registry.acme.token, by_csr(key)))
    envelope = StatementSigner(key).sign(dataset_statement(name="acme/reviews")).to_bytes()
    reason = registry.refused(lambda: registry.register(envelope, registry.acme))
    assert reason is Reason.UNKNOWN_SIGNER


def test_a_publisher_with_a_certified_name_signs_in_bundles_only(
    registry: Served, post: Any
) -> None:
    token, _, _ = registry.services.access.add(
        "named",
        ("publisher",),
        ("named/*",),
        (),
        None,
        identities=[Identity("https://accounts.example", "https://ci.example/named")],
    )
    key = new_key()
    chain(post(token, by_csr(key)))
    envelope = StatementSigner(key).sign(dataset_statement(name="named/reviews")).to_bytes()
    caller = Caller("named", token, StatementSigner(key))
    reason = registry.refused(lambda: registry.register(envelope, caller))
    assert reason is Reason.UNKNOWN_SIGNER


def test_an_identity_token_admits_nobody_s_key(registry: Served, issuer: Issuer, post: Any) -> None:
    key = new_key()
    chain(post(issuer.token(), by_csr(key)))
    envelope = StatementSigner(key).sign(dataset_statement(name="acme/reviews")).to_bytes()
    reason = registry.refused(lambda: registry.register(envelope, registry.acme))
    assert reason is Reason.UNKNOWN_SIGNER
