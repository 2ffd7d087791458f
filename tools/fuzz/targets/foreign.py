"""Targets of proofs of other systems: each document, and the whole examination."""

from collections.abc import Callable
from typing import Final

import cbor2

from registry.core.encoding import read_foreign_numbers, read_json, write_json
from registry.core.foreign import ethereum_abi, spelling
from registry.core.foreign.aci.documents import Keyset, Receipt, Report, Session
from registry.core.foreign.air.receipt import Message, read_claims
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.near import gpus
from registry.core.foreign.near.documents import Node, Signed, read_nodes
from registry.core.foreign.opengradient import chain, settlement
from registry.core.foreign.opengradient import request as requests
from registry.core.foreign.opengradient.response import Answer
from registry.core.foreign.proof import ForeignProof, System
from registry.core.foreign.systems import READERS, examine, redo
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tools.fake_vendor import aci, air, near, nvidia, opengradient, opengradient_settlement
from tools.fake_vendor.caught import Caught
from tools.fuzz.edits import lines
from tools.fuzz.elements import cbor
from tools.fuzz.members import members, structured
from tools.fuzz.target import Target

_ACI: Final = aci.mint()
_ACI_PARTS: Final = dict(_ACI.parts)
_AIR: Final = air.mint(air.Spec(nonce=bytes(range(8))))
_AIR_PARTS: Final = dict(_AIR.parts)
_NEAR: Final = near.mint(near.Spec(model="org/x:tag", gpus=(nvidia.Spec(nonce=near.NONCE),)))
_NEAR_PARTS: Final = dict(_NEAR.parts)
_GRADIENT: Final = opengradient.mint()
_STREAM: Final = opengradient.mint(opengradient.Spec(stream=True, tool_calls=(opengradient.CALL,)))
_EARLIER: Final = opengradient.mint_legacy(opengradient.Spec())
_RESPONSES: Final = tuple(
    dict(caught.parts)[PartRole.RESPONSE] for caught in (_GRADIENT, _STREAM, _EARLIER)
)
_TOLD: Final = opengradient_settlement.proof_of(_GRADIENT)
_BATCH: Final = opengradient_settlement.dump([_TOLD, opengradient_settlement.another(1)])
_SETTLEMENTS: Final = (
    write_json(_BATCH),
    write_json(opengradient_settlement.blob(_GRADIENT)),
    opengradient_settlement.headers("batch", opengradient_settlement.told(_TOLD)),
)
_INFERENCE: Final = opengradient_settlement.inference_event()
_TRANSACTIONS: Final = tuple(
    write_json(opengradient_settlement.receipt(event))
    for event in (
        opengradient_settlement.batch_event(_BATCH),
        opengradient_settlement.individual_event(_TOLD),
        _INFERENCE,
    )
)
_ENCODED: Final = tuple(
    event.response_bytes()
    for event in chain.read_events(write_json(_INFERENCE))
    if isinstance(event, chain.ModelInference)
)

Again = Callable[[bytes], None]


def _examined(system: System, change: Callable[[bytes], Captured], asked: Asked) -> Again:
    """Examine it, and refuse what cannot be parsed: to a fuzzer that is what was not read."""

    def again(data: bytes) -> None:
        proof = examine(system, change(data), asked).proof
        if {item.check for item in proof.checks} != set(READERS[system][1]):
            message = "a check is missing"
            raise AssertionError(message)
        if read_json(write_json(proof), ForeignProof) != proof:
            message = "the proof cannot be read back"
            raise AssertionError(message)
        if proof.layers[0].verdict is not Verdict.VALID:
            raise MalformedError(Reason.EVIDENCE_CHECK, "unreadable")

    return again


def _read(read: Callable[[bytes], object]) -> Again:
    def again(data: bytes) -> None:
        read(data)

    return again


def _session(data: bytes) -> None:
    Session.parse(data).evidence()


def _air(data: bytes) -> bytes | None:
    """Whatever is deterministic is written back as it was."""
    message = Message.parse(data)
    read_claims(message.payload)
    if not message.deterministic:
        return None
    parts = [air.PROTECTED, {}, message.payload, message.signature]
    return b"\xd2" + cbor2.dumps(parts)


def _signed(data: bytes) -> None:
    Signed.parse(data).verify()


def _nodes(data: bytes) -> None:
    for value in read_nodes(data):
        node = Node.of(value)
        node.compose()
        node.gpu_nonce()
        node.event_log()
        if value.get("nvidia_payload") is not None:
            gpus.read(node)


def _spelled(data: bytes) -> None:
    """Whatever is read can be written, and then reads alike."""
    value = read_foreign_numbers(data, what="text", max_depth=spelling.MAX_DEPTH)
    written = spelling.spell(value, spelling.COMPACT)
    if read_foreign_numbers(written, what="text", max_depth=spelling.MAX_DEPTH) != value:
        message = "what is written means something else"
        raise AssertionError(message)
    spelling.spell(value, spelling.PYTHON_SORTED)


def _answer(data: bytes) -> None:
    answer = Answer.parse(data)
    answer.output()
    answer.proof()


def _request(data: bytes) -> None:
    request = requests.read(data)
    for each in (*requests.CHAT, *requests.COMPLETION, *requests.LEGACY):
        each.write(request)


def _settlement(data: bytes) -> None:
    settled = settlement.read(data)
    if isinstance(settled, settlement.Tree):
        settled.verify()


def _inference(data: bytes) -> bytes:
    """Whatever is decoded is encoded as it was."""
    return ethereum_abi.encode(chain.RESPONSE, ethereum_abi.decode(chain.RESPONSE, data))


def _parts(caught: Caught) -> list[tuple[str, bytes]]:
    named: list[tuple[str, bytes]] = [(role.value, data) for role, data in caught.parts]
    named += [(item.role.value, item.data) for item in caught.endorsements.items]
    return [*named, ("policy", write_json(caught.policy))]


_AGAIN: Final = {
    System.AIR: (air.mint(), _parts(air.mint())),
    System.OPENGRADIENT: (_GRADIENT, _parts(_GRADIENT)),
}
_PROOFS: Final = tuple(
    write_json(examine(system, caught.captured, caught.asked()).proof)
    for system, (caught, _) in _AGAIN.items()
)


def _redone(data: bytes) -> bytes:
    """What an importer says, compared with the parts: it follows from them, or is refused."""
    said = read_json(data, ForeignProof)
    redo(said, _AGAIN[said.system][1] if said.system in _AGAIN else [])
    return write_json(said)


TARGETS: Final = (
    Target("aci-receipt", (_ACI_PARTS[PartRole.RECEIPT],), _read(Receipt.parse), (structured,)),
    Target("aci-session", (_ACI_PARTS[PartRole.SESSION],), _session, (structured,)),
    Target("aci-report", (_ACI_PARTS[PartRole.REPORT],), _read(Report.parse), (structured,)),
    Target(
        "aci-keyset",
        (b'{"not_after":1,"receipt_signing_keys":[],"subject":null}',),
        _read(Keyset.parse),
        (structured,),
    ),
    Target(
        "aci-proof",
        (_ACI_PARTS[PartRole.RECEIPT],),
        _examined(System.ACI, lambda data: _ACI.replaced(PartRole.RECEIPT, data), _ACI.asked()),
        (structured,),
    ),
    Target("air-receipt", (_AIR_PARTS[PartRole.RECEIPT],), _air, (cbor,)),
    Target(
        "air-proof",
        (_AIR_PARTS[PartRole.RECEIPT],),
        _examined(System.AIR, lambda data: _AIR.replaced(PartRole.RECEIPT, data), _AIR.asked()),
        (cbor,),
    ),
    Target("near-signature", (_NEAR_PARTS[PartRole.SIGNATURE],), _signed, (structured,)),
    Target("near-report", (_NEAR_PARTS[PartRole.REPORT],), _nodes, (structured,)),
    Target(
        "near-proof",
        (_NEAR_PARTS[PartRole.REPORT],),
        _examined(System.NEAR, lambda data: _NEAR.replaced(PartRole.REPORT, data), _NEAR.asked()),
        (structured,),
    ),
    Target(
        "opengradient-response", _RESPONSES, _answer, (structured, lines), (b"data: [DONE]\n\n",)
    ),
    Target("foreign-again", _PROOFS, _redone, (members,)),
    Target("opengradient-request", (near.REQUEST,), _request, (structured,)),
    Target(
        "opengradient-proof",
        _RESPONSES,
        _examined(
            System.OPENGRADIENT,
            lambda data: _GRADIENT.replaced(PartRole.RESPONSE, data),
            _GRADIENT.asked(),
        ),
        (structured, lines),
    ),
    Target("opengradient-settlement", _SETTLEMENTS, _settlement, (structured, lines)),
    Target("opengradient-transaction", _TRANSACTIONS, _read(chain.read_events), (structured,)),
    Target("ethereum-abi", _ENCODED, _inference),
    Target(
        "foreign-spelling", (near.REQUEST, b'[1.50, -0, 1e5, "\\u00e9"]'), _spelled, (structured,)
    ),
)
"""Whatever reads what another system hands out."""
