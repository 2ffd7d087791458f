"""The evidence of a node's GPUs, as a vllm-proxy hands it out: ``{nonce, evidence_list, arch}``.

A GPU can commit to a nonce and to nothing else. That it stands in the node which signed is not
shown by its evidence; that it was asked with the node's nonce is.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Final

import msgspec

from registry.core import encoding
from registry.core.evidence.checks import CheckError, Finding, Ledger
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nvidia import container
from registry.core.foreign import platform
from registry.core.foreign.captured import Asked
from registry.core.foreign.json_document import members, read_object
from registry.core.foreign.near.documents import Found, Node
from registry.core.foreign.platform import Attested, Device, same
from registry.errors import MalformedError

MAX_GPUS: Final = 16
"""GPUs of one node; eight are usual."""

UNEXAMINED: Final = "GPU evidence, kept and not examined"
"""What is not covered if nothing of NVIDIA's came with the proof."""

UNBOUND: Final = "that these GPUs stand in the node that signed: they commit to the nonce alone"
"""What is not covered even so."""

_NVIDIA: Final = (Role.NVIDIA_RIM, Role.NVIDIA_OCSP)
_Base64 = Annotated[str, msgspec.Meta(max_length=1024 * 1024)]


class _Item(msgspec.Struct, frozen=True):
    evidence: _Base64
    certificate: _Base64


class _Payload(msgspec.Struct, frozen=True):
    evidence_list: Annotated[tuple[_Item, ...], msgspec.Meta(min_length=1, max_length=MAX_GPUS)]


@dataclass(frozen=True, slots=True)
class Given:
    """What is needed to judge the GPUs of a node.

    Attributes:
        node: The node.
        endorsements: What vendors say.
        attested: What was made of the node's own evidence.
        asked: What the importer wants to know.
    """

    node: Node
    endorsements: Endorsements
    attested: Attested
    asked: Asked


def read(node: Node) -> tuple[bytes, ...]:
    """The evidence of each GPU, in the one form of :mod:`registry.core.evidence.nvidia`.

    Raises:
        CheckError: ``GPU_EVIDENCE`` or what is wrong with the document.
    """
    payload = node.said.nvidia_payload
    value = read_object(payload.encode(), "nvidia_payload") if isinstance(payload, str) else payload
    said = members(value or {}, _Payload, "nvidia_payload")
    try:
        return tuple(
            container.write_device(
                container.Device(
                    encoding.base64_bytes(item.evidence),
                    container.read_pem(encoding.base64_bytes(item.certificate)),
                )
            )
            for item in said.evidence_list
        )
    except (CheckError, MalformedError) as error:
        raise CheckError(
            Found.GPU_EVIDENCE, "the evidence of a GPU cannot be decoded", actual=str(error)
        ) from error


def examine(ledger: Ledger, check: str, given: Given) -> str:
    """Examine the GPUs of a node, if anything of NVIDIA's came with the proof.

    Returns:
        What is not covered.

    Raises:
        UnavailableError: ``MISSING_EXTRA`` without what reads signed XML.
    """
    node, asked = given.node, given.asked
    if node.said.nvidia_payload is None:
        ledger.skip(check, Finding.NOT_APPLICABLE, "the report tells of no GPU")
        return "whether GPUs took part"
    if not any(given.endorsements.all(role) for role in _NVIDIA):
        ledger.skip(check, Finding.NOT_APPLICABLE, "nothing of NVIDIA's came with the proof")
        return UNEXAMINED
    gpus: tuple[bytes, ...] = ()
    with ledger.check(check):
        gpus = read(node)
    # The importer's policy is for the node's own evidence; the roots that it names count here, too.
    policy = given.attested.policy
    alone = replace(asked, policy=None, roots=() if policy is None else policy.roots)
    for evidence in gpus:
        device = Device(Family.NVIDIA_SPDM, evidence, given.endorsements)
        attested = platform.examine(ledger, check, device, alone)
        if attested is not None:
            with ledger.check(check, evidence):
                what = "a GPU was asked with another nonce than the node"
                expected = bytes.fromhex(node.said.request_nonce)
                same(attested.raw("nonce"), expected, Found.GPU_NONCE, what)
    return UNBOUND
