"""What a submission from an Azure confidential VM holds: paravisor report, vTPM quote, TD quote.

The form of our attester is JSON in its one spelling (RFC 8785), bytes in base64, registers in
hexadecimal in the order of their numbers; ``td_quote`` is there on TDX only::

    {"hcl_report":"…","pcrs":["…",…],"quote":"…","signature":"…","td_quote":"…",
     "type":"provreg/azure-vtpm/v1"}

Three forms that others publish are read as they are, in any spelling that has one meaning: version
1 (base64url and hexadecimal), the same inside ``{"platform":…,"evidence":…}``, and the one before,
whose bytes are lists of numbers. They may bring the certificate of the endorsement key, which is
judged like any endorsement. Nothing in these wrappers is signed, so nothing in them is believed.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

import msgspec

from registry.core import encoding
from registry.core.certificates import pem
from registry.core.certificates.chain import MAX_CERTIFICATE_BYTES
from registry.core.digest import SHA256_SIZE
from registry.core.encoding import Hex32, Value
from registry.core.evidence import base64url
from registry.core.evidence.azure.findings import AzureFinding
from registry.core.evidence.azure.hcl import HCL_BYTES
from registry.core.evidence.azure.tpm import MAX_QUOTE_BYTES, PCR_COUNT
from registry.core.evidence.checks import CheckError
from registry.errors import MalformedError

MAX_CONTAINER_BYTES: Final = 256 * 1024
"""Bytes of a submission; the oldest form takes 36 KiB, a TD quote in base64 7 KiB."""

MAX_SIGNATURE_BYTES: Final = 512
"""Bytes of the quote's signature: RSA-4096."""

MAX_TD_QUOTE_BYTES: Final = 64 * 1024
"""Bytes of a TD quote; real ones have at most 8,000."""

_OURS = b'{"hcl_report":'
_Octet = Annotated[int, msgspec.Meta(ge=0, le=255)]
_Octets = Annotated[tuple[_Octet, ...], msgspec.Meta(max_length=4096)]
_Registers = Annotated[tuple[Hex32, ...], msgspec.Meta(max_length=PCR_COUNT)]


@dataclass(frozen=True, slots=True)
class Submission:
    """What is submitted, as bytes; nothing of it is checked but its size.

    Attributes:
        hcl_report: The paravisor's report.
        quote: What the vTPM signed.
        signature: The vTPM's signature.
        pcrs: The registers, in the order of their numbers.
        td_quote: The quote of the trust domain; empty on SNP.
        key_certificate: DER of the endorsement key's certificate, if it came along; else empty.
    """

    hcl_report: bytes
    quote: bytes
    signature: bytes
    pcrs: tuple[bytes, ...]
    td_quote: bytes = b""
    key_certificate: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a submission in any of its forms.

        Raises:
            CheckError: ``CONTAINER``.
        """
        if len(data) > MAX_CONTAINER_BYTES:
            raise _unreadable(f"{len(data)} bytes")
        try:
            submission = cls._read(data)
        except MalformedError as error:
            raise _unreadable(str(error)[:400]) from error
        for what, size, limit in (
            ("paravisor report", len(submission.hcl_report), HCL_BYTES),
            ("quote", len(submission.quote), MAX_QUOTE_BYTES),
            ("signature", len(submission.signature), MAX_SIGNATURE_BYTES),
            ("TD quote", len(submission.td_quote), MAX_TD_QUOTE_BYTES),
            ("certificate", len(submission.key_certificate), MAX_CERTIFICATE_BYTES),
        ):
            if size > limit:
                raise _unreadable(f"the {what} has {size} bytes")
        return submission

    @classmethod
    def _read(cls, data: bytes) -> Self:
        if data.startswith(_OURS):
            own = encoding.read_json(data, _Own, what="submission")
            return cls(
                hcl_report=encoding.base64_bytes(own.hcl_report),
                quote=encoding.base64_bytes(own.quote),
                signature=encoding.base64_bytes(own.signature),
                pcrs=tuple(bytes.fromhex(pcr) for pcr in own.pcrs),
                td_quote=encoding.base64_bytes(own.td_quote),
            )
        value = encoding.read_foreign_json(data, what="submission")
        if not isinstance(value, dict):
            raise _unreadable("it is no object")
        if "quote" in value:
            old = encoding.convert(value, _NumberLists)
            return cls(
                hcl_report=bytes(old.report),
                quote=bytes(old.quote.message),
                signature=bytes(old.quote.signature),
                pcrs=tuple(bytes(pcr) for pcr in old.quote.pcrs),
                key_certificate=pem.certificates(old.vcek.encode())[0],
            )
        if "platform" in value:
            version_1 = encoding.convert(value, _Platform).evidence
        else:
            version_1 = encoding.convert(value, _Version1)
        quoted = version_1.tpm_quote
        return cls(
            hcl_report=base64url.read(version_1.hcl_report),
            quote=_hexadecimal(quoted.message),
            signature=_hexadecimal(quoted.signature),
            pcrs=tuple(bytes.fromhex(pcr) for pcr in quoted.pcrs),
            td_quote=base64url.read(version_1.td_quote),
            key_certificate=base64url.read(version_1.vcek),
        )

    def to_bytes(self) -> bytes:
        """Our own form; a certificate is no part of it."""
        return encoding.write_json(
            _Own(
                hcl_report=encoding.base64_text(self.hcl_report),
                quote=encoding.base64_text(self.quote),
                signature=encoding.base64_text(self.signature),
                pcrs=tuple(pcr.hex() for pcr in self.pcrs),
                td_quote=encoding.base64_text(self.td_quote),
                type="provreg/azure-vtpm/v1",
            )
        )


class _Own(Value, frozen=True):
    hcl_report: str
    pcrs: _Registers
    quote: str
    signature: str
    type: Literal["provreg/azure-vtpm/v1"]
    td_quote: str = ""


class _NumberQuote(Value, frozen=True):
    message: _Octets
    pcrs: Annotated[
        tuple[
            Annotated[
                tuple[_Octet, ...], msgspec.Meta(min_length=SHA256_SIZE, max_length=SHA256_SIZE)
            ],
            ...,
        ],
        msgspec.Meta(max_length=PCR_COUNT),
    ]
    signature: _Octets


class _NumberLists(Value, frozen=True):
    quote: _NumberQuote
    report: _Octets
    vcek: str


class _HexQuote(Value, frozen=True):
    message: str
    pcrs: _Registers
    signature: str


class _Version1(Value, frozen=True):
    version: Literal[1]
    hcl_report: str
    tpm_quote: _HexQuote
    td_quote: str = ""
    vcek: str = ""


class _Platform(Value, frozen=True):
    platform: Literal["az-snp", "az-tdx"]
    evidence: _Version1


def _hexadecimal(text: str) -> bytes:
    return encoding.hex_bytes(text, len(text) // 2)


def _unreadable(actual: str) -> CheckError:
    return CheckError(
        AzureFinding.CONTAINER, "this is no submission from an Azure virtual machine", actual=actual
    )
