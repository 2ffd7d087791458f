"""Which family evidence is of: the one whose strict parser can read it."""

from contextlib import suppress
from datetime import datetime

from registry.core.encoding import base64_bytes
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules
from registry.errors import MalformedError, Reason, RegistryError

_HEX = frozenset(b"0123456789abcdefABCDEF")
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_ONE_DEVICE = [Family.NVIDIA_SPDM, Family.NVIDIA_SET]
"""What can read a single device: it is a set of one, too, and judged as a device."""

_SPACE = b" \t\r\n"


def unwrap(data: bytes) -> bytes:
    """Evidence from a file: its bytes, or what hexadecimal or base64 text in it says.

    No family's evidence is such text itself.
    """
    text = data.translate(None, _SPACE)
    if text and len(text) % 2 == 0 and _HEX.issuperset(text):
        return bytes.fromhex(text.decode("ascii"))
    if text and _BASE64.issuperset(text):
        with suppress(MalformedError):
            return base64_bytes(text.decode("ascii"))
    return data


def recognise(evidence: bytes, at: datetime) -> Rules:
    """The rules of the family that can read this evidence, or else begin to.

    Raises:
        MalformedError: ``UNKNOWN_FAMILY`` if none can, or several.
        LimitExceededError: ``EVIDENCE_SIZE``.
    """
    found: list[Rules] = []
    begun: list[Rules] = []
    absent: list[Family] = []
    for family, rules in FAMILIES.items():
        try:
            examination = rules.examine(evidence, Endorsements(), at, Roots())
        except RegistryError as error:
            if error.reason is not Reason.MISSING_EXTRA:
                raise
            absent.append(family)
            continue
        if examination.evidence_id is not None:
            found.append(rules)
        elif examination.checks[0].outcome == "pass":
            # What is wrong with it, its own checks tell best.
            begun.append(rules)
    found = found or begun
    if [rules.family for rules in found] == _ONE_DEVICE:
        return found[0]
    if len(found) == 1:
        return found[0]
    raise MalformedError(
        Reason.UNKNOWN_FAMILY,
        "these bytes are evidence of no family that can be read here",
        expected=", ".join(family for family in FAMILIES if family not in absent),
        actual=", ".join(rules.family for rules in found) or f"{len(evidence)} bytes",
        hint=f"not installed: {', '.join(absent)}"
        if absent
        else "is it whole, and nothing around it?",
    )
