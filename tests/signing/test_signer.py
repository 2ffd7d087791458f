"""Keys by file and by URI: a real PKCS #11 token and a real key service, both on this machine."""

import ctypes.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from registry.core.attestation.dsse import Envelope
from registry.core.keys import PublicKey
from registry.errors import Reason, RegistryError
from registry.signing import signer
from registry.signing.file import StatementSigner
from registry.signing.key_service import RemoteSigner
from tests.mint import dataset_statement
from tools.free_ports import free_port

SAID = dataset_statement()
PIN = "1234"
LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so")


def no_secret(_name: str) -> str:
    pytest.fail("nobody is to be asked for a secret")


def verified(envelope: Envelope, key: PublicKey) -> bytes:
    envelope.verify(key)
    return envelope.payload


def refusal(where: str) -> Reason:
    with pytest.raises(RegistryError) as refused:
        signer.load(where, no_secret)
    return refused.value.reason


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "k.pem"
    StatementSigner.generate().save(path)
    return path


def test_a_bare_path_and_a_file_uri_name_the_same_key(key_file: Path) -> None:
    bare, uri = (signer.load(where, no_secret) for where in (str(key_file), f"file:{key_file}"))
    assert bare.public_key == uri.public_key
    verified(uri.sign(SAID), bare.public_key)


def test_a_path_may_contain_a_colon(tmp_path: Path) -> None:
    path = tmp_path / "acme:prod.pem"
    StatementSigner.generate().save(path)
    loaded = signer.load(str(path), no_secret)
    verified(loaded.sign(SAID), loaded.public_key)


def test_a_missing_file_is_named() -> None:
    assert refusal("file:nowhere.pem") is Reason.MALFORMED_KEY


def test_keys_in_vault_are_refused_because_they_are_of_another_kind() -> None:
    assert refusal("hv:acme/1") is Reason.KEY_ALGORITHM


@pytest.mark.parametrize(
    "where",
    ["azurekms:acme", "azurekms://acme.vault.azure.net/secrets/k", "hsm:two", "hsm:-1", "hsm:٣"],
)
def test_a_uri_that_names_no_key_is_refused(where: str) -> None:
    assert refusal(where) is Reason.BAD_SETTING


@pytest.mark.parametrize(
    ("where", "flag", "module"),
    [
        ("azurekms://acme.vault.azure.net/keys/k", "AZURE_IMPORT_ERROR", "_azure_signer"),
        ("gcpkms:projects/p/k/cryptoKeyVersions/1", "GCP_IMPORT_ERROR", "_gcp_signer"),
        ("awskms:alias/k", "AWS_IMPORT_ERROR", "_aws_signer"),
        ("hsm:2", "PKCS11_IMPORT_ERROR", "_hsm_signer"),
    ],
)
def test_a_missing_extra_is_named(
    where: str, flag: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"securesystemslib.signer.{module}.{flag}", "it is not installed")
    with pytest.raises(RegistryError) as refused:
        signer.load(where, no_secret)
    assert refused.value.reason is Reason.MISSING_EXTRA
    assert f"provreg[{where.partition(':')[0]}]" in refused.value.hint


class _Answering:
    """A key service that answers with these bytes, whatever it is asked to sign."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def sign(self, _payload: bytes) -> Any:
        return SimpleNamespace(signature=self._answer.hex())


def _answered(answer: bytes, key: PublicKey) -> Reason:
    with pytest.raises(RegistryError) as refused:
        RemoteSigner("hsm:2", _Answering(answer), key).sign(SAID)  # type: ignore[arg-type]
    return refused.value.reason


def test_a_signature_over_something_else_is_never_used() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    other = key.sign(b"something else", ec.ECDSA(hashes.SHA256()))
    assert _answered(other, PublicKey(key.public_key())) is Reason.BAD_SIGNATURE


def test_a_signature_that_is_not_strict_der_is_never_used() -> None:
    honest = StatementSigner.generate()
    strict = honest.sign(SAID).signature
    r, s = decode_dss_signature(strict)
    padded = bytes((0x02, 33)) + b"\x00" + (r >> 8).to_bytes(32, "big")
    second = bytes((0x02, 33)) + b"\x00" + (s >> 8).to_bytes(32, "big")
    loose = bytes((0x30, len(padded + second))) + padded + second
    assert _answered(loose, honest.public_key) is Reason.MALFORMED_SIGNATURE
    assert _answered(strict + b"\x00", honest.public_key) is Reason.MALFORMED_SIGNATURE


def test_a_raw_signature_is_never_used() -> None:
    honest = StatementSigner.generate()
    r, s = decode_dss_signature(honest.sign(SAID).signature)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert _answered(raw, honest.public_key) is Reason.MALFORMED_SIGNATURE


# --- AWS KMS: moto answers the real protocol and signs with real keys. ---


@pytest.fixture(scope="module")
def kms() -> Iterator[Any]:
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    port = free_port()
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        # Clients send a digest, and moto would hash it once more; the real service does not.
        patch.setattr("moto.kms.utils.ECDSAPrivateKey.sign", _sign_digest)
        try:
            yield boto3.client("kms")
        finally:
            server.stop()


def _sign_digest(key: Any, message: bytes, _algorithm: str) -> bytes:
    signature: bytes = key.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
    return signature


def new_key(kms: Any, spec: str) -> str:
    made = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")
    return str(made["KeyMetadata"]["KeyId"])


def test_a_statement_is_signed_by_a_key_that_stays_in_the_key_service(kms: Any) -> None:
    key_id = new_key(kms, "ECC_NIST_P256")
    loaded = signer.load(f"awskms:{key_id}", no_secret)
    der = kms.get_public_key(KeyId=key_id)["PublicKey"]
    assert loaded.public_key == PublicKey.parse(der)
    verified(loaded.sign(SAID), loaded.public_key)


@pytest.mark.parametrize("spec", ["ECC_NIST_P384", "RSA_2048"])
def test_a_key_of_another_kind_in_the_key_service_is_refused(kms: Any, spec: str) -> None:
    assert refusal(f"awskms:{new_key(kms, spec)}") in (Reason.KEY_ALGORITHM, Reason.MALFORMED_KEY)


def test_an_unknown_key_of_the_key_service_is_not_found_there(kms: Any) -> None:
    assert kms
    assert refusal("awskms:11111111-2222-3333-4444-555555555555") is Reason.KEY_SERVICE


def test_a_key_that_is_no_longer_in_the_key_service_signs_nothing(kms: Any) -> None:
    key_id = new_key(kms, "ECC_NIST_P256")
    kms.create_alias(AliasName="alias/acme", TargetKeyId=key_id)
    loaded = signer.load("awskms:alias/acme", no_secret)
    verified(loaded.sign(SAID), loaded.public_key)
    kms.delete_alias(AliasName="alias/acme")
    with pytest.raises(RegistryError) as refused:
        loaded.sign(SAID)
    assert refused.value.reason is Reason.KEY_SERVICE


def test_another_key_under_the_same_name_is_noticed(kms: Any) -> None:
    kms.create_alias(AliasName="alias/moving", TargetKeyId=new_key(kms, "ECC_NIST_P256"))
    loaded = signer.load("awskms:alias/moving", no_secret)
    kms.update_alias(AliasName="alias/moving", TargetKeyId=new_key(kms, "ECC_NIST_P256"))
    with pytest.raises(RegistryError) as refused:
        loaded.sign(SAID)
    assert refused.value.reason is Reason.BAD_SIGNATURE


# --- PKCS #11: SoftHSM holds the key. ---


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The label of a token with a P-256 key of id 2 and a P-384 key of id 3."""
    pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    utility = shutil.which("softhsm2-util")
    library = next((path for path in LIBRARIES if Path(path).exists()), None)
    library = library or ctypes.util.find_library("softhsm2")
    if utility is None or library is None:
        pytest.skip("SoftHSM is not installed: apt-get install softhsm2")
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(settings))
        patch.setenv("PYKCS11LIB", library)
        subprocess.run(
            [utility, "--init-token", "--free", "--label", "acme", "--pin", PIN, "--so-pin", PIN],
            check=True,
            capture_output=True,
        )
        held = pkcs11.lib(library).get_token(token_label="acme")  # noqa: S106 - a name
        with held.open(rw=True, user_pin=PIN) as session:
            encode = pytest.importorskip("pkcs11.util.ec").encode_named_curve_parameters
            for number, curve in ((2, "secp256r1"), (3, "secp384r1")):
                parameters = session.create_domain_parameters(
                    pkcs11.KeyType.EC,
                    {pkcs11.Attribute.EC_PARAMS: encode(curve)},
                    local=True,
                )
                parameters.generate_keypair(
                    store=True, id=bytes((number,)), mechanism=pkcs11.Mechanism.EC_KEY_PAIR_GEN
                )
        yield "acme"


def test_a_statement_is_signed_by_a_key_that_stays_in_its_token(token: str) -> None:
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return PIN

    loaded = signer.load(f"hsm:2?label={token}", ask)
    verified(loaded.sign(SAID), loaded.public_key)
    assert set(asked) == {"pin"}


def test_the_pin_may_stand_in_a_file(token: str, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text(f"{PIN}\n")
    where = f"hsm:2?label={token}&pin-source=file:{tmp_path / 'pin'}"
    loaded = signer.load(where, no_secret)
    verified(loaded.sign(SAID), loaded.public_key)


def test_a_missing_pin_file_is_named(token: str, tmp_path: Path) -> None:
    where = f"hsm:2?label={token}&pin-source={tmp_path / 'nowhere'}"
    with pytest.raises(RegistryError) as refused:
        signer.load(where, no_secret).sign(SAID)
    assert refused.value.reason is Reason.BAD_SETTING


def test_a_wrong_pin_signs_nothing_and_is_not_told(token: str) -> None:
    with pytest.raises(RegistryError) as refused:
        signer.load(f"hsm:2?label={token}", lambda _: "98765").sign(SAID)
    assert refused.value.reason is Reason.KEY_SERVICE
    assert "98765" not in str(refused.value)


def test_a_p384_key_in_a_token_is_refused(token: str) -> None:
    with pytest.raises(RegistryError) as refused:
        signer.load(f"hsm:3?label={token}", lambda _: PIN)
    assert refused.value.reason is Reason.KEY_ALGORITHM


def test_a_key_that_is_not_in_the_token_is_not_found_there(token: str) -> None:
    with pytest.raises(RegistryError) as refused:
        signer.load(f"hsm:9?label={token}", lambda _: PIN)
    assert refused.value.reason is Reason.KEY_SERVICE
