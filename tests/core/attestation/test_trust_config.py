"""Trust material: what stock clients take as it is, and how it outlives a log's key."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sigstore.models import Bundle as StockBundle
from sigstore.models import ClientTrustConfig as StockConfig
from sigstore.models import SigningConfig as StockSigning
from sigstore.models import TrustedRoot as StockRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity as StockIdentity

from registry.core.attestation.trust_config import client_trust_config, join, succeed
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import open_bundle
from registry.core.digest import sha256
from registry.errors import ConflictError, MalformedError, Reason, VerificationError
from tests.authorities import NOON
from tests.private_sigstore import ARTIFACT, HOST, SIGNER, Log, Sigstore

OURS = Sigstore()
DIGEST = sha256(ARTIFACT)
OLD = Sigstore(
    log=Log("old.log.example", Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x09"))
)
HOUR = timedelta(hours=1)


def test_a_stock_client_takes_it_as_it_is_and_verifies_what_we_logged() -> None:
    written = client_trust_config(OURS.root, OURS.instance.signing_config()).to_bytes()
    config = StockConfig.from_json(written.decode())
    verifier = Verifier(trusted_root=config.trusted_root)
    policy = StockIdentity(identity=SIGNER.name, issuer=SIGNER.issuer)
    message = StockBundle.from_json(OURS.sign().to_bytes())
    verifier.verify_artifact(ARTIFACT, message, policy)
    statement = StockBundle.from_json(OURS.attest().to_bytes())
    kind, _ = verifier.verify_dsse(statement, policy)
    assert kind == "application/vnd.in-toto+json"
    assert config.signing_config.get_tlogs()
    assert [client.url for client in config.signing_config.get_tsas()] == [
        f"https://{HOST}/api/v1/timestamp"
    ]


def test_each_document_stands_alone_too(tmp_path: Path) -> None:
    root, signing = tmp_path / "root.json", tmp_path / "signing.json"
    root.write_bytes(OURS.root.to_bytes())
    signing.write_bytes(OURS.instance.signing_config().to_bytes())
    assert len(StockRoot.from_file(str(root)).get_fulcio_certs()) == 2
    assert StockSigning.from_file(str(signing)).get_fulcio().url == f"https://{HOST}"


def test_the_log_is_named_by_its_whole_key_hash() -> None:
    wire = OURS.root.tlogs[0].log_id.key_id
    assert OURS.sign().entry.wire().log_id.key_id == wire
    assert Trust.of(OURS.root).logs[0].log_id[:4] == OURS.log.verifier.key_id


@pytest.mark.parametrize(
    "url",
    ["https://other.example", f"https://{HOST}/log", f"https://x.{HOST}", f"https://{HOST}//"],
)
def test_a_url_with_another_host_or_a_path_is_refused(url: str) -> None:
    with pytest.raises(ConflictError) as caught:
        replace(OURS.instance, url=url).trusted_root()
    assert caught.value.reason is Reason.ORIGIN_HOST


@pytest.mark.parametrize(
    "url", [HOST, f"ftp://{HOST}", "https://", f"https://{HOST}:", "https://A.b"]
)
def test_a_url_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(MalformedError) as caught:
        replace(OURS.instance, url=url).trusted_root()
    assert caught.value.reason is Reason.MALFORMED_TRUSTED_ROOT


def test_a_url_may_have_a_port_and_end_in_a_slash() -> None:
    assert replace(OURS.instance, url=f"https://{HOST}:8443/").base_url == f"https://{HOST}:8443"


def test_a_retired_log_stays_with_the_end_of_its_window() -> None:
    root = Trust.of(succeed(OURS.root, [OLD.root], NOON + HOUR))
    assert [log.host for log in root.logs] == [HOST, "old.log.example"]
    assert [log.window.end for log in root.logs] == [None, NOON + HOUR]
    for world in (OURS, OLD):
        open_bundle(world.sign(), root, SIGNER, artifact=DIGEST)


def test_what_a_retired_log_records_later_is_refused() -> None:
    root = Trust.of(succeed(OURS.root, [OLD.root], NOON - HOUR))
    with pytest.raises(VerificationError) as caught:
        open_bundle(OLD.sign(), root, SIGNER, artifact=DIGEST)
    assert caught.value.reason is Reason.LOG_TIME


def test_an_end_that_was_known_is_kept() -> None:
    once = succeed(OURS.root, [OLD.root], NOON)
    again = succeed(OURS.root, [once], NOON + HOUR)
    assert Trust.of(again).logs[1].window.end == NOON


def test_the_earlier_start_of_the_same_log_is_kept() -> None:
    later = replace(OURS.instance, start=NOON).trusted_root()
    root = Trust.of(succeed(later, [OURS.root], NOON))
    assert root.logs[0].window.start == NOON - timedelta(days=20)
    assert root.logs[0].window.end is None


def test_a_frozen_log_ends() -> None:
    frozen = replace(OURS.instance, end=NOON)
    root = Trust.of(succeed(frozen.trusted_root(), [OURS.root], NOON + HOUR))
    assert root.logs[0].window.end == NOON


def test_another_instance_is_joined_as_it_is() -> None:
    root = Trust.of(join(OURS.root, [OLD.root]))
    assert [log.window.end for log in root.logs] == [None, None]


def test_a_new_key_under_the_same_host_is_refused() -> None:
    usurper = Sigstore(log=Log(key=OLD.log.key))
    with pytest.raises(ConflictError) as caught:
        succeed(usurper.root, [OURS.root], NOON)
    assert caught.value.reason is Reason.ORIGIN_HOST
    with pytest.raises(ConflictError) as caught:
        join(OURS.root, [usurper.root])
    assert caught.value.reason is Reason.ORIGIN_HOST


def test_an_authority_without_certificates_is_refused() -> None:
    with pytest.raises(MalformedError) as caught:
        replace(OURS.instance, certificate_authorities=((),)).trusted_root()
    assert caught.value.reason is Reason.MALFORMED_TRUSTED_ROOT
