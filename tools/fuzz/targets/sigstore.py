"""Targets of Sigstore and RFC 3161: bundles, roots, log entries, certificates, timestamps."""

from contextlib import suppress
from typing import Final

from registry.core.archive import authority, timestamp, tsp
from registry.core.attestation.bundle import Bundle
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import open_bundle
from registry.core.certificates.sct import verify_sct
from registry.core.certificates.signing import SigningCertificate
from registry.core.digest import sha256
from registry.core.keys import PublicKey
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.errors import RegistryError
from tests.authorities import NOON, granted
from tests.private_certificates import Leaf
from tools.fuzz import sigstore
from tools.fuzz.edits import lines
from tools.fuzz.elements import der
from tools.fuzz.members import members
from tools.fuzz.sigstore import ARTIFACT, BY_KEY, CA, CT, MESSAGE, SIGNER, STATEMENT, TRUST, TSA
from tools.fuzz.target import Target, stable

_TOKEN: Final = sigstore.token(ARTIFACT)
_PINNED: Final = authority.Authority(TSA.chain)
_KEY: Final = PublicKey.parse(sigstore.TOLD_KEY)
_stable_bundle: Final = stable(Bundle.parse, Bundle.to_bytes)
_stable_trust: Final = stable(Trust.parse, lambda trust: trust.root.to_bytes())


def _bundle(data: bytes) -> None:
    read = Bundle.parse(data)
    # Only what is written as version 0.3 has one more spelling to agree with.
    if read.version == (0, 3):
        _stable_bundle(data)
    with suppress(RegistryError):
        expected = SIGNER if read.certificate else _KEY
        open_bundle(read, TRUST, expected, artifact=sha256(ARTIFACT))


def _trust(data: bytes) -> None:
    _stable_trust(data)
    trust = Trust.parse(data)
    for bundle in (MESSAGE, STATEMENT):
        with suppress(RegistryError):
            open_bundle(bundle, trust, SIGNER, artifact=sha256(ARTIFACT))


def _certificate(data: bytes) -> bytes:
    read = SigningCertificate.parse(data)
    with suppress(RegistryError):
        verify_sct(data, CA.der, (CT.trusted(),))
    return read.der


def _token(data: bytes) -> None:
    timestamp.open_token(data, ARTIFACT, _PINNED)


def _request(data: bytes) -> bytes | None:
    read = tsp.Request.parse(data)
    # Extensions and algorithms that nobody takes are read, to be refused with their reason.
    return read.to_bytes() if read.algorithm and not read.extensions else None


def _response(data: bytes) -> None:
    token = tsp.granted_token(data)
    with suppress(RegistryError):
        timestamp.open_token(token, ARTIFACT, _PINNED)


def _authority(data: bytes) -> None:
    read = authority.Authority.parse_pem(data)
    with suppress(RegistryError):
        read.check_validity(NOON)
    if authority.Authority.parse_pem(read.pem).chain != read.chain:
        message = "written back as another chain"
        raise AssertionError(message)


TARGETS: Final = (
    Target(
        "bundle",
        tuple(bundle.to_bytes() for bundle in (MESSAGE, STATEMENT, BY_KEY)),
        _bundle,
        (members,),
    ),
    Target("trusted-root", (TRUST.root.to_bytes(),), _trust, (members,)),
    Target(
        "log-entry-json",
        tuple(bundle.entry.to_bytes() for bundle in (MESSAGE, STATEMENT, BY_KEY)),
        stable(TransparencyLogEntry.parse, TransparencyLogEntry.to_bytes),
        (members,),
    ),
    Target(
        "certificate",
        (sigstore.CERTIFICATE, Leaf(issuer_raw=None).plain(CA)),
        _certificate,
        (der,),
    ),
    Target(
        "timestamp-request",
        (
            tsp.Request("sha256", sha256(ARTIFACT), nonce=2**63, with_certificate=True).to_bytes(),
            tsp.Request("sha512", b"d" * 64, policy="1.2.3.4").to_bytes(),
        ),
        _request,
        (der,),
    ),
    Target("timestamp-token", (_TOKEN, TSA.token(ARTIFACT, at=NOON)), _token, (der,)),
    Target("timestamp-response", (granted(_TOKEN),), _response, (der,)),
    Target("timestamp-authority", (_PINNED.pem,), _authority, (lines,)),
)
"""Every decoder of Sigstore and of timestamps."""
