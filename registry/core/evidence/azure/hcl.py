"""The report of Azure's paravisor (HCL): a hardware report, and the runtime data it commits to.

2600 bytes, as they lie in the vTPM (NV index 0x01400001), little-endian::

    "HCLA" ‖ version u32 ‖ size u32 ‖ request type 2 ‖ status u32 ‖ 12 zero
    ‖ hardware report, 1184 bytes: an SNP report, or a TDREPORT of 1024 and zeros
    ‖ size u32 ‖ version 1 ‖ report type ‖ hash type ‖ n u32 ‖ JSON, n bytes ‖ zeros

The first 64 bytes of report data are SHA-256 of the JSON and zeros; the JSON holds the attestation
key of the vTPM. Source: Microsoft, "Guest attestation for confidential VMs", and measurements.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import rsa

from registry.core import encoding
from registry.core.evidence import base64url
from registry.core.evidence.azure.findings import AzureFinding
from registry.core.evidence.checks import CheckError
from registry.core.evidence.claims import ClaimValue
from registry.errors import MalformedError

HCL_BYTES: Final = 2600
"""Bytes of the whole report."""

HARDWARE_BYTES: Final = 1184
"""Bytes of the room for the hardware report."""

TD_REPORT_BYTES: Final = 1024
"""Bytes of a TDREPORT."""

MIN_RSA_BITS: Final = 2048
"""Bits of the attestation key's modulus; a vTPM's has exactly as many."""

MAX_RSA_BITS: Final = 4096
"""Bits of the attestation key's modulus that are accepted."""

_MAGIC = b"HCLA"
_VERSIONS = (1, 2)
_HEADER_BYTES = 32
_REQUEST_TYPE = 2
_RUNTIME = _HEADER_BYTES + HARDWARE_BYTES
_JSON = _RUNTIME + 20
_SHA256 = 1
_TD_REPORT_DATA = slice(128, 192)
_TD_REPORT_TYPE = 0x81
_EXPONENT = 65537
_AK = "HCLAkPub"
_CONFIGURATION = {
    "secure-boot": "secure_boot",
    "tpm-enabled": "tpm_enabled",
    "tpm-persisted": "tpm_persisted",
    "console-enabled": "console_enabled",
}


class ReportType(IntEnum):
    """What the hardware report is."""

    SNP = 2
    TDX = 4


@dataclass(frozen=True, slots=True)
class HCLReport:
    """What the paravisor hands out.

    Attributes:
        version: Of the report, 1 or 2.
        type: What the hardware report is.
        hardware: The hardware report, without padding.
        runtime: The exact bytes of the runtime JSON.
    """

    version: int
    type: ReportType
    hardware: bytes
    runtime: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a report; every byte must be what the layout says.

        Raises:
            CheckError: ``HCL_MALFORMED``.
        """
        if len(data) != HCL_BYTES:
            raise _malformed("its size", f"{HCL_BYTES} bytes", f"{len(data)} bytes")
        numbers = [int.from_bytes(data[at : at + 4], "little") for at in range(4, 32, 4)]
        version, size, request, status, *zeros = numbers
        kind, length = _number(data, _RUNTIME + 8), _number(data, _RUNTIME + 16)
        end = _JSON + length
        facts = (
            ("its first bytes", data[:4] == _MAGIC),
            ("its version", version in _VERSIONS),
            ("its request type", request == _REQUEST_TYPE),
            ("its status", status == 0 and not any(zeros)),
            ("the length of the runtime data", length > 0 and end <= HCL_BYTES),
            ("its size", size == end),
            ("the size of the runtime data", _number(data, _RUNTIME) == 20 + length),
            ("the version of the runtime data", _number(data, _RUNTIME + 4) == 1),
            ("the type of the hardware report", kind in tuple(ReportType)),
            ("the hash of the runtime data", _number(data, _RUNTIME + 12) == _SHA256),
            ("the padding", not any(data[end:])),
        )
        for what, holds in facts:
            if not holds:
                raise _malformed(what)
        hardware = data[_HEADER_BYTES:_RUNTIME]
        if kind == ReportType.TDX:
            if any(hardware[TD_REPORT_BYTES:]) or hardware[0] != _TD_REPORT_TYPE:
                raise _malformed("the TDREPORT")
            hardware = hardware[:TD_REPORT_BYTES]
        return cls(version, ReportType(kind), hardware, data[_JSON:end])

    @property
    def td_report_data(self) -> bytes:
        """The 64 bytes of report data in a TDREPORT."""
        return self.hardware[_TD_REPORT_DATA]


@dataclass(frozen=True, slots=True)
class RuntimeData:
    """What the paravisor says of the virtual machine; believed only if a report commits to it.

    Attributes:
        key: The attestation key of the vTPM.
        claims: The configuration, by the names of the family.
    """

    key: rsa.RSAPublicKey
    claims: Mapping[str, ClaimValue]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the runtime JSON, whose spelling is the paravisor's own.

        Raises:
            CheckError: ``RUNTIME_DATA_MALFORMED`` or ``ATTESTATION_KEY``.
        """
        try:
            value = encoding.read_foreign_json(data, what="runtime data")
        except MalformedError as error:
            raise _runtime(str(error)) from error
        if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
            raise _runtime("it names no keys")
        key = _attestation_key(value["keys"])
        claims: dict[str, ClaimValue] = {}
        configuration = value.get("vm-configuration", {})
        if not isinstance(configuration, dict):
            raise _runtime("its configuration is no object")
        for member, name in _CONFIGURATION.items():
            said = configuration.get(member)
            if said is None:
                continue
            if not isinstance(said, bool):
                raise _runtime(f"{member} is neither true nor false")
            claims[name] = said
        for member, name, holder in (
            ("vmUniqueId", "vm_id", configuration),
            ("user-data", "user_data", value),
        ):
            said = holder.get(member)
            if said is not None:
                if not isinstance(said, str):
                    raise _runtime(f"{member} is no text")
                claims[name] = said.lower()
        return cls(key, claims)


def _attestation_key(keys: list[object]) -> rsa.RSAPublicKey:
    named = [key for key in keys if isinstance(key, dict) and key.get("kid") == _AK]
    if len(named) != 1:
        raise _key(f"{len(named)} keys are called {_AK}")
    key = named[0]
    n, e = key.get("n"), key.get("e")
    if key.get("kty") != "RSA" or key.get("key_ops") != ["sign"]:
        raise _key("it is no RSA key for signatures")
    if not isinstance(n, str) or not isinstance(e, str):
        raise _key("it has no modulus or no exponent")
    try:
        modulus, exponent = (
            int.from_bytes(base64url.read(part, padded=False), "big") for part in (n, e)
        )
    except MalformedError as error:
        raise _key("it is not base64url") from error
    if exponent != _EXPONENT or not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise _key(f"{modulus.bit_length()} bits, exponent {exponent if e == 'AQAB' else 'other'}")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise _key(str(error)[:200]) from error


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _malformed(what: str, expected: str = "", actual: str = "") -> CheckError:
    return CheckError(
        AzureFinding.HCL_MALFORMED,
        "this is not a report of the paravisor",
        where=what,
        expected=expected,
        actual=actual,
    )


def _runtime(actual: str) -> CheckError:
    return CheckError(
        AzureFinding.RUNTIME_DATA_MALFORMED, "the runtime data cannot be read", actual=actual
    )


def _key(actual: str) -> CheckError:
    return CheckError(
        AzureFinding.ATTESTATION_KEY,
        "the runtime data does not name one attestation key that can be used",
        actual=actual,
    )
