"""Who is expected to have signed: one key, or one name that one issuer vouches for."""

from dataclasses import dataclass

from registry.core.certificates.signing import SigningCertificate
from registry.core.keys import PublicKey
from registry.errors import Reason, VerificationError


@dataclass(frozen=True, slots=True)
class Identity:
    """A name that an issuer vouches for, compared character by character: no patterns.

    Attributes:
        issuer: The OIDC issuer's URL.
        name: The URI, e-mail address or other name in the certificate.
    """

    issuer: str
    name: str

    @classmethod
    def of(cls, certificate: SigningCertificate) -> "Identity":
        """The identity that a certificate is for."""
        return cls(certificate.issuer, certificate.identity)

    def __str__(self) -> str:
        return f"{self.name} by {self.issuer}"


Expected = Identity | PublicKey
"""Who is expected: a certified name, or the holder of a key."""


def verify_identity(expected: Identity, certificate: SigningCertificate) -> None:
    """Check that a certificate is for the expected name, by the expected issuer.

    Raises:
        VerificationError: ``IDENTITY_MISMATCH``.
    """
    actual = Identity.of(certificate)
    if actual != expected:
        raise VerificationError(
            Reason.IDENTITY_MISMATCH,
            "somebody else signed this",
            expected=str(expected),
            actual=str(actual),
        )
