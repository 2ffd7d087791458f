"""Targets of AWS Nitro: documents, and revocation lists."""

from typing import Final

from registry.core.evidence import crl
from registry.core.evidence.checks import CheckError
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nitro.document import Message
from registry.core.evidence.nitro.rules import RULES
from registry.errors import MalformedError, Reason
from tools.fake_vendor.nitro import NOON, Spec, mint
from tools.fuzz.elements import cbor, der
from tools.fuzz.target import Target

_MINTED: Final = mint(Spec(user_data=b"data", nonce=b"nonce", public_key=b"key"))
_NEWER: Final = mint(Spec(indefinite=True))
_LISTS: Final = tuple(item.data for item in _MINTED.endorsements.items)


def _message(data: bytes) -> bytes:
    tag = b"\xd2" if data[:1] == b"\xd2" else b""
    return tag + Message.parse(data).to_bytes()


def _document(data: bytes) -> None:
    """Examine it, and refuse what has no name: to a fuzzer that is what was not read."""
    examination = RULES.examine(data, _MINTED.endorsements, NOON, _MINTED.roots)
    if {item.check for item in examination.checks} != set(RULES.table):
        message = "a check is missing"
        raise AssertionError(message)
    if examination.evidence_id is None:
        raise MalformedError(Reason.EVIDENCE_CHECK, "unreadable")


def _crl(data: bytes) -> None:
    """Read a list, and judge a good document by it."""
    RULES.examine(_MINTED.evidence, Endorsements.of([(Role.NITRO_CRL, data)]), NOON, _MINTED.roots)
    found = crl.read(data)
    found.entry(1)
    for holder in _MINTED.chain:
        found.entry(holder.certificate.serial_number)
    try:
        found.verify(_MINTED.chain[0].der)
    except CheckError:
        found.verify(_MINTED.chain[1].der)


TARGETS: Final = (
    Target(
        "nitro-message",
        (_MINTED.evidence, b"\xd2" + _NEWER.evidence),
        _message,
        (cbor,),
        (b"\xd2", b"\xbf", b"\xff", b"\x7f", b"\x5f"),
    ),
    Target(
        "nitro-document",
        (_MINTED.evidence, b"\xd2" + _NEWER.evidence),
        _document,
        (cbor, der),
        (b"\xd2", b"\xbf", b"\xff", b"\x7f", b"\x5f"),
    ),
    Target("crl", _LISTS, _crl, (der,)),
)
"""Whatever reads what a Nitro security module or its certificate authority signed."""
