"""The fake AMD: reports of any version on any product line, under roots of its own.

::

    minted = mint(Spec(line=ProductLine.GENOA, report_data=commitment))
    examine(minted.evidence, minted.endorsements, NOON, ROOTS())

Every defect is a field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from registry.core.digest import sha256
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.roots import Roots, Vendor
from registry.core.evidence.sev_snp.product import ProductLine
from tools.fake_vendor import pki
from tools.fake_vendor.amd_certificates import (
    amd_name,
    authorities,
    authority_keys,
    certificate,
    integer,
    sequence,
    text,
    tlv,
)

NOON: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""A moment at which everything that is minted by default is valid."""

KEY_START: Final = datetime(2026, 5, 2, 12, tzinfo=UTC)
"""When endorsement keys are certified by default: 30 days before, as AMD does."""

VCEK_LIFE: Final = timedelta(days=7 * 365)
"""How long a VCEK lives."""

VLEK_LIFE: Final = timedelta(days=365)
"""How long a VLEK lives."""

Signature = Literal[
    "good", "high-s", "zero-r", "zero-s", "order-r", "order-s", "big-endian", "padded", "tail",
    "other-key",
]  # fmt: skip
"""How a report is signed, or what is wrong with its signature."""

_VENDORS = {
    ProductLine.MILAN: Vendor.AMD_MILAN,
    ProductLine.GENOA: Vendor.AMD_GENOA,
    ProductLine.TURIN: Vendor.AMD_TURIN,
}
_CPUS = {
    ProductLine.MILAN: (0x19, 0x01, 1),
    ProductLine.GENOA: (0x19, 0x11, 1),
    ProductLine.TURIN: (0x1A, 0x02, 1),
}
_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
_EARLY = ("bl", "tee", "", "", "", "", "snp", "ucode")
_TURIN = ("fmc", "bl", "tee", "snp", "", "", "", "ucode")
_OIDS = {"bl": 1, "tee": 2, "snp": 3, "ucode": 8, "fmc": 9}
_AMD = bytes.fromhex("2b060104019c7801")


@dataclass(frozen=True)
class Spec:
    """One report and the certificates around it; the defaults have nothing wrong.

    Attributes:
        line: The product line of everything.
        version: Version of the report, 2 to 5.
        vlek: Whether a cloud's key signs, instead of the chip's.
        tcb: Security versions of the firmware that runs, is committed, launched the guest and is
            reported.
        chip: The chip's name: 64 bytes, or the 8 of Turin.
        policy: The guest policy.
        signer_info: What the report says of its signing key; None says the truth.
        cpu: Family, model and stepping; None says the truth.
        patches: Offsets of the report and what is put there before it is signed.
        after: The same, after it is signed.
        signature: What is wrong with the signature.
        cert_line: The product line in the certificate; None is that of everything.
        cert_tcb: Security versions in the certificate; None is what the report says.
        cert_name: Common name of the certificate; None says the truth.
        hwid: The chip in the certificate; None is that of the report.
        hwid_octets: Whether it stands in a DER OCTET STRING.
        extensions: Numbers of AMD's extensions below ``1.3.6.1.4.1.3704.1`` and their values
            instead; None leaves one out.
        twice: An extension that is there twice.
        critical: Whether a critical extension that nobody knows is there.
        curve: The curve of the endorsement key.
        start: When the certificate begins.
        life: How long it lives; None as long as AMD's do.
        issuer: Who issues it; ``wrong`` is the authority of the other kind of key.
        forged: Whether the authorities are others with the right names.
        broken: Whether a bit of the certificate's signature is flipped.
        chain: The line whose authorities are handed over; None is the right one.
    """

    line: ProductLine = ProductLine.MILAN
    version: int = 5
    vlek: bool = False
    tcb: Mapping[str, int] = field(
        default_factory=lambda: {"fmc": 0, "bl": 4, "tee": 0, "snp": 24, "ucode": 219}
    )
    chip: bytes | None = None
    policy: int = 0x30000
    vmpl: int = 0
    platform_info: int = 0x25
    guest_svn: int = 0
    signer_info: int | None = None
    cpu: tuple[int, int, int] | None = None
    report_data: bytes = bytes(64)
    measurement: bytes = b"\x5a" * 48
    host_data: bytes = bytes(32)
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    mitigations: tuple[int, int] = (0x0B, 0x0B)
    patches: Sequence[tuple[int, bytes]] = ()
    after: Sequence[tuple[int, bytes]] = ()
    signature: Signature = "good"
    cert_line: ProductLine | None = None
    cert_tcb: Mapping[str, int] | None = None
    cert_name: str | None = None
    hwid: bytes | None = None
    hwid_octets: bool = False
    extensions: Mapping[str, bytes | None] = field(default_factory=dict)
    twice: str = ""
    critical: bool = False
    curve: Literal["P-384", "P-256"] = "P-384"
    start: datetime = KEY_START
    life: timedelta | None = None
    issuer: Literal["right", "wrong"] = "right"
    forged: bool = False
    broken: bool = False
    chain: ProductLine | None = None


@dataclass(frozen=True)
class Minted:
    """A report and what AMD would publish about it."""

    evidence: bytes
    key_certificate: bytes
    endorsements: Endorsements


def roots() -> Roots:
    """The vendors' roots and those of the fake one, named as whoever trusts it must name them."""
    return Roots.also(
        (_VENDORS[line], sha256(authorities(line).ark.der).hex()) for line in ProductLine
    )


def revocation_list(
    line: ProductLine,
    revoked: Sequence[tuple[int, datetime, x509.ReasonFlags | None]] = (),
    *,
    signer: Literal["ark", "ask", "named"] = "ark",
    this_update: datetime = KEY_START,
    life: timedelta = timedelta(days=365),
) -> bytes:
    """A CRL of the ARK; or of the ASK, under its own name or under that of the ARK (``named``)."""
    all_ = authorities(line)
    issuer = {
        "ark": all_.ark,
        "ask": all_.ask,
        "named": pki.Holder(all_.ark.certificate, all_.ask.key),
    }[signer]
    return pki.revocation_list(issuer, revoked, this_update=this_update, life=life, pss=True)


def mint(spec: Spec | None = None, *, lists: Sequence[bytes] = ()) -> Minted:
    """Make a report, its endorsement key's certificate, and everything around it.

    Args:
        spec: What they say, and what is wrong with them.
        lists: Revocation lists to add.
    """
    wanted = spec or Spec()
    certificate = key_certificate(wanted)
    chain = authorities(wanted.chain or wanted.line, forged=wanted.forged)
    endorsements = Endorsements.of(
        (
            (Role.AMD_VEK, certificate),
            (Role.AMD_CHAIN, chain.chain(vlek=wanted.vlek != (wanted.issuer == "wrong"))),
            *((Role.AMD_CRL, data) for data in lists),
        )
    )
    return Minted(report(wanted), certificate, endorsements)


def report(spec: Spec) -> bytes:
    """The 1184 bytes of a report."""
    body = bytearray(0x4A0)
    tcb = tcb_bytes(spec.line, spec.tcb)
    firmware = bytes((29, 55, 1, 0))
    signer = spec.signer_info
    if signer is None:
        signer = int(any(spec.author_key_digest)) | (4 if spec.vlek else 0)
    fields: list[tuple[int, bytes]] = [
        (0x000, spec.version.to_bytes(4, "little")),
        (0x004, spec.guest_svn.to_bytes(4, "little")),
        (0x008, spec.policy.to_bytes(8, "little")),
        (0x010, spec.family_id),
        (0x020, spec.image_id),
        (0x030, spec.vmpl.to_bytes(4, "little")),
        (0x034, (1).to_bytes(4, "little")),
        (0x038, tcb),
        (0x040, spec.platform_info.to_bytes(8, "little")),
        (0x048, signer.to_bytes(4, "little")),
        (0x050, spec.report_data),
        (0x090, spec.measurement),
        (0x0C0, spec.host_data),
        (0x0E0, spec.id_key_digest),
        (0x110, spec.author_key_digest),
        (0x140, sha256(spec.report_data + spec.measurement)),
        (0x160, b"\xff" * 32),
        (0x180, tcb),
        (0x1A0, bytes(64) if spec.vlek else _chip(spec).ljust(64, b"\0")),
        (0x1E0, tcb),
        (0x1E8, firmware),
        (0x1EC, firmware),
        (0x1F0, tcb),
    ]
    if spec.version >= 3:  # noqa: PLR2004 - the first version that names the processor
        fields.append((0x188, bytes(spec.cpu or _CPUS[spec.line])))
    if spec.version >= 5:  # noqa: PLR2004 - the first version with mitigation vectors
        fields += [
            (0x1F8 + 8 * at, vector.to_bytes(8, "little"))
            for at, vector in enumerate(spec.mitigations)
        ]
    for at, data in (*fields, *spec.patches):
        body[at : at + len(data)] = data
    body[0x2A0:] = _signature(spec, bytes(body[:0x2A0]))
    for at, data in spec.after:
        body[at : at + len(data)] = data
    return bytes(body)


def tcb_bytes(line: ProductLine, tcb: Mapping[str, int]) -> bytes:
    """The eight bytes of a TCB version."""
    layout = _TURIN if line is ProductLine.TURIN else _EARLY
    return bytes(tcb.get(name, 0) for name in layout)


def key_certificate(spec: Spec) -> bytes:
    """The certificate of an endorsement key, as DER."""
    all_ = authorities(spec.line, forged=spec.forged)
    signer = all_.asvk if spec.vlek != (spec.issuer == "wrong") else all_.ask
    name = spec.cert_name or ("SEV-VLEK" if spec.vlek else "SEV-VCEK")
    life = spec.life or (VLEK_LIFE if spec.vlek else VCEK_LIFE)
    key = _key(spec).public_key()
    issuer, issuing = signer.certificate.subject, authority_keys(forged=spec.forged)[1]
    data = certificate(
        0, issuer, (spec.start, life), amd_name(name), key, _extensions(spec), issuing
    )
    return data[:-1] + bytes((data[-1] ^ 1,)) if spec.broken else data


def _extensions(spec: Spec) -> list[bytes]:
    line = spec.cert_line or spec.line
    tcb = spec.tcb if spec.cert_tcb is None else spec.cert_tcb
    values: dict[str, bytes | None] = {
        "1": integer(1 if line is ProductLine.TURIN else 0),
        "2": text("Milan-B0" if line is ProductLine.MILAN and not spec.vlek else line),
    }
    named = [name for name in _OIDS if name != "fmc" or line is ProductLine.TURIN]
    values |= {f"3.{_OIDS[name]}": integer(tcb[name]) for name in named}
    values |= {f"3.{number}": integer(0) for number in (5, 6, 7)}
    if line is not ProductLine.TURIN:
        values["3.4"] = integer(0)
    if spec.vlek:
        values["5"] = text("CN=cc-test.cloud.example")
    else:
        hwid = _chip(spec) if spec.hwid is None else spec.hwid
        values["4"] = tlv(0x04, hwid) if spec.hwid_octets else hwid
    values |= spec.extensions
    found = [_extension(oid, value) for oid, value in values.items() if value is not None]
    if spec.twice:
        found.append(_extension(spec.twice, values[spec.twice] or b""))
    if spec.critical:
        found.append(sequence(tlv(0x06, _AMD + b"\x63"), b"\x01\x01\xff", tlv(0x04, b"\x05\0")))
    return found


def _extension(below: str, value: bytes) -> bytes:
    oid = _AMD + bytes(int(part) for part in below.split("."))
    return sequence(tlv(0x06, oid), tlv(0x04, value))


def _signature(spec: Spec, signed: bytes) -> bytes:
    key = pki.p384("another chip") if spec.signature == "other-key" else _key(spec)
    r, s = decode_dss_signature(
        key.sign(signed, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
    )
    # Both are good; which one chance would have made must not matter.
    s = max(s, _ORDER - s) if spec.signature == "high-s" else min(s, _ORDER - s)
    if spec.signature.startswith(("zero", "order")):
        value = 0 if spec.signature.startswith("zero") else _ORDER
        r, s = (value, s) if spec.signature.endswith("r") else (r, value)
    order: Literal["big", "little"] = "big" if spec.signature == "big-endian" else "little"
    halves = bytearray(r.to_bytes(72, order) + s.to_bytes(72, order) + bytes(368))
    if spec.signature in ("padded", "tail"):
        halves[48 if spec.signature == "padded" else -1] = 1
    return bytes(halves)


def _key(spec: Spec) -> ec.EllipticCurvePrivateKey:
    which = "cloud" if spec.vlek else _chip(spec).hex()
    make = pki.p384 if spec.curve == "P-384" else pki.p256
    return make(f"amd {spec.line} {which}")


def _chip(spec: Spec) -> bytes:
    size = 8 if spec.line is ProductLine.TURIN else 64
    return b"\xc4" * size if spec.chip is None else spec.chip
