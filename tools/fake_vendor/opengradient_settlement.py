"""A facilitator and a chain of our own: settlements of responses, and inferences on the chain.

Everything is encoded here by hand, in words, so that a mistake of the reader is not made twice.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from registry.core.foreign.captured import PartRole
from registry.core.foreign.ethereum import keccak256
from tools.fake_vendor.caught import Caught

PAYER: Final = "0x" + "a5" * 20
"""Who pays for a response."""

RELAY: Final = "0x" + "5E" * 20
"""The contract that tells of settlements, spelled with a checksum's capitals."""

BLOB_ID: Final = "M4hsZGQ1oCktdzegB6HnI6Mi28S2nqOPHxK-W7_4BUk"
"""Under what something is put away."""

PRECOMPILE: Final = "0x00000000000000000000000000000000000000F4"


def proof_of(caught: Caught) -> dict[str, Any]:
    """The members of a response that prove it."""
    body: dict[str, Any] = json.loads(dict(caught.parts)[PartRole.RESPONSE])
    return {name: value for name, value in body.items() if name.startswith("tee_")}


def another(number: int) -> dict[str, Any]:
    """The proof of some other response."""
    return {
        "tee_signature": base64.b64encode(bytes([number]) * 256).decode(),
        "tee_request_hash": f"{number:064x}",
        "tee_output_hash": f"{number + 1:064x}",
        "tee_timestamp": 1780000000 + number,
        "tee_id": f"0x{number + 2:064x}",
    }


# --- Words. ---


def word(number: int) -> bytes:
    """A number, of either sign."""
    return (number % (1 << 256)).to_bytes(32, "big")


def text(data: bytes) -> bytes:
    """Bytes or a text: its length, then whole words."""
    return word(len(data)) + data + bytes(-len(data) % 32)


def pointed(parts: Sequence[bytes | tuple[bytes]]) -> bytes:
    """Words beside each other; what is alone in a tuple comes later, and its place stands there."""
    heads, tails = b"", b""
    size = sum(32 if isinstance(part, tuple) else len(part) for part in parts)
    for part in parts:
        if isinstance(part, tuple):
            heads += word(size + len(tails))
            tails += part[0]
        else:
            heads += part
    return heads + tails


def listed(parts: Sequence[bytes | tuple[bytes]]) -> bytes:
    """An array."""
    return word(len(parts)) + pointed(parts)


# --- What the facilitator is told and puts away. ---


def leaf(proof: Mapping[str, Any]) -> bytes:
    """The leaf of a response."""
    signature = base64.b64decode(proof["tee_signature"])
    hashed = [bytes.fromhex(proof[name]) for name in ("tee_request_hash", "tee_output_hash")]
    parts = [bytes.fromhex(proof["tee_id"][2:]), *hashed]
    encoded = pointed([*parts, (text(signature),), word(proof["tee_timestamp"])])
    return keccak256(keccak256(encoded))


def dump(proofs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The tree of a batch, as it is dumped."""
    leaves = sorted((leaf(proof), number) for number, proof in enumerate(proofs))
    nodes = [b""] * (2 * len(leaves) - 1)
    places = {}
    for position, (hashed, number) in enumerate(leaves):
        places[number] = len(nodes) - 1 - position
        nodes[places[number]] = hashed
    for place in range(len(leaves) - 2, -1, -1):
        nodes[place] = keccak256(b"".join(sorted(nodes[2 * place + 1 : 2 * place + 3])))
    values = [
        {
            "value": [
                proof["tee_id"],
                "0x" + proof["tee_request_hash"],
                "0x" + proof["tee_output_hash"],
                "0x" + base64.b64decode(proof["tee_signature"]).hex(),
                str(proof["tee_timestamp"]),
            ],
            "treeIndex": places[number],
        }
        for number, proof in enumerate(proofs)
    ]
    return {
        "format": "standard-v1",
        "leafEncoding": ["bytes32", "bytes32", "bytes32", "bytes", "uint256"],
        "tree": [f"0x{node.hex()}" for node in nodes],
        "values": values,
    }


def blob(caught: Caught, **members: Any) -> dict[str, Any]:
    """What is put away of one response."""
    proof, parts = proof_of(caught), dict(caught.parts)
    message = json.loads(parts[PartRole.RESPONSE])["choices"][0]["message"]
    return {
        "input": json.loads(parts[PartRole.REQUEST]),
        "output": message["content"],
        "teeSignature": proof["tee_signature"],
        "teeId": proof["tee_id"],
        "timestamp": str(proof["tee_timestamp"]),
        "ethAddress": PAYER,
        **members,
    }


def told(proof: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """What the facilitator is told of a response in a batch."""
    return {
        "input_hash": "0x" + proof["tee_request_hash"],
        "output_hash": proof["tee_output_hash"],
        "tee_signature": proof["tee_signature"],
        "tee_id": proof["tee_id"],
        "tee_timestamp": proof["tee_timestamp"],
        **members,
    }


def headers(kind: str, members: Mapping[str, Any] | None = None) -> bytes:
    """The two headers, among others."""
    lines = ["HTTP/1.1 200 OK", "content-type: application/json", f"X-Settlement-Type: {kind}"]
    if members is not None:
        data = base64.b64encode(json.dumps(members).encode()).decode()
        lines.append(f"x-settlement-data: {data}")
    return "\r\n".join([*lines, "", ""]).encode()


# --- What the chain tells. ---


def event(
    signature: str, indexed: Sequence[bytes], said: bytes, /, **members: Any
) -> dict[str, Any]:
    """An event, as a node of the chain tells it."""
    topics = [keccak256(signature.encode()), *indexed]
    return {
        "address": RELAY,
        "topics": [f"0x{topic.hex()}" for topic in topics],
        "data": f"0x{said.hex()}",
        "blockNumber": "0x1b4",
        "transactionHash": "0x" + "7e" * 32,
        "logIndex": "0x0",
        "removed": False,
        **members,
    }


def batch_event(tree: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """A batch is settled."""
    data = pointed([word(len(tree["values"])), (text(BLOB_ID.encode()),)])
    root = bytes.fromhex(tree["tree"][0][2:])
    return event("BatchSettlement(bytes32,uint256,bytes)", [root], data, **members)


def individual_event(proof: Mapping[str, Any], payer: str = PAYER) -> dict[str, Any]:
    """A response is settled by itself."""
    signature = base64.b64decode(proof["tee_signature"])
    data = pointed(
        [
            bytes.fromhex(proof["tee_request_hash"]),
            bytes.fromhex(proof["tee_output_hash"]),
            word(proof["tee_timestamp"]),
            (text(BLOB_ID.encode()),),
            (text(signature),),
        ]
    )
    indexed = [bytes.fromhex(proof["tee_id"][2:]), bytes.fromhex(payer[2:]).rjust(32, b"\0")]
    kinds = "bytes32,address,bytes32,bytes32,uint256,bytes,bytes"
    return event(f"IndividualSettlement({kinds})", indexed, data)


def inference_event(mode: int = 2, *, simulated: bool = False, **members: Any) -> dict[str, Any]:
    """A model was run on the chain: 0.1 and -3 went in, and a text; 2.5 came out, and JSON."""
    asked = _number("x", ((1, 1), (-3, 0)), (1, 2))
    label = pointed([(text(b"label"),), (listed([(text("é".encode()),)]),)])
    tensors = pointed([(listed([(asked,)]),), (listed([(label,)]),)])
    request = pointed([word(mode), (text(b"QmModel"),), (tensors,)])
    answered = _number("y", ((25, 1),), (1,))
    said = pointed([(text(b"more"),), (text(b'{"a": 1}'),)])
    response = pointed(
        [
            (listed([(answered,)]),),
            (listed([]),),
            (listed([(said,)]),),
            word(int(simulated)),
        ]
    )
    numbers, strings = "(string,(int128,int128)[],uint32[])[]", "(string,string[])[]"
    kinds = (
        f"string,(uint8,string,({numbers},{strings})),({numbers},{strings},(string,string)[],bool)"
    )
    data = pointed([(text(b"inference-1"),), (request,), (response,)])
    return event(f"ModelInferenceEvent({kinds})", [], data, **{"address": PRECOMPILE, **members})


def _number(name: str, values: Sequence[tuple[int, int]], shape: Sequence[int]) -> bytes:
    pairs = [word(value) + word(decimals) for value, decimals in values]
    return pointed(
        [(text(name.encode()),), (listed(pairs),), (listed([word(size) for size in shape]),)]
    )


def receipt(*events: Mapping[str, Any]) -> dict[str, Any]:
    """What a node answers about a transaction."""
    transfer = event("Transfer(address,address,uint256)", [], b"\1" * 32)
    result = {"status": "0x1", "logs": [transfer, *events], "transactionHash": "0x" + "7e" * 32}
    return {"jsonrpc": "2.0", "id": 1, "result": result}


def settled(
    caught: Caught,
    settlement: Mapping[str, Any] | bytes | None = None,
    transaction: Mapping[str, Any] | Sequence[Any] | bytes | None = None,
) -> Caught:
    """A response with what is settled of it, and what the chain tells."""
    given = ((PartRole.SETTLEMENT, settlement), (PartRole.TRANSACTION, transaction))
    more = tuple(
        (role, said if isinstance(said, bytes) else json.dumps(said).encode())
        for role, said in given
        if said is not None
    )
    return Caught((*caught.parts, *more), caught.endorsements, caught.policy, caught.nonce)
