"""The log's record of an issued certificate says what the certificate says."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core import encoding
from registry.core.attestation.identity import Identity
from registry.core.attestation.statement import Subject
from registry.core.digest import sha256
from registry.core.keys import PublicKey
from registry.core.records import certificate, predicate
from registry.errors import Reason, RegistryError
from registry.signing.authority import CertificateAuthority
from tests.mint import AT

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
AUTHORITY = CertificateAuthority.generate("log.example", NOON)
KEY = PublicKey(ec.generate_private_key(ec.SECP256R1()).public_key())
ISSUED = AUTHORITY.issue(KEY, Identity("https://accounts.example", "ada@acme.example"), NOON)
SAID = certificate.build(ISSUED, "oidc", AT)


def test_a_record_comes_back_as_it_was_written() -> None:
    assert predicate.parse(encoding.write_json(SAID)) == SAID
    assert certificate.signing_certificate(SAID.predicate) == ISSUED


def refusal(subject: Subject, **changes: Any) -> Reason:
    said = msgspec.structs.replace(SAID.predicate, **changes)
    statement = msgspec.structs.replace(SAID, subject=(subject,), predicate=said)
    with pytest.raises(RegistryError) as refused:
        predicate.parse(encoding.write_json(statement))
    return refused.value.reason


@pytest.mark.parametrize(
    "changes", [{"issuer": "https://rival.example"}, {"identity": "eve@acme.example"}]
)
def test_a_record_that_contradicts_its_certificate_is_refused(changes: dict[str, Any]) -> None:
    name = changes.get("identity", "ada@acme.example")
    subject = Subject.named(name, sha256(ISSUED.der))
    assert refusal(subject, **changes) is Reason.SUBJECT_MISMATCH


def test_a_record_about_another_certificate_is_refused() -> None:
    assert refusal(Subject.named("ada@acme.example", sha256(b"x"))) is Reason.SUBJECT_MISMATCH


def test_a_record_that_holds_no_certificate_is_refused() -> None:
    subject = Subject.named("ada@acme.example", sha256(b"x"))
    told = encoding.base64_text(b"x")
    assert refusal(subject, certificate=told) is Reason.MALFORMED_CERTIFICATE
    assert refusal(subject, certificate="=") is Reason.MALFORMED_BASE64
