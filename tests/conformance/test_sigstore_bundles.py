"""sigstore-conformance: our verifier is right on every case, also where the stock client is not.

The stock client, ``sigstore``, is the second opinion on each case. Where it differs from ours the
difference is named here with its reason; a new one fails.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sigstore.errors import Error as StockError
from sigstore.models import Bundle as StockBundle
from sigstore.models import TrustedRoot as StockRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity as StockIdentity

from registry.cli.main import run
from registry.cli.output import REFUSED, VERIFIED
from registry.core.attestation.bundle import Bundle
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import open_bundle
from registry.core.digest import sha256
from registry.errors import Reason, RegistryError
from tests.conformance.sigstore_cases import CASES, PUBLIC_ROOT, Case, needs_vectors

REASONS = {
    "bundle-empty-certificate-chain_fail": Reason.SIGSTORE_BUNDLE,
    "bundle-from-wrong-instance_fail": Reason.WRONG_LOG,
    "bundle-malformed-json_fail": Reason.SIGSTORE_BUNDLE,
    "bundle-negative-log-index_fail": Reason.MALFORMED_LOG_ENTRY,
    "bundle-with-root-cert_fail": Reason.SIGSTORE_BUNDLE,
    "checkpoint-wrong-roothash_fail": Reason.INCLUSION_PROOF,
    "dsse-invalid-sig_fail": Reason.ENTRY_MISMATCH,
    "dsse-mismatch-sig_fail": Reason.ENTRY_MISMATCH,
    "inclusion-proof-corrupted-hash_fail": Reason.INCLUSION_PROOF,
    "incorrect-public-key_fail": Reason.INCLUSION_PROOF,
    "intoto-expired-certificate_fail": Reason.CERTIFICATE_TIME,
    "intoto-log-entry-mismatch_fail": Reason.ENTRY_MISMATCH,
    "intoto-set-outside-signing-cert-validity_fail": Reason.CERTIFICATE_TIME,
    "intoto-tsa-timestamp-outside-cert-validity_fail": Reason.CERTIFICATE_TIME,
    "invalid-checkpoint-signature_fail": Reason.LOG_SIGNATURE,
    "invalid-ct-key_fail": Reason.SCT,
    "managed-key-wrong-key_fail": Reason.MALFORMED_KEY,
    "message-digest-mismatch_fail": Reason.ARTIFACT_MISMATCH,
    "rekor2-checkpoint-missing-log-signature_fail": Reason.MALFORMED_NOTE,
    "rekor2-checkpoint-missing-origin_fail": Reason.MALFORMED_CHECKPOINT,
    "rekor2-checkpoint-missing-size_fail": Reason.MALFORMED_CHECKPOINT,
    "rekor2-dsse-invalid-sig_fail": Reason.ENTRY_MISMATCH,
    "rekor2-dsse-mismatch-sig_fail": Reason.ENTRY_MISMATCH,
    "rekor2-no-timestamp_fail": Reason.NO_TRUSTED_TIME,
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail": Reason.TIMESTAMP_VALIDITY,
    "rekor2-timestamp-payload-mismatch_fail": Reason.TIMESTAMP_IMPRINT,
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail": Reason.TIMESTAMP_SIGNER,
    "set-invalid-signature_fail": Reason.INCLUSION_PROMISE,
    "trust-root-tlog-missing-validity-start_fail": Reason.MALFORMED_TRUSTED_ROOT,
    "wrong-hashedrekord-artifact_fail": Reason.ENTRY_MISMATCH,
    "wrong-hashedrekord-cert-and-sig_fail": Reason.ENTRY_MISMATCH,
    "wrong-material_fail": Reason.ARTIFACT_MISMATCH,
}
"""Why each case is refused: refusing everything would pass a suite that does not ask."""

KEYS_ARE_NOT_SUPPORTED = "the stock client verifies certificates only"
DIFFERENCES = {
    "managed-key-and-trusted-root": KEYS_ARE_NOT_SUPPORTED,
    "managed-key-happy-path": KEYS_ARE_NOT_SUPPORTED,
}

names = [case.name for case in CASES]


@needs_vectors
@pytest.mark.parametrize("case", CASES, ids=names)
def test_every_case_is_decided_as_it_must_be(case: Case) -> None:
    if not case.must_fail:
        case.open()
        return
    with pytest.raises(RegistryError) as caught:
        case.open()
    # A case that is newer than this list is refused for some reason of ours.
    assert caught.value.reason is REASONS.get(case.name, caught.value.reason)


@needs_vectors
@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_command_line_decides_every_case_too(case: Case, tmp_path: Path) -> None:
    for name, content in (
        ("bundle", case.bundle),
        ("artifact", case.artifact),
        ("root", case.root),
        ("key", case.key or b""),
    ):
        (tmp_path / name).write_bytes(content)
    who = ["--identity", case.identity.issuer, case.identity.name]
    if case.key is not None:
        who = ["--key", str(tmp_path / "key")]
    arguments = [str(tmp_path / "bundle"), str(tmp_path / "artifact"), *who]
    status = run(["bundle", "verify", *arguments, "--trusted-root", str(tmp_path / "root")])
    assert status == (REFUSED if case.must_fail else VERIFIED)


@needs_vectors
def test_an_intoto_entry_whose_times_fit_is_accepted() -> None:
    """The stock Python client takes no such entry; Rekor v1 has millions."""
    [case] = [case for case in CASES if case.name.startswith("intoto-tsa-timestamp-outside")]
    members = json.loads(case.bundle)
    members["verificationMaterial"]["timestampVerificationData"] = None
    bundle = Bundle.parse(json.dumps(members).encode())
    opened = open_bundle(
        bundle, Trust.parse(case.root), case.identity, artifact=sha256(case.artifact)
    )
    assert opened.times == (datetime(2023, 2, 1, tzinfo=UTC),)


@needs_vectors
def test_no_known_case_is_missing() -> None:
    assert set(REASONS) <= set(names)


def stock_accepts(case: Case, folder: Path) -> bool:
    root = folder / "trusted_root.json"
    root.write_bytes(case.root)
    try:
        bundle = StockBundle.from_json(case.bundle)
        verifier = Verifier(trusted_root=StockRoot.from_file(str(root)))
        policy = StockIdentity(identity=case.identity.name, issuer=case.identity.issuer)
        if bundle._inner.message_signature is not None:
            verifier.verify_artifact(case.artifact, bundle, policy)
        else:
            verifier.verify_dsse(bundle, policy)
    except (StockError, ValueError):
        return False
    return True


@needs_vectors
@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_stock_client_agrees_but_for_known_differences(case: Case, tmp_path: Path) -> None:
    ours = not case.must_fail
    assert (stock_accepts(case, tmp_path) == ours) == (case.name not in DIFFERENCES)


@needs_vectors
@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.must_fail], ids=lambda case: str(case.name)
)
def test_the_time_and_the_signer_are_told(case: Case) -> None:
    opened = case.open()
    assert opened.times
    assert (opened.signer == case.identity) == (case.key is None)


def test_the_stock_client_ships_the_public_root() -> None:
    assert PUBLIC_ROOT.exists()
