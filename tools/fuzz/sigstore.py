"""A private Sigstore that comes out the same every time: certificates, timestamps, bundles."""

from datetime import timedelta
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core.attestation import dsse
from registry.core.attestation.bundle import Bundle, Message
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.identity import Identity
from registry.core.attestation.trust_config import Instance
from registry.core.attestation.trusted_root import Trust
from registry.core.digest import sha256
from registry.core.tlog import entry, merkle
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.receipt import Receipt
from registry.core.tlog.rekor import TransparencyLogEntry
from tests import authorities, private_certificates
from tests.authorities import NOON
from tests.private_certificates import IDENTITY, OIDC_ISSUER, p256
from tools.fuzz.examples import TOLD, log_signer

_YEAR: Final = timedelta(days=365)
_ECDSA: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)

ARTIFACT: Final = b"an artifact"
SIGNER: Final = Identity(OIDC_ISSUER, IDENTITY)
LOG: Final = log_signer("log.example")
CA: Final = private_certificates.CA.root()
CT: Final = private_certificates.CTLog()
KEY: Final = p256(21)
CERTIFICATE: Final = CT.certify(CA, private_certificates.Leaf(key=KEY))
TSA: Final = authorities.Authority(
    recipes=(
        authorities.leaf(start=NOON - _YEAR, end=NOON + _YEAR),
        authorities.root(start=NOON - _YEAR, end=NOON + _YEAR),
    )
)
ROOT: Final = Instance(
    "https://log.example",
    LOG.key,
    NOON - _YEAR,
    certificate_authorities=(CA.chain,),
    timestamp_authorities=(TSA.chain,),
    ct_keys=(CT.trusted().key,),
    oidc_issuers=(OIDC_ISSUER,),
)
TRUST: Final = Trust.of(ROOT.trusted_root())


def token(message: bytes) -> bytes:
    """The token of the authority over ``message``."""
    return TSA.token(message, at=NOON, nonce=12345, embed=TSA.certificates[:1])


def logged(digest: bytes, signature: bytes, certificate: bytes) -> TransparencyLogEntry:
    """An entry in a log of two."""
    if certificate:
        body = entry.write_certified(digest, signature, certificate)
    else:
        body = entry.write(digest, signature, TOLD_KEY)
    leaves = [sha256(b"the entry before"), merkle.leaf_hash(body)]
    head = LOG.sign(Checkpoint(LOG.key.name, 2, merkle.root(leaves)))
    return TransparencyLogEntry.proved(body, Receipt(1, (leaves[0],), head), LOG.key)


TOLD_KEY: Final = private_certificates.spki(KEY)


def _message() -> Bundle:
    digest, signature = sha256(ARTIFACT), KEY.sign(ARTIFACT, _ECDSA)
    return Bundle(
        (0, 3),
        CERTIFICATE,
        "",
        logged(digest, signature, CERTIFICATE),
        (authorities.granted(token(signature)),),
        Message(signature, digest),
    )


def _statement() -> Bundle:
    payload = TOLD.release.envelope.payload
    signature = KEY.sign(dsse.pae(dsse.PAYLOAD_TYPE, payload), _ECDSA)
    envelope = Envelope(payload, signature, "")
    return Bundle(
        (0, 3),
        CERTIFICATE,
        "",
        logged(envelope.record_id, signature, CERTIFICATE),
        (authorities.granted(token(signature)),),
        envelope,
    )


def _by_key() -> Bundle:
    digest, signature = sha256(ARTIFACT), KEY.sign(ARTIFACT, _ECDSA)
    entry_by_key = logged(digest, signature, b"")
    return Bundle((0, 3), b"", "hint", entry_by_key, (), Message(signature, digest))


MESSAGE: Final = _message()
STATEMENT: Final = _statement()
BY_KEY: Final = _by_key()
