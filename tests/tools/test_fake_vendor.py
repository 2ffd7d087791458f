"""The fake vendor at a terminal: evidence of every family, which nobody believes by himself."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.cli.endorsement_files import read_endorsements
from registry.cli.policy_file import read_policy
from registry.core.evidence.appraisal import Question, appraise
from registry.core.evidence.binding import GPU_FAMILIES, Binding
from registry.core.evidence.checks import Finding
from registry.core.evidence.claims import Family
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.roots import Roots
from registry.core.verdict import Verdict
from tools.fake_vendor import pki
from tools.fake_vendor.__main__ import main

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
NONCE = bytes(range(32))
KEY = pki.p256("node").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("family", Family)
def test_evidence_of_every_family_is_believed_by_whoever_names_its_roots_and_by_nobody_else(
    family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "node.der"
    key.write_bytes(KEY)
    asked = ("--nonce", NONCE.hex(), "--session-key", str(key), "--at", "2026-06-01T14:00:00+02:00")
    assert main([family, "--out", str(tmp_path / "device"), *asked]) == 0
    assert "FAKE" in capsys.readouterr().out
    evidence = (tmp_path / "device" / "evidence.bin").read_bytes()
    endorsements = read_endorsements((str(tmp_path / "device" / "endorsements"),))
    policy = read_policy(tmp_path / "device" / "policy.json")
    rules = FAMILIES[family]
    stated = Binding(nonce=NONCE, session_key=None if family in GPU_FAMILIES else KEY)
    question = Question(stated=stated, expected=stated)
    believed = rules.examine(evidence, endorsements, AT, policy.trusted_roots())
    appraisal = appraise(believed, policy, rules, question)
    assert appraisal.verdict is Verdict.VALID
    named = {root.sha256 for root in policy.roots}
    assert believed.configured_roots
    assert set(believed.configured_roots) <= named
    refused = rules.examine(evidence, endorsements, AT, Roots())
    appraisal = appraise(refused, policy, rules, question)
    assert appraisal.verdict is Verdict.INVALID
    assert Finding.UNTRUSTED_ROOT in {item.finding for item in appraisal.findings()}


def test_what_is_no_nonce_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["aws-nitro", "--out", str(tmp_path), "--nonce", "xyz"])
    assert caught.value.code == 2
