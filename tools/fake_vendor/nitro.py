"""AWS Nitro documents of the fake vendor: a chain of five levels, CRLs, and any defect one wants.

::

    minted = mint(Spec(signed_at=NOON, user_data=commitment))
    examine(minted.evidence, minted.endorsements, NOON, minted.roots)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from registry.core.digest import sha256
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.roots import Roots, Vendor
from tools.fake_vendor import pki
from tools.fake_vendor.pki import Holder, PrivateKey

NOON: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""When a document is made if nobody says otherwise."""

CRL_BASE: Final = "http://crl.nitro.test"
"""Where the lists are, certificates say, if nobody says otherwise."""

PROTECTED: Final = bytes.fromhex("a1013822")
"""The protected header of a real document."""

ORDER_P384: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffff"
    "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
"""How many points the curve has: s and this number minus s are both good."""

MODULE_ID: Final = "i-0123456789abcdef0-enc0123456789abcdef"
"""The enclave of a document."""


@dataclass(frozen=True)
class Level:
    """How one certificate of the chain is issued.

    Attributes:
        common: Its common name, which also chooses its key.
        ago: How long before the document it was issued.
        life: How long it lives.
        ca: Whether it may issue.
        path_length: How many authorities may follow.
        point: The name of the list that may revoke it; empty for none.
        key: Another key than that of its name.
        sha256: Whether its issuer signs with SHA-256 instead of SHA-384.
        usage: Whether to state basic constraints and key usage.
        extensions: Further extensions, and whether each is critical.
    """

    common: str
    ago: timedelta
    life: timedelta
    ca: bool = True
    path_length: int | None = None
    point: str = ""
    key: PrivateKey | None = None
    sha256: bool = False
    usage: bool = True
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = ()


ROOT: Final = Level("aws.nitro-enclaves", timedelta(0), pki.FOREVER)
REGION: Final = Level(
    "region.aws.nitro-enclaves", timedelta(days=4), timedelta(days=20), path_length=2, point="root"
)
ZONE: Final = Level(
    "zone.aws.nitro-enclaves", timedelta(days=1), timedelta(days=6), path_length=1, point="region"
)
INSTANCE: Final = Level(
    "instance.aws.nitro-enclaves", timedelta(hours=3), timedelta(days=1), path_length=0
)
LEAF: Final = Level(
    f"{MODULE_ID}.region.aws", timedelta(seconds=3), timedelta(hours=3, seconds=3), ca=False
)

LEVELS: Final = (ROOT, REGION, ZONE, INSTANCE, LEAF)
"""The chain of a real document."""


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Spec:
    """One document. What is not stated is as a real one has it.

    Attributes:
        signed_at: When it is made.
        user_data: What the enclave gives.
        nonce: As ``user_data``.
        public_key: As ``user_data``.
        pcrs: The measurements.
        levels: The chain.
        root: Which of the fake vendor's roots; another name is another key.
        crl_base: Where the lists are, certificates say.
        indefinite: Whether the map leaves its length open, as newer firmware does.
        fields: Edits the fields before they are written.
        payload: Edits the payload before it is signed.
        protected: The protected header.
        unprotected: The unprotected header.
        signer: Another key that signs than the leaf's.
        signature: Edits the signature.
        message: Edits the finished message.
    """

    signed_at: datetime = NOON
    user_data: bytes | None = None
    nonce: bytes | None = None
    public_key: bytes | None = None
    pcrs: Mapping[int, bytes] = field(
        default_factory=lambda: {
            index: bytes([index + 1] * 48) if index < 5 else bytes(48)  # noqa: PLR2004 - as real ones
            for index in range(16)
        }
    )
    levels: tuple[Level, ...] = LEVELS
    root: str = "nitro"
    crl_base: str = CRL_BASE
    indefinite: bool = False
    fields: Callable[[dict[Any, Any]], dict[Any, Any]] = _same
    payload: Callable[[bytes], bytes] = _same
    protected: bytes = PROTECTED
    unprotected: Mapping[Any, Any] = field(default_factory=dict)
    signer: ec.EllipticCurvePrivateKey | None = None
    signature: Callable[[bytes], bytes] = _same
    message: Callable[[bytes], bytes] = _same


@dataclass(frozen=True)
class Minted:
    """A document, and what is needed to judge it.

    Attributes:
        evidence: The document.
        chain: Root first, leaf last.
        endorsements: A CRL by every authority that publishes one.
        roots: With the fake vendor's root named.
    """

    evidence: bytes
    chain: tuple[Holder, ...]
    endorsements: Endorsements
    roots: Roots


def mint(spec: Spec | None = None) -> Minted:
    """Make a document."""
    spec = spec or Spec()
    chain = issue(spec.signed_at, spec.levels, spec.root, spec.crl_base)
    fields = spec.fields(
        {
            "module_id": MODULE_ID,
            "digest": "SHA384",
            "timestamp": int(spec.signed_at.timestamp() * 1000) + 388,
            "pcrs": dict(spec.pcrs),
            "certificate": chain[-1].der,
            "cabundle": [holder.der for holder in chain[:-1]],
            "public_key": spec.public_key,
            "user_data": spec.user_data,
            "nonce": spec.nonce,
        }
    )
    payload = cbor2.dumps(fields)
    if spec.indefinite:
        payload = b"\xbf" + payload[1:] + b"\xff"
    payload = spec.payload(payload)
    key = spec.signer or chain[-1].key
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        message = "a document is signed with an elliptic curve"
        raise TypeError(message)
    signed = cbor2.dumps(["Signature1", spec.protected, b"", payload])
    signature = spec.signature(sign(key, signed))
    written = cbor2.dumps([spec.protected, dict(spec.unprotected), payload, signature])
    roots = Roots.also([(Vendor.AWS_NITRO, sha256(chain[0].der).hex())])
    lists = [(Role.NITRO_CRL, der) for der in revocation_lists(chain, spec.signed_at).values()]
    return Minted(spec.message(written), chain, Endorsements.of(lists), roots)


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """An ES384 signature: r and s, big-endian."""
    r, s = decode_dss_signature(
        key.sign(data, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
    )
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def high_s(signature: bytes) -> bytes:
    """The other signature that is as good."""
    half = len(signature) // 2
    s = ORDER_P384 - int.from_bytes(signature[half:], "big")
    return signature[:half] + s.to_bytes(half, "big")


@lru_cache(maxsize=64)
def issue(
    at: datetime,
    levels: Sequence[Level] = LEVELS,
    root: str = "nitro",
    crl_base: str = CRL_BASE,
) -> tuple[Holder, ...]:
    """Issue a chain for a document made at a time; the root first."""
    chain: list[Holder] = []
    for level in levels:
        extensions = list(level.extensions)
        if level.point:
            address = x509.UniformResourceIdentifier(f"{crl_base}/crl/{level.point}.crl")
            point = x509.DistributionPoint([address], None, None, None)
            extensions.append((x509.CRLDistributionPoints([point]), False))
        key = level.key or pki.p384(f"{root} {level.common}")
        if level.ca:
            identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
            extensions.append((identifier, False))
        chain.append(
            pki.issue(
                pki.name(level.common, C="US", O="Fake Vendor"),
                key,
                chain[-1] if chain else None,
                start=at - level.ago if level.ago else pki.START,
                life=level.life,
                ca=level.ca,
                path_length=level.path_length,
                hash_=hashes.SHA256() if level.sha256 else hashes.SHA384(),
                usage=level.usage,
                extensions=extensions,
            )
        )
    return tuple(chain)


def revocation_lists(
    chain: Sequence[Holder],
    at: datetime,
    *,
    revoked: Mapping[int, tuple[datetime, x509.ReasonFlags | None]] | None = None,
    ago: timedelta = timedelta(hours=6),
    life: timedelta = timedelta(days=7),
) -> dict[str, bytes]:
    """The lists of a chain's authorities that publish one, by the name of the authority.

    Args:
        chain: Root first.
        at: When the document is made.
        revoked: Place in the chain → when it was revoked, and why.
        ago: How long before ``at`` the lists were made.
        life: How long they hold.
    """
    gone = revoked or {}
    made: dict[str, bytes] = {}
    for place, name in enumerate(("root", "region")):
        if place + 1 >= len(chain):
            break
        child = chain[place + 1]
        entries = [(child.certificate.serial_number, *gone[place + 1])] if place + 1 in gone else []
        made[name] = pki.revocation_list(
            chain[place], entries, this_update=at - ago, life=life, hash_=hashes.SHA384()
        )
    return made


def with_level(place: int, **changes: Any) -> tuple[Level, ...]:
    """The chain of a real document with one level changed."""
    return (*LEVELS[:place], replace(LEVELS[place], **changes), *LEVELS[place + 1 :])
