"""SGX v3 and TDX v4 and v5 quotes: their byte layout, exactly.

A quote is a header, in version 5 a descriptor, a body, and signature data::

    header 48 ‖ [body type u16 ‖ body size u32] ‖ body ‖ n u32 ‖ n bytes ‖ padding

Integers are little-endian. Source: Intel SGX ECDSA QuoteLibReference, Intel TDX DCAP Quoting
Library API. What the attestation key signs is everything before ``n``; what names the evidence is
that, the attestation key and the quoting enclave's report. Certificates, authentication data and
padding are not signed.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from registry.core.evidence.checks import CheckError
from registry.core.evidence.intel.findings import Found

ECDSA_P256: Final = 2
"""The only attestation key type that is in use."""

TEE_SGX: Final = 0
TEE_TDX: Final = 0x81

INTEL_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""Who made the quoting enclave."""

HEADER_BYTES: Final = 48
DESCRIPTOR_BYTES: Final = 6
ENCLAVE_REPORT_BYTES: Final = 384
SIGNATURE_BYTES: Final = 64
KEY_BYTES: Final = 64

PCK_CHAIN: Final = 5
"""Certification data: PEM certificates, the platform's first."""

QE_REPORT_CERTIFICATION: Final = 6
"""Certification data of versions 4 and 5: the quoting enclave's report around the chain."""

_VERSIONS: Final = (3, 4, 5)
_V3, _V4, _V5 = _VERSIONS


class Body(IntEnum):
    """What is attested; the numbers are those of the descriptor of version 5."""

    ENCLAVE = 1
    TD_1_0 = 2
    TD_1_5 = 3


BODY_BYTES: Final = {Body.ENCLAVE: ENCLAVE_REPORT_BYTES, Body.TD_1_0: 584, Body.TD_1_5: 648}
"""The size of each kind of body."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the attestation key signs.

    Attributes:
        version: 3, 4 or 5.
        kind: What the body is.
        header: 48 bytes.
        descriptor: Six bytes in version 5, else none.
        body: An enclave's or a trust domain's report.
    """

    version: int
    kind: Body
    header: bytes
    descriptor: bytes
    body: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the signed part of a quote.

        Raises:
            CheckError: ``TRUNCATED``, ``UNKNOWN_VERSION``, ``UNKNOWN_KEY_TYPE``, ``TEE_TYPE`` or
                ``BODY_TYPE``.
        """
        header = _take(data, 0, HEADER_BYTES, "header")
        version = _number(header[0:2])
        if version not in _VERSIONS:
            raise CheckError(
                Found.UNKNOWN_VERSION, "no such quote", expected="3, 4 or 5", actual=str(version)
            )
        if _number(header[2:4]) != ECDSA_P256:
            raise CheckError(
                Found.UNKNOWN_KEY_TYPE,
                "the attestation key is of an unknown kind",
                expected=str(ECDSA_P256),
                actual=str(_number(header[2:4])),
            )
        tee = _number(header[4:8])
        if tee not in ({_V3: (TEE_SGX,), _V4: (TEE_TDX,)}.get(version, (TEE_SGX, TEE_TDX))):
            raise CheckError(
                Found.TEE_TYPE,
                f"version {version} is not for this kind of environment",
                actual=hex(tee),
            )
        kind = {_V3: Body.ENCLAVE, _V4: Body.TD_1_0}.get(version)
        start = HEADER_BYTES
        if kind is None:
            descriptor = _take(data, start, DESCRIPTOR_BYTES, "body descriptor")
            start += DESCRIPTOR_BYTES
            kind = _described(descriptor, tee)
        body = _take(data, start, BODY_BYTES[kind], "body")
        return cls(version, kind, header, data[HEADER_BYTES:start], body)

    @property
    def signed(self) -> bytes:
        """What the quote's signature is over."""
        return self.header + self.descriptor + self.body

    @property
    def is_tdx(self) -> bool:
        """Whether a trust domain is attested, not an enclave."""
        return self.kind is not Body.ENCLAVE

    @property
    def qe_vendor_id(self) -> bytes:
        """Who made the quoting enclave."""
        return self.header[12:28]


@dataclass(frozen=True, slots=True)
class Quote:
    """A whole quote.

    Attributes:
        head: What is signed.
        signature: r ‖ s, big-endian, by the attestation key.
        attestation_key: x ‖ y, big-endian, on P-256.
        qe_report: The quoting enclave's report.
        qe_report_signature: r ‖ s of the PCK certificate's key over it.
        qe_auth_data: What the report commits to beside the key.
        certification_data: PEM certificates.
        trailing: What follows the signature data.
    """

    head: Head
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_report_signature: bytes
    qe_auth_data: bytes
    certification_data: bytes
    trailing: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a quote.

        Raises:
            CheckError: As :meth:`Head.parse`, and ``TRUNCATED``, ``SIGNATURE_DATA_LENGTH`` or
                ``CERTIFICATION_DATA``.
        """
        return cls.follow(Head.parse(data), data)

    @classmethod
    def follow(cls, head: Head, data: bytes) -> Self:
        """Read what follows the signed part.

        Raises:
            CheckError: ``TRUNCATED``, ``SIGNATURE_DATA_LENGTH`` or ``CERTIFICATION_DATA``.
        """
        start = HEADER_BYTES + len(head.descriptor) + len(head.body)
        size = _number(_take(data, start, 4, "length of the signature data"))
        start += 4
        rest = _Rest(_take(data, start, size, "signature data"))
        signature = rest.take(SIGNATURE_BYTES, "signature")
        key = rest.take(KEY_BYTES, "attestation key")
        if head.version != _V3:
            # Everything that is left is wrapped once more.
            rest = _Rest(rest.certification(QE_REPORT_CERTIFICATION))
        qe_report = rest.take(ENCLAVE_REPORT_BYTES, "report of the quoting enclave")
        qe_signature = rest.take(SIGNATURE_BYTES, "signature of the quoting enclave's report")
        auth_size = _number(rest.take(2, "length of the authentication data"))
        auth_data = rest.take(auth_size, "authentication data")
        chain = rest.certification(PCK_CHAIN)
        return cls(
            head, signature, key, qe_report, qe_signature, auth_data, chain, data[start + size :]
        )

    def to_bytes(self) -> bytes:
        """The quote again."""
        chain = _certification(PCK_CHAIN, self.certification_data)
        auth = len(self.qe_auth_data).to_bytes(2, "little") + self.qe_auth_data
        inner = self.qe_report + self.qe_report_signature + auth + chain
        if self.head.version != _V3:
            inner = _certification(QE_REPORT_CERTIFICATION, inner)
        data = self.signature + self.attestation_key + inner
        return self.head.signed + len(data).to_bytes(4, "little") + data + self.trailing

    @property
    def regions(self) -> tuple[bytes, bytes, bytes]:
        """What names the evidence: the signed part, the key, the quoting enclave's report."""
        return (self.head.signed, self.attestation_key, self.qe_report)


class _Rest:
    """Reads one length after the other, and wants all to fit exactly."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int, what: str) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise CheckError(
                Found.SIGNATURE_DATA_LENGTH,
                f"the signature data ends inside the {what}",
                expected=f"{size} bytes",
                actual=f"{len(self._data) - self._position} bytes",
            )
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def certification(self, kind: int) -> bytes:
        """The last thing in it: a type, a length and exactly so many bytes."""
        found = _number(self.take(2, "type of the certification data"))
        size = _number(self.take(4, "length of the certification data"))
        left = len(self._data) - self._position
        if size != left:
            raise CheckError(
                Found.SIGNATURE_DATA_LENGTH,
                "the certification data is not as long as what is left",
                expected=f"{left} bytes",
                actual=f"{size} bytes",
            )
        if found != kind:
            raise CheckError(
                Found.CERTIFICATION_DATA,
                "the certification data is of another kind",
                expected=str(kind),
                actual=str(found),
            )
        return self.take(size, "certification data")


def _certification(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "little") + len(data).to_bytes(4, "little") + data


def _described(descriptor: bytes, tee: int) -> Body:
    number, size = _number(descriptor[:2]), _number(descriptor[2:])
    kind = next((item for item in Body if item == number), None)
    if kind is None or size != BODY_BYTES[kind] or (kind is Body.ENCLAVE) != (tee == TEE_SGX):
        raise CheckError(
            Found.BODY_TYPE,
            "the body is not what its descriptor says",
            expected=f"a body for TEE type {hex(tee)}",
            actual=f"type {number}, {size} bytes",
        )
    return kind


def _take(data: bytes, start: int, size: int, what: str) -> bytes:
    if len(data) - start < size:
        raise CheckError(
            Found.TRUNCATED,
            f"the quote ends inside its {what}",
            expected=f"{size} bytes at {start}",
            actual=f"{max(0, len(data) - start)} bytes",
        )
    return data[start : start + size]


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
