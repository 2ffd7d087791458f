"""Sigstore bundles of a statement, made by the stock ``sigstore`` library.

The library makes a key, has it certified for the holder of an identity token, signs, has the
signature timestamped and logged where the trust config says. What it made is verified by our own
verifier before anybody gets it.
"""

from sigstore.dsse import Statement as StockStatement
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityError, IdentityToken
from sigstore.sign import SigningContext

from registry.client.certified import TrustConfig
from registry.core.attestation.bundle import Bundle
from registry.core.attestation.dsse import PAYLOAD_TYPE, pae
from registry.core.attestation.identity import Identity
from registry.core.attestation.verify import open_bundle
from registry.core.certificates.signing import SigningCertificate
from registry.core.digest import sha256
from registry.errors import Reason, UnauthenticatedError, UnavailableError, VerificationError


def sign(payload: bytes, config: TrustConfig, token: str) -> tuple[Bundle, Identity]:
    """A verified bundle of a statement, and who signed it.

    Raises:
        UnauthenticatedError: ``MALFORMED_IDENTITY_TOKEN``.
        UnavailableError: ``REMOTE_STATUS`` if one of those who are asked does not do its part.
        MalformedError, VerificationError: What is wrong with what they did.
    """
    try:
        identity_token = IdentityToken(token)
    except IdentityError as error:
        raise UnauthenticatedError(
            Reason.MALFORMED_IDENTITY_TOKEN,
            "this is not an identity token that Sigstore clients use",
            expected='a token that holds now, for the audience "sigstore"',
        ) from error
    try:
        context = SigningContext.from_trust_config(ClientTrustConfig.from_json(config.text))
        with context.signer(identity_token) as signer:
            made = signer.sign_dsse(StockStatement(payload))
    except Exception as error:
        # The library lets errors of its own parts out, which have no class in common.
        raise _failed(error) from error
    bundle = Bundle.parse(made.to_json().encode())
    who = Identity.of(SigningCertificate.parse(bundle.certificate))
    opened = open_bundle(bundle, config.trust, who)
    if opened.payload != payload or opened.digest != sha256(pae(PAYLOAD_TYPE, payload)):
        raise VerificationError(
            Reason.ENTRY_MISMATCH, "the bundle is about another statement than the one to sign"
        )
    return bundle, who


def _failed(error: Exception) -> UnavailableError:
    return UnavailableError(
        Reason.REMOTE_STATUS,
        "one of those who make a Sigstore bundle did not do its part",
        actual=f"{type(error).__name__}: {error}"[:300],
        hint="is everybody there whom the trust config names, and is the token for them?",
    )
