"""Devices of one machine: GPUs and switches that name each other, asked with one nonce.

Every device has eight bytes burnt into it, its PDI. In a protected-PCIe machine a GPU's report
lists the PDIs of the switches at the ends of its links, byte-reversed, and a switch's report lists
those of all GPUs; a device's own PDI is in its certificate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from registry.core.evidence.checks import CheckError, Severity, missing
from registry.core.evidence.nvidia.chain import Identity
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.spdm import Opaque, Report

PDI_BYTES: Final = 8
"""Bytes of the name that is burnt into a device."""

MAX_GPUS: Final = 8
"""GPUs that a switch's report has room for."""

_FILLERS = (bytes(PDI_BYTES), b"\xff" * PDI_BYTES)


@dataclass(frozen=True, slots=True)
class Member:
    """One device of a set, as far as it could be read."""

    report: Report
    identity: Identity

    @property
    def is_switch(self) -> bool:
        """Whether it is an NVSwitch."""
        return self.identity.architecture.is_switch

    def switches(self) -> frozenset[bytes]:
        """The switches that a GPU is linked to."""
        return frozenset(item[::-1] for item in _pdis(self.report.opaque.get(Opaque.SWITCH_PDIS)))

    def gpus(self) -> frozenset[bytes]:
        """The GPUs that a switch knows of."""
        listed = self.report.opaque.get(Opaque.GPU_PDIS)
        return frozenset(_pdis(listed[: MAX_GPUS * PDI_BYTES] if listed else listed))


def check(members: Sequence[Member]) -> None:
    """Check that devices are distinct, were asked together, and name each other.

    Raises:
        CheckError: ``DUPLICATE_DEVICE``, ``MIXED_NONCES``, ``TOPOLOGY_SWITCHES``,
            ``TOPOLOGY_GPUS``, or ``MISSING`` if the switches or the GPUs that reports name are not
            in the set at all.
    """
    pdis = [member.identity.pdi for member in members]
    twice = sorted({pdi.hex() for pdi in pdis if pdis.count(pdi) > 1})
    if twice:
        raise _broken(Found.DUPLICATE_DEVICE, "a device is in the set twice", ", ".join(twice))
    nonces = sorted({member.report.nonce.hex() for member in members})
    if len(nonces) != 1:
        raise _broken(
            Found.MIXED_NONCES, "the devices were asked with different nonces", ", ".join(nonces)
        )
    gpus = [member for member in members if not member.is_switch]
    switches = [member for member in members if member.is_switch]
    listed_switches = _same(gpus, [gpu.switches() for gpu in gpus], Found.TOPOLOGY_SWITCHES)
    listed_gpus = _same(switches, [item.gpus() for item in switches], Found.TOPOLOGY_GPUS)
    for item in switches:
        if item.report.opaque.get(Opaque.SWITCH_PDIS) != item.identity.pdi:
            raise _broken(
                Found.TOPOLOGY_SWITCHES,
                "a switch states another name than its certificate",
                item.identity.pdi.hex(),
            )
    _reciprocal(Found.TOPOLOGY_SWITCHES, "switches", listed_switches, switches, others=gpus)
    _reciprocal(Found.TOPOLOGY_GPUS, "GPUs", listed_gpus, gpus, others=switches)


def _same(
    members: Sequence[Member], lists: Sequence[frozenset[bytes]], finding: Found
) -> frozenset[bytes]:
    for member, listed in zip(members, lists, strict=True):
        if listed != lists[0]:
            raise _broken(
                finding, "devices of one kind name different partners", member.identity.pdi.hex()
            )
    return lists[0] if lists else frozenset()


def _reciprocal(
    finding: Found,
    what: str,
    listed: frozenset[bytes],
    present: Sequence[Member],
    *,
    others: Sequence[Member],
) -> None:
    """What the devices of the other kind list must be what is in the set."""
    if not others:
        return
    own = frozenset(member.identity.pdi for member in present)
    if listed and not own:
        raise missing(f"the evidence of {len(listed)} {what} that the other reports name")
    if listed != own:
        raise _broken(
            finding,
            f"the {what} of the set are not those that the other reports name",
            f"{len(own)} in the set, {len(listed)} named, {len(own & listed)} in both",
        )


def _pdis(listed: bytes | None) -> list[bytes]:
    if not listed:
        return []
    if len(listed) % PDI_BYTES:
        raise _broken(
            Found.TOPOLOGY_SWITCHES, "a list of devices ends in part of a name", str(len(listed))
        )
    pieces = [listed[at : at + PDI_BYTES] for at in range(0, len(listed), PDI_BYTES)]
    return [piece for piece in pieces if piece not in _FILLERS]


def _broken(finding: Found, what: str, actual: str) -> CheckError:
    return CheckError(finding, what, severity=Severity.IDENTITY, actual=actual)
