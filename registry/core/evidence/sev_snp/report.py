"""Attestation reports of SEV-SNP, versions 2 to 5: every byte accounted for.

The layout is that of the SEV Secure Nested Paging Firmware ABI Specification (AMD 56860, table
"ATTESTATION_REPORT"): 1184 bytes, little-endian, of which the first 672 are signed.
"""

from dataclasses import dataclass
from typing import Final, Self

from registry.core.evidence.checks import CheckError
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.sev_snp.product import TCB_BYTES, ProductLine, line_of

REPORT_BYTES: Final = 0x4A0
"""Bytes of a report."""

SIGNED_BYTES: Final = 0x2A0
"""Bytes of a report that are signed, from its beginning."""

FIRST_VERSION: Final = 2
"""The oldest version of the report that real firmware makes."""

LAST_VERSION: Final = 5
"""The newest version of the report that is read here."""

FMS_VERSION: Final = 3
"""From this version on the report names the processor by family, model and stepping."""

MITIGATION_VERSION: Final = 5
"""From this version on the report has mitigation vectors."""

ECDSA_P384: Final = 1
"""The signature algorithm: ECDSA on P-384 with SHA-384."""

VCEK: Final = 0
"""The report is signed by the key of the chip."""

VLEK: Final = 1
"""The report is signed by a key that AMD loaded for a cloud provider."""

NO_KEY: Final = 7
"""The report is not signed."""

POLICY_KNOWN: Final = (1 << 26) - 1
"""Bits of the guest policy that have a meaning: ABI versions and bits 16 to 25."""

PLATFORM_KNOWN: Final = 0b1011_1111
"""Bits of the platform information that have a meaning: 0 to 5 and 7."""

PLATFORM_SEEN: Final = 0b0100_0000
"""Bit 6: reserved in the specification, and set by the firmware of real Turin processors."""

_POLICY_BIT_17 = 1 << 17
_SIGNER_KNOWN = 0b1_1111
_SCALAR_BYTES = 72
_P384_BYTES = 48


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says; names are the specification's.

    Attributes:
        signed: The bytes under the signature.
        policy: What the guest allows, as bits.
        platform_info: What the platform has, as bits.
        signer_info: Bit 0 AUTHOR_KEY_EN, bit 1 MASK_CHIP_KEY, bits 2 to 4 the signing key.
        cpu: CPUID family, model and stepping; None before version 3.
        current: Version of the running firmware, ``major << 16 | minor << 8 | build``.
        committed: The one below which it can not go back.
        mitigations: Vectors of verified mitigations at launch and now; None before version 5.
        r: First half of the signature.
        s: Second half of the signature.
    """

    signed: bytes
    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    current_tcb: bytes
    platform_info: int
    signer_info: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpu: tuple[int, int, int] | None
    chip_id: bytes
    committed_tcb: bytes
    current: int
    committed: int
    launch_tcb: bytes
    mitigations: tuple[int, int] | None
    r: int
    s: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a report.

        Raises:
            CheckError: ``REPORT_SIZE``, ``REPORT_VERSION``, ``SIGNATURE_ALGORITHM``,
                ``RESERVED_NONZERO``, ``POLICY_BIT_17`` or ``SIGNATURE_PADDING``.
        """
        if len(data) != REPORT_BYTES:
            raise CheckError(
                SNPFinding.REPORT_SIZE,
                "this is not as long as a report",
                expected=f"{REPORT_BYTES} bytes",
                actual=f"{len(data)} bytes",
            )
        version = _number(data, 0x000, 4)
        if not FIRST_VERSION <= version <= LAST_VERSION:
            raise CheckError(
                SNPFinding.REPORT_VERSION,
                "this version of the report is not known here",
                expected=f"{FIRST_VERSION} to {LAST_VERSION}",
                actual=str(version),
            )
        algorithm = _number(data, 0x034, 4)
        if algorithm != ECDSA_P384:
            raise CheckError(
                SNPFinding.SIGNATURE_ALGORITHM,
                "the report names another signature algorithm",
                expected=f"{ECDSA_P384}, ECDSA P-384 with SHA-384",
                actual=str(algorithm),
            )
        _check_reserved(data, version)
        policy = _number(data, 0x008, 8)
        if not policy & _POLICY_BIT_17:
            raise CheckError(
                SNPFinding.POLICY_BIT_17,
                "bit 17 of the guest policy is clear, and no firmware launches such a guest",
                actual=hex(policy),
            )
        named = version >= FMS_VERSION
        vectors = version >= MITIGATION_VERSION
        return cls(
            signed=data[:SIGNED_BYTES],
            version=version,
            guest_svn=_number(data, 0x004, 4),
            policy=policy,
            family_id=data[0x010:0x020],
            image_id=data[0x020:0x030],
            vmpl=_number(data, 0x030, 4),
            current_tcb=data[0x038:0x040],
            platform_info=_number(data, 0x040, 8),
            signer_info=_number(data, 0x048, 4),
            report_data=data[0x050:0x090],
            measurement=data[0x090:0x0C0],
            host_data=data[0x0C0:0x0E0],
            id_key_digest=data[0x0E0:0x110],
            author_key_digest=data[0x110:0x140],
            report_id=data[0x140:0x160],
            report_id_ma=data[0x160:0x180],
            reported_tcb=data[0x180 : 0x180 + TCB_BYTES],
            cpu=(data[0x188], data[0x189], data[0x18A]) if named else None,
            chip_id=data[0x1A0:0x1E0],
            committed_tcb=data[0x1E0 : 0x1E0 + TCB_BYTES],
            # Build, minor, major: little-endian, they are one number that grows with each.
            current=_number(data, 0x1E8, 3),
            committed=_number(data, 0x1EC, 3),
            launch_tcb=data[0x1F0 : 0x1F0 + TCB_BYTES],
            mitigations=(_number(data, 0x1F8, 8), _number(data, 0x200, 8)) if vectors else None,
            r=_scalar(data, 0x2A0, "r"),
            s=_scalar(data, 0x2E8, "s"),
        )

    @property
    def author_key(self) -> bool:
        """Whether an author key signed the key of the identity block."""
        return bool(self.signer_info & 1)

    @property
    def mask_chip_key(self) -> bool:
        """Whether the platform withholds the signature."""
        return bool(self.signer_info & 2)

    @property
    def signing_key(self) -> int:
        """Which key signed: :data:`VCEK`, :data:`VLEK`, :data:`NO_KEY` or one not known here."""
        return self.signer_info >> 2 & 7

    @property
    def line(self) -> ProductLine | None:
        """The product line by the processor's name; None if there is none or it is not known."""
        return line_of(self.cpu[0], self.cpu[1]) if self.cpu is not None else None


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _check_reserved(data: bytes, version: int) -> None:
    """What the specification says must be zero is zero."""
    if _number(data, 0x048, 4) & ~_SIGNER_KNOWN:
        raise _reserved("signer information", 0x048)
    gaps = (
        (0x04C, 0x050),
        (0x18B if version >= FMS_VERSION else 0x188, 0x1A0),
        (0x1EB, 0x1EC),
        (0x1EF, 0x1F0),
        (0x208 if version >= MITIGATION_VERSION else 0x1F8, SIGNED_BYTES),
    )
    for start, end in gaps:
        if any(data[start:end]):
            raise _reserved(f"bytes {start:#05x} to {end - 1:#05x}", start)
    tail = SIGNED_BYTES + 2 * _SCALAR_BYTES
    if any(data[tail:]):
        raise CheckError(SNPFinding.SIGNATURE_PADDING, "the bytes after the signature are not zero")


def _reserved(where: str, start: int) -> CheckError:
    return CheckError(
        SNPFinding.RESERVED_NONZERO,
        "reserved bits of the report are set",
        where=where,
        actual=f"at offset {start:#05x}",
    )


def _scalar(data: bytes, at: int, name: str) -> int:
    """One half of the signature: 48 bytes, little-endian, in a field of 72."""
    if any(data[at + _P384_BYTES : at + _SCALAR_BYTES]):
        raise CheckError(
            SNPFinding.SIGNATURE_PADDING,
            "a half of the signature is longer than 48 little-endian bytes",
            where=name,
        )
    return _number(data, at, _P384_BYTES)
