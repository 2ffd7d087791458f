"""Events of OpenGradient's chain, as a node of it tells them: settlements, and inferences on it.

What a node answers to ``eth_getTransactionReceipt`` or ``eth_getLogs`` is read, alone or inside the
JSON-RPC around it. That an event is in a block, and the block in the chain, nothing here proves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self

from registry.core import encoding
from registry.core.evidence.checks import CheckError, Severity
from registry.core.foreign import spelling
from registry.core.foreign.ethereum import ADDRESS_BYTES, keccak256
from registry.core.foreign.ethereum_abi import Array, Kind, decode, encode, name_of
from registry.core.foreign.json_document import unreadable
from registry.core.foreign.opengradient.response import Proof
from registry.core.foreign.opengradient.settlement import Found
from registry.errors import MalformedError

MAX_EVENTS: Final = 4096
"""Events of one transaction, or of one answer."""

MAX_BLOB_ID_BYTES: Final = 256
"""Bytes of the name under which something is put away."""

PRECOMPILE: Final = bytes(19) + b"\xf4"
"""The address that inferences on the chain are told by."""

MODES: Final = ("VANILLA", "ZKML", "TEE")
"""How an inference on the chain was to be proven, by number."""

_NUMBERS: Final = Array(("string", Array(("int128", "int128")), Array("uint32")))
_STRINGS: Final = Array(("string", Array("string")))
REQUEST: Final[tuple[Kind, ...]] = ("uint8", "string", (_NUMBERS, _STRINGS))
RESPONSE: Final[tuple[Kind, ...]] = (_NUMBERS, _STRINGS, Array(("string", "string")), "bool")

_BATCH: Final = ("BatchSettlement", ("bytes32",), ("uint256", "bytes"))
_INDIVIDUAL: Final = (
    "IndividualSettlement",
    ("bytes32", "address"),
    ("bytes32", "bytes32", "uint256", "bytes", "bytes"),
)
_INFERENCE: Final = ("ModelInferenceEvent", (), ("string", REQUEST, RESPONSE))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node says that an event is.

    Attributes:
        emitter: The contract whose event it is.
        transaction: Its transaction; empty if the node does not say.
        block: The number of its block, in hexadecimal; empty if the node does not say.
    """

    emitter: bytes
    transaction: str
    block: str


@dataclass(frozen=True, slots=True)
class BatchSettlement:
    """A batch is settled; nobody has checked what is in it.

    Attributes:
        blob_id: Under what its tree is put away.
    """

    place: Place
    root: bytes
    size: int
    blob_id: bytes


@dataclass(frozen=True, slots=True)
class IndividualSettlement:
    """A response is settled, and the contract has verified its signature by the key then listed.

    Attributes:
        address: Who paid for it.
        blob_id: Under what request and answer are put away.
    """

    place: Place
    proof: Proof
    address: bytes
    blob_id: bytes


@dataclass(frozen=True, slots=True)
class ModelInference:
    """A model was run, as the chain tells it.

    Attributes:
        inference_id: How the node that ran it names this.
        mode: One of :data:`MODES`.
        model_cid: The content identifier of the model's file: the only hash of it on the chain.
        request: The tensors that went in: numbers, then texts; each a name and its values.
        response: The tensors that came out: numbers, texts, JSON, and whether it was simulated.
    """

    place: Place
    inference_id: str
    mode: str
    model_cid: str
    request: tuple[Any, ...]
    response: tuple[Any, ...]

    @property
    def simulated(self) -> bool:
        """Whether nothing was run: a call that only tries a transaction answers so."""
        return bool(self.response[-1])

    def response_bytes(self) -> bytes:
        """What came out, in its one ABI encoding."""
        return encode(RESPONSE, self.response)

    def request_bytes(self) -> bytes:
        """What went in, in its one ABI encoding."""
        return encode(REQUEST[2:], (self.request,))


Event = BatchSettlement | IndividualSettlement | ModelInference


@dataclass(frozen=True, slots=True)
class _Log:
    place: Place
    topics: tuple[bytes, ...]
    data: bytes

    @classmethod
    def of(cls, said: Any) -> Self:
        if not isinstance(said, dict):
            raise _form("logs", said)
        if said.get("removed", False) is not False:
            raise CheckError(
                Found.EVENT_REMOVED,
                "the block of this event is no longer part of the chain",
                severity=Severity.TIME,
                actual=ascii(said["removed"])[:80],
            )
        emitter = said.get("address")
        # The case of the letters is a checksum for people.
        emitter = emitter.lower() if isinstance(emitter, str) else emitter
        topics = said.get("topics")
        if not isinstance(topics, list) or len(topics) > len("0123"):
            raise _form("topics", topics)
        place = Place(
            _hex(emitter, "address", ADDRESS_BYTES),
            _label(said, "transactionHash"),
            _label(said, "blockNumber"),
        )
        words = tuple(_hex(topic, "topics", 32) for topic in topics)
        return cls(place, words, _hex(said.get("data"), "data"))


def read_events(data: bytes) -> tuple[Event, ...]:
    """The events that are known here, of all that a node tells.

    Raises:
        CheckError: What is wrong with the answer, or with an event that is known.
        UnavailableError: ``MISSING_EXTRA``.
    """
    try:
        said = encoding.read_foreign_numbers(data, what="transaction", max_depth=spelling.MAX_DEPTH)
    except MalformedError as error:
        raise unreadable(error, "transaction") from error
    if isinstance(said, dict) and "result" in said:
        said = said["result"]
    if isinstance(said, dict):
        said = said.get("logs", [said])
    if not isinstance(said, list) or len(said) > MAX_EVENTS:
        raise _form("logs", said)
    events = (_event(_Log.of(item)) for item in said)
    return tuple(event for event in events if event is not None)


@cache
def topic(name: str, indexed: tuple[Kind, ...], rest: tuple[Kind, ...]) -> bytes:
    """The first topic of an event: the Keccak-256 of its signature."""
    return keccak256(f"{name}{name_of((*indexed, *rest))}".encode())


def _event(log: _Log) -> Event | None:
    first = log.topics[0] if log.topics else b""
    if first == topic(*_BATCH):
        (root,), (size, blob_id) = _values(log, *_BATCH[1:])
        return BatchSettlement(log.place, root, size, _blob_id(blob_id))
    if first == topic(*_INDIVIDUAL):
        indexed, rest = _values(log, *_INDIVIDUAL[1:])
        (tee_id, address), (asked, answered, timestamp, blob_id, signature) = indexed, rest
        proof = Proof(signature, asked, answered, timestamp, tee_id)
        return IndividualSettlement(log.place, proof, address, _blob_id(blob_id))
    if first == topic(*_INFERENCE) and log.place.emitter == PRECOMPILE:
        _, (inference_id, (mode, model_cid, tensors), response) = _values(log, *_INFERENCE[1:])
        if mode >= len(MODES):
            raise _form("mode", mode)
        return ModelInference(log.place, inference_id, MODES[mode], model_cid, tensors, response)
    return None


def _values(
    log: _Log, indexed: tuple[Kind, ...], rest: tuple[Kind, ...]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    try:
        return decode(indexed, b"".join(log.topics[1:])), decode(rest, log.data)
    except MalformedError as error:
        raise _form("data", str(error)) from error


def _blob_id(data: bytes) -> bytes:
    if not 0 < len(data) <= MAX_BLOB_ID_BYTES or not data.isascii():
        raise _form("walrusBlobId", data)
    return data


def _hex(value: Any, where: str, size: int | None = None) -> bytes:
    if not isinstance(value, str) or not value.startswith("0x"):
        raise _form(where, value)
    try:
        return encoding.hex_bytes(value[2:], len(value) // 2 - 1 if size is None else size)
    except MalformedError as error:
        raise _form(where, str(error)) from error


def _label(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not value.startswith("0x") or len(value) > len("0x") + 64:
        raise _form(name, value)
    return value


def _form(where: str, actual: object) -> CheckError:
    return CheckError(
        Found.EVENT_FORM,
        "this is not what a node of the chain tells of an event",
        where=where,
        actual=ascii(actual)[:200],
    )
