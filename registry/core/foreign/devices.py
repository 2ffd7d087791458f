"""Which evidence of hardware is inside what was caught, so that vendors can be asked about it.

Nothing is believed here: what cannot be read is left to the examination, which says what is wrong.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from registry.core import encoding
from registry.core.evidence.checks import CheckError
from registry.core.evidence.claims import Family
from registry.core.foreign.aci.documents import Report
from registry.core.foreign.aci.examine import family_of
from registry.core.foreign.captured import Captured, PartRole
from registry.core.foreign.near import gpus
from registry.core.foreign.near.documents import Node, Signed, read_nodes, signer_of
from registry.core.foreign.proof import System
from registry.errors import RegistryError

Found = Iterator[tuple[Family, bytes]]
"""Pieces of evidence, each with its family."""


def evidence_of(system: System, captured: Captured) -> tuple[tuple[Family, bytes], ...]:
    """Every piece of evidence that the examination of ``captured`` would look at, each once."""
    return tuple(dict.fromkeys(_FINDERS[system](captured)))


def _near(captured: Captured) -> Found:
    signers: set[tuple[str, bytes]] = set()
    for data in captured.all(PartRole.SIGNATURE):
        with suppress(CheckError):
            signed = Signed.parse(data)
            signers.add((signed.said.signing_algo, signed.address))
    for data in captured.all(PartRole.REPORT):
        with suppress(CheckError):
            for value in read_nodes(data):
                if signer_of(value) in signers:
                    yield from _node(value)


def _node(value: dict[str, object]) -> Found:
    with suppress(RegistryError):
        node = Node.of(value)
        yield Family.INTEL_DCAP, node.quote
        if node.said.nvidia_payload is not None:
            for item in gpus.read(node):
                yield Family.NVIDIA_SPDM, item


def _aci(captured: Captured) -> Found:
    yield from _alone(Family.INTEL_DCAP)(captured)
    for data in captured.all(PartRole.REPORT):
        with suppress(RegistryError):
            report = Report.parse(data)
            text = (report.evidence_text("quote") or "").removeprefix("0x")
            yield family_of(report), encoding.hex_bytes(text, len(text) // 2)


def _alone(*families: Family) -> Callable[[Captured], Found]:
    def find(captured: Captured) -> Found:
        for data in captured.all(PartRole.EVIDENCE):
            for family in families:
                yield family, data

    return find


_FINDERS: Final[Mapping[System, Callable[[Captured], Found]]] = {
    System.ACI: _aci,
    # Of which of both it is, its claims say, and the vendor who is asked knows only his own.
    System.AIR: _alone(Family.AWS_NITRO, Family.INTEL_DCAP),
    System.NEAR: _near,
    System.OPENGRADIENT: _alone(Family.AWS_NITRO),
}
