"""Collateral: TCB info and QE identity, as the raw bytes that Intel signed.

Intel answers ``{"tcbInfo":{…},"signature":hex}`` and ``{"enclaveIdentity":{…},"signature":hex}``;
the signature is over the exact bytes of the value. Source: Intel SGX and TDX Provisioning
Certification Service API version 4. Unknown members are read over: what Intel adds, it also signs.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core import encoding
from registry.core.evidence.checks import CheckError
from registry.core.evidence.intel.certificate import verify_signature
from registry.core.evidence.intel.findings import Found
from registry.core.evidence.intel.platform import COMPONENTS
from registry.core.evidence.validity import Validity, seconds
from registry.errors import MalformedError

MAX_LEVELS: Final = 512
"""TCB levels in one list; Intel's have a dozen."""

MAX_ADVISORIES: Final = 256
"""Advisories of one TCB level."""

MAX_COLLATERAL_BYTES: Final = 128 * 1024
"""Bytes of one answer of Intel's; the longest known takes 40 KiB."""

_CACHED = 32
"""Answers that are kept, read; what is not Intel's may be among them, hence the bound above."""

_SIGNATURE_BYTES = 64

T = TypeVar("T")

_Time = Annotated[
    str,
    msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z"),
]
_Byte = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
_Word = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
_Short = Annotated[str, msgspec.Meta(max_length=64)]
_Advisories = Annotated[tuple[_Short, ...], msgspec.Meta(max_length=MAX_ADVISORIES)]
_Hex2 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Fa-f]{4}\Z")]
_Hex4 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Fa-f]{8}\Z")]
_Hex6 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Fa-f]{12}\Z")]
_Hex8 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Fa-f]{16}\Z")]
_Hex16 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Fa-f]{32}\Z")]
_Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Fa-f]{64}\Z")]
_Hex48 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Fa-f]{96}\Z")]


class Component(msgspec.Struct, frozen=True):
    """One component of a TCB."""

    svn: _Byte


_Components = Annotated[
    tuple[Component, ...], msgspec.Meta(min_length=COMPONENTS, max_length=COMPONENTS)
]


class TCB(msgspec.Struct, frozen=True):
    """The least SVNs of a level; the TDX ones are in the TCB info of TDX only."""

    sgx: _Components = msgspec.field(name="sgxtcbcomponents")
    pce_svn: _Word = msgspec.field(name="pcesvn")
    tdx: _Components | msgspec.UnsetType = msgspec.field(
        name="tdxtcbcomponents", default=msgspec.UNSET
    )


class TCBLevel(msgspec.Struct, frozen=True):
    """What is known of platforms with at least these SVNs."""

    tcb: TCB
    date: _Time = msgspec.field(name="tcbDate")
    status: _Short = msgspec.field(name="tcbStatus")
    advisories: _Advisories = msgspec.field(name="advisoryIDs", default=())

    def sgx(self) -> tuple[int, ...]:
        """The SGX component SVNs."""
        return tuple(item.svn for item in self.tcb.sgx)

    def tdx(self) -> tuple[int, ...]:
        """The TDX component SVNs.

        Raises:
            CheckError: ``TDX_COMPONENTS`` if there are none.
        """
        if isinstance(self.tcb.tdx, msgspec.UnsetType):
            raise CheckError(Found.TDX_COMPONENTS, "a TCB level has no TDX components")
        return tuple(item.svn for item in self.tcb.tdx)


class EnclaveTCB(msgspec.Struct, frozen=True):
    """The least SVN of a level."""

    isv_svn: _Word = msgspec.field(name="isvsvn")


class EnclaveLevel(msgspec.Struct, frozen=True):
    """What is known of enclaves or TDX modules with at least this SVN."""

    tcb: EnclaveTCB
    date: _Time = msgspec.field(name="tcbDate")
    status: _Short = msgspec.field(name="tcbStatus")
    advisories: _Advisories = msgspec.field(name="advisoryIDs", default=())


_EnclaveLevels = Annotated[tuple[EnclaveLevel, ...], msgspec.Meta(max_length=MAX_LEVELS)]


class Module(msgspec.Struct, frozen=True):
    """A TDX module: who signed it, and its attributes."""

    mrsigner: _Hex48
    attributes: _Hex8
    mask: _Hex8 = msgspec.field(name="attributesMask")


class ModuleIdentity(Module, frozen=True):
    """A TDX module of one major version, and its levels."""

    id: _Short
    levels: _EnclaveLevels = msgspec.field(name="tcbLevels")


class TCBInfo(msgspec.Struct, frozen=True):
    """TCB info, of SGX or of TDX, version 3."""

    id: _Short
    version: _Number
    issued: _Time = msgspec.field(name="issueDate")
    next_update: _Time = msgspec.field(name="nextUpdate")
    fmspc: _Hex6
    pce_id: _Hex2 = msgspec.field(name="pceId")
    evaluation: _Number = msgspec.field(name="tcbEvaluationDataNumber")
    levels: Annotated[tuple[TCBLevel, ...], msgspec.Meta(max_length=MAX_LEVELS)] = msgspec.field(
        name="tcbLevels"
    )
    module: Module | msgspec.UnsetType = msgspec.field(name="tdxModule", default=msgspec.UNSET)
    modules: Annotated[tuple[ModuleIdentity, ...], msgspec.Meta(max_length=256)] = msgspec.field(
        name="tdxModuleIdentities", default=()
    )


class QEIdentity(msgspec.Struct, frozen=True):
    """What the quoting enclave must be, version 2."""

    id: _Short
    version: _Number
    issued: _Time = msgspec.field(name="issueDate")
    next_update: _Time = msgspec.field(name="nextUpdate")
    evaluation: _Number = msgspec.field(name="tcbEvaluationDataNumber")
    misc_select: _Hex4 = msgspec.field(name="miscselect")
    misc_select_mask: _Hex4 = msgspec.field(name="miscselectMask")
    attributes: _Hex16
    attributes_mask: _Hex16 = msgspec.field(name="attributesMask")
    mrsigner: _Hex32
    isv_prod_id: _Word = msgspec.field(name="isvprodid")
    levels: _EnclaveLevels = msgspec.field(name="tcbLevels")


@dataclass(frozen=True, slots=True)
class Signed(Generic[T]):
    """Signed JSON.

    Attributes:
        body: Intel's whole answer.
        raw: The exact bytes that are signed.
        signature: r ‖ s, big-endian.
        value: What they say.
        window: From issue to next update, both included.
    """

    body: bytes
    raw: bytes
    signature: bytes
    value: T
    window: Validity


class _TCBInfoAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: msgspec.Raw = msgspec.field(name="tcbInfo")
    signature: str


class _QEIdentityAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: msgspec.Raw = msgspec.field(name="enclaveIdentity")
    signature: str


@lru_cache(maxsize=_CACHED)
def read_tcb_info(body: bytes) -> Signed[TCBInfo]:
    """Read Intel's answer with TCB info.

    Raises:
        CheckError: ``COLLATERAL``.
    """
    return _read(body, _TCBInfoAnswer, TCBInfo, "TCB info")


@lru_cache(maxsize=_CACHED)
def read_qe_identity(body: bytes) -> Signed[QEIdentity]:
    """Read Intel's answer with the identity of a quoting enclave.

    Raises:
        CheckError: ``COLLATERAL``.
    """
    return _read(body, _QEIdentityAnswer, QEIdentity, "QE identity")


_TCBInfoOrIdentity = TypeVar("_TCBInfoOrIdentity", TCBInfo, QEIdentity)


def _read(
    body: bytes,
    answer: type[_TCBInfoAnswer | _QEIdentityAnswer],
    kind: type[_TCBInfoOrIdentity],
    what: str,
) -> Signed[_TCBInfoOrIdentity]:
    if len(body) > MAX_COLLATERAL_BYTES:
        raise CheckError(
            Found.COLLATERAL,
            f"this is too long for Intel's {what}",
            expected=f"at most {MAX_COLLATERAL_BYTES} bytes",
            actual=f"{len(body)} bytes",
        )
    try:
        # Duplicate keys first: afterwards every reader agrees on what the bytes say.
        encoding.read_foreign_json(body, what=what)
        outer = msgspec.json.decode(body, type=answer)
        raw = bytes(outer.value)
        value = msgspec.json.decode(raw, type=kind)
        signature = encoding.hex_bytes(outer.signature, _SIGNATURE_BYTES)
        window = Validity(_moment(value.issued), _moment(value.next_update))
        for level in value.levels:
            _moment(level.date)
    except (MalformedError, msgspec.DecodeError, ValueError) as error:
        raise CheckError(
            Found.COLLATERAL, f"this is not Intel's {what}", actual=str(error)
        ) from error
    return Signed(body, raw, signature, value, window)


def _moment(text: str) -> int:
    return seconds(datetime.fromisoformat(text))


@lru_cache(maxsize=2 * _CACHED)
def verify_raw(signer: bytes, signature: bytes, raw: bytes) -> None:
    """Check that collateral is signed by the holder of a certificate.

    Raises:
        CheckError: ``COLLATERAL_SIGNATURE``.
    """
    key = x509.load_der_x509_certificate(signer).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not verify_signature(key, signature, raw):
        raise CheckError(
            Found.COLLATERAL_SIGNATURE, "the signature is not over these bytes by this signer"
        )
