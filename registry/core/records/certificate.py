"""Certificates that the registry's own authority issued, as the log records them.

The operator signs one statement for each certificate, and it is in the log before anybody has the
certificate: whoever watches the log sees every certificate that may come up.
"""

from typing import Annotated, Literal

import msgspec

from registry.core import encoding
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject, check_subject
from registry.core.certificates.signing import SigningCertificate
from registry.core.digest import sha256
from registry.core.encoding import Text, Time, Value
from registry.core.records import NAMESPACE
from registry.errors import MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "certificate/v1"
"""The predicate type of an issued certificate."""

MAX_CERTIFICATE_CHARACTERS = 16 * 1024
"""Characters of a certificate in base64; ours take about 1,300."""


class Certificate(Value, frozen=True):
    """The operator says: this certificate was issued to this identity.

    Attributes:
        certificate: Base64 of the DER certificate; its SHA-256 is the subject.
        issuer: Who vouched for the identity, as the certificate says.
        identity: Whom the certificate names.
        authenticated_by: ``oidc``: a token of a configured issuer; ``token``: a bearer token of
            this registry, whose principal ``identity`` names.
    """

    certificate: Annotated[str, msgspec.Meta(max_length=MAX_CERTIFICATE_CHARACTERS)]
    issuer: Text
    identity: Text
    authenticated_by: Literal["oidc", "token"]
    issued_at: Time


def build(
    certificate: SigningCertificate, authenticated_by: Literal["oidc", "token"], issued_at: str
) -> Statement[Certificate]:
    """The statement about one certificate."""
    said = Certificate(
        certificate=encoding.base64_text(certificate.der),
        issuer=certificate.issuer,
        identity=certificate.identity,
        authenticated_by=authenticated_by,
        issued_at=issued_at,
    )
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=said,
        predicate_type=PREDICATE_TYPE,
        subject=(Subject.named(certificate.identity, sha256(certificate.der)),),
    )


def signing_certificate(said: Certificate) -> SigningCertificate:
    """The certificate that the record is about.

    Raises:
        MalformedError: ``MALFORMED_BASE64``, ``MALFORMED_CERTIFICATE`` or ``KEY_ALGORITHM``.
    """
    return SigningCertificate.parse(encoding.base64_bytes(said.certificate))


def validate(subject: tuple[Subject, ...], said: Certificate) -> None:
    """Check that record, subject and certificate speak of the same thing.

    Raises:
        MalformedError: ``SUBJECT_MISMATCH``, or what is wrong with the certificate.
    """
    check_subject(subject, said.identity)
    certificate = signing_certificate(said)
    expected = (sha256(certificate.der).hex(), certificate.issuer, certificate.identity)
    actual = (subject[0].digest.sha256, said.issuer, said.identity)
    if expected != actual:
        raise MalformedError(
            Reason.SUBJECT_MISMATCH,
            "the record says something else than the certificate that it holds",
            expected=" ".join(expected)[:300],
            actual=" ".join(actual)[:300],
        )
