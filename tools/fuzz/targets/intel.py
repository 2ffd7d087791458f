"""Targets of Intel: quotes, platforms, collateral, and event logs."""

import struct
from dataclasses import replace
from typing import Final

from registry.core.evidence import event_log
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.event_log import RUNTIME, Event
from registry.core.evidence.intel.certificate import load, read_pem, write_pem
from registry.core.evidence.intel.collateral import read_qe_identity, read_tcb_info
from registry.core.evidence.intel.platform import read_platform
from registry.core.evidence.intel.quote import Quote
from registry.core.evidence.intel.rules import RULES
from registry.errors import MalformedError, Reason
from tools.fake_vendor.event_log import ccel, digest, dstack
from tools.fake_vendor.intel import NOON, Minted, Spec, mint
from tools.fuzz.elements import der
from tools.fuzz.members import members
from tools.fuzz.target import Target

_EVENTS: Final = (
    Event(0, 0x4, digest(bytes(4)), bytes(4)),
    Event(2, 0xD, digest(b"a command"), b"grub_cmd: a command"),
)
_STARTED: Final = tuple(
    Event(3, RUNTIME, b"", b"\xaa" * 20, name) for name in ("app-id", "system-ready", "mine")
)
_CCEL: Final = ccel(_EVENTS, padding=b"\xff" * 16)
_DSTACK, _ = dstack((*_EVENTS, *_STARTED), stated=True)
_MINTED: Final = tuple(mint(Spec(version=version)) for version in (3, 4, 5))
_TDX: Final = _MINTED[1]
_LEAF: Final = read_pem(_TDX.pck_chain)[0]
_WORDS: Final = (
    *(struct.pack("<I", number) for number in (0, 1, 5, 6, 0x81, 384, 584, 648, 2**32 - 1)),
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
)


def _check(minted: Minted) -> None:
    """Examine, and refuse what has no name: to a fuzzer that is what was not read."""
    examination = RULES.examine(minted.evidence, minted.endorsements, NOON, minted.roots)
    if {item.check for item in examination.checks} != set(RULES.table):
        message = "a check is missing"
        raise AssertionError(message)
    if examination.evidence_id is None:
        raise MalformedError(Reason.EVIDENCE_CHECK, "unreadable")


def _quote(data: bytes) -> None:
    for minted in _MINTED:
        _check(replace(minted, evidence=data))


def _pem(data: bytes) -> bytes:
    written = write_pem(read_pem(data))
    # The last line feed may be missing, and quotes end with a NUL.
    return written if data == written else written.removesuffix(b"\n") + data[len(written) - 1 :]


def _leaf(data: bytes) -> None:
    load(data)
    read_platform(data)


def _with(role: Role, data: bytes) -> None:
    _check(replace(_TDX, roles={**_TDX.roles, role: data}))


def _tcb_info(data: bytes) -> None:
    _with(Role.INTEL_TCB_INFO, data)
    read_tcb_info(data)


def _qe_identity(data: bytes) -> None:
    _with(Role.INTEL_QE_IDENTITY, data)
    read_qe_identity(data)


def _chain(data: bytes) -> None:
    for role in (Role.INTEL_TCB_CHAIN, Role.INTEL_PCK_CRL_CHAIN):
        _with(role, data)
    read_pem(data)


def _crl(data: bytes) -> None:
    for role in (Role.INTEL_ROOT_CRL, Role.INTEL_PCK_CRL):
        _with(role, data)


def _log(data: bytes) -> None:
    more = Endorsements.of([*_TDX.roles.items(), (Role.EVENT_LOG, data)])
    RULES.examine(_TDX.evidence, more, NOON, _TDX.roots)
    event_log.replay(event_log.parse(data))


TARGETS: Final = (
    Target(
        "intel-quote",
        tuple(item.evidence for item in _MINTED),
        lambda data: Quote.parse(data).to_bytes(),
        words=_WORDS,
    ),
    Target("intel-examination", tuple(item.evidence for item in _MINTED), _quote, words=_WORDS),
    Target("intel-pem", (_TDX.pck_chain, _TDX.pck_chain + b"\0"), _pem, words=_WORDS),
    Target("intel-pck", (_LEAF,), _leaf, (der,)),
    Target("intel-tcb-info", (_TDX.roles[Role.INTEL_TCB_INFO],), _tcb_info, (members,)),
    Target("intel-qe-identity", (_TDX.roles[Role.INTEL_QE_IDENTITY],), _qe_identity, (members,)),
    Target("intel-chain", (_TDX.roles[Role.INTEL_TCB_CHAIN],), _chain, words=_WORDS),
    Target("intel-crl", (_TDX.roles[Role.INTEL_PCK_CRL],), _crl, (der,)),
    Target("event-log", (_CCEL,), _log, words=_WORDS),
    Target("dstack-log", (_DSTACK,), _log, (members,)),
)
"""Whatever reads what an Intel platform signed or Intel says of it."""
