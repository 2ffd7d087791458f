"""What OpenGradient's facilitator settles of responses: what it is told, and what it puts away.

The gateway tells it in two headers, ``x-settlement-type`` and ``x-settlement-data``, the latter
JSON in base64. A ``batch`` becomes a tree, put away as OpenZeppelin's ``StandardMerkleTree`` dumps
it, of which the chain learns the root; an ``individual`` response is put away with what was asked
and answered, and the chain learns its hashes. Of a ``private`` one the chain learns nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, Self, TypeVar

from registry.core import encoding
from registry.core.encoding import Number
from registry.core.evidence.checks import CheckError, Severity
from registry.core.foreign import ethereum_abi, spelling
from registry.core.foreign.ethereum import ADDRESS_BYTES, keccak256
from registry.core.foreign.ethereum_abi import Kind
from registry.core.foreign.json_document import unreadable
from registry.core.foreign.opengradient.response import Proof
from registry.errors import MalformedError

MAX_LEAVES: Final = 4096
"""Responses of one batch; the facilitator sends some twenty together."""

MAX_SIGNATURE_BYTES: Final = 1024
"""Bytes of a signature in a leaf; an enclave's key makes 256."""

LEAF: Final[tuple[Kind, ...]] = ("bytes32", "bytes32", "bytes32", "bytes", "uint256")
"""What a leaf is of: name of the enclave, request hash, output hash, signature, timestamp."""

_TREE_FORMAT: Final = "standard-v1"
_UINT256: Final = re.compile(r"0|[1-9][0-9]{0,76}", re.ASCII)
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "inputHash": ("inputHash", "input_hash"),
    "outputHash": ("outputHash", "output_hash"),
    "teeSignature": ("teeSignature", "tee_signature"),
    "teeId": ("teeId", "tee_id"),
    "timestamp": ("timestamp", "tee_timestamp"),
    "ethAddress": ("ethAddress", "eth_address"),
}
"""A member → how the facilitator lets it be called."""

T = TypeVar("T")


class Found(StrEnum):
    """What may be found about a settlement."""

    SETTLEMENT_FORM = "SETTLEMENT_FORM"
    LEAF_ENCODING = "LEAF_ENCODING"
    TREE_MISMATCH = "TREE_MISMATCH"
    NOT_IN_BATCH = "NOT_IN_BATCH"
    OTHER_RESPONSE = "OTHER_RESPONSE"
    EVENT_FORM = "EVENT_FORM"
    EVENT_REMOVED = "EVENT_REMOVED"
    NO_EVENT = "NO_EVENT"
    OTHER_EVENT = "OTHER_EVENT"
    UNPROVEN_EVENT = "UNPROVEN_EVENT"
    SIMULATED = "SIMULATED"


class Kept(StrEnum):
    """What becomes of a response at the facilitator."""

    PRIVATE = "private"
    BATCH = "batch"
    INDIVIDUAL = "individual"


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of one response; what is None is not said.

    Attributes:
        kept: What is to become of it.
        input: What was asked, as it was told; absent unless the response is settled by itself.
        output: What was answered.
        address: Who paid for it.
    """

    kept: Kept
    signature: bytes | None = None
    request_hash: bytes | None = None
    output_hash: bytes | None = None
    timestamp: int | None = None
    tee_id: bytes | None = None
    input: Any = None
    output: Any = None
    address: bytes | None = None

    def differs(self, proof: Proof) -> str:
        """The first thing that is said otherwise than a response's proof says it; empty if none."""
        for name in ("signature", "request_hash", "output_hash", "timestamp", "tee_id"):
            said = getattr(self, name)
            if said is not None and said != getattr(proof, name):
                return name
        return ""


def leaf_of(proof: Proof) -> bytes:
    """The leaf of a batch for a response: two times Keccak-256 of its ABI encoding."""
    values = (
        *(proof.tee_id, proof.request_hash, proof.output_hash),
        *(proof.signature, proof.timestamp),
    )
    return keccak256(keccak256(ethereum_abi.encode(LEAF, values)))


def node_of(left: bytes, right: bytes) -> bytes:
    """The hash over two others, which are in no order."""
    return keccak256(min(left, right) + max(left, right))


@dataclass(frozen=True, slots=True)
class Tree:
    """A batch, as it is put away.

    Attributes:
        nodes: Every hash: the root first, the children of ``i`` at ``2 i + 1`` and ``2 i + 2``.
        values: Every response in it, with the place of its leaf.
    """

    nodes: tuple[bytes, ...]
    values: tuple[tuple[Proof, int], ...]

    @property
    def root(self) -> bytes:
        """What the chain learns."""
        return self.nodes[0]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """Take a dump; its hashes are not yet checked.

        Raises:
            CheckError: ``SETTLEMENT_FORM``, or ``LEAF_ENCODING`` if leaves are of something else.
        """
        leaf = said.get("leafEncoding")
        if said.get("format") != _TREE_FORMAT or leaf != list(LEAF):
            raise CheckError(
                Found.LEAF_ENCODING,
                "trees of this kind are not read here",
                severity=Severity.TIME,
                expected=f"{_TREE_FORMAT}: {', '.join(map(str, LEAF))}",
                actual=ascii((said.get("format"), leaf))[:200],
            )
        values, nodes = _list(said, "values"), _list(said, "tree")
        if not 0 < len(values) <= MAX_LEAVES or len(nodes) != 2 * len(values) - 1:
            raise _form("tree", f"{len(values)} values, {len(nodes)} hashes")
        read = tuple(_value(value) for value in values)
        return cls(tuple(_hex(node, "tree", 32) for node in nodes), read)

    def verify(self) -> None:
        """Make every hash again.

        Raises:
            CheckError: ``TREE_MISMATCH``.
        """
        count = len(self.values)
        places = sorted(place for _, place in self.values)
        if places != list(range(count - 1, 2 * count - 1)):
            raise _mismatch("the places of the leaves", "")
        for proof, place in self.values:
            if leaf_of(proof) != self.nodes[place]:
                raise _mismatch("a leaf", str(place))
        leaves = self.nodes[count - 1 :]
        # Sorted leaf i stands at 2n - 2 - i.
        if any(later > earlier for earlier, later in pairwise(leaves)):
            raise _mismatch("the order of the leaves", "")
        for place in range(count - 1):
            if node_of(self.nodes[2 * place + 1], self.nodes[2 * place + 2]) != self.nodes[place]:
                raise _mismatch("a hash", str(place))

    def holds(self, proof: Proof) -> bool:
        """Whether a response is in it."""
        return any(value == proof for value, _ in self.values)


Settlement = Tree | Told


def read(data: bytes) -> Settlement:
    """Read a dump of a tree, what is put away of one response, or the two headers.

    Raises:
        CheckError: What is wrong with it.
    """
    if data.lstrip()[:1] != b"{":
        return _headers(data)
    said = _members(data, "settlement")
    if "values" in said or "tree" in said:
        return Tree.of(said)
    return _told(Kept.INDIVIDUAL, said, hashed=False)


def _headers(data: bytes) -> Told:
    """The two headers, among any others, as ``curl -D`` writes them."""
    given: dict[str, str] = {}
    for line in data.decode("latin-1").splitlines():
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or name not in ("x-settlement-type", "x-settlement-data"):
            continue
        if name in given:
            raise _form(name, "twice")
        given[name] = value.strip()
    kind = given.get("x-settlement-type", "").lower()
    if kind not in tuple(Kept):
        raise _form("x-settlement-type", kind or "nothing", ", ".join(Kept))
    if kind == Kept.PRIVATE:
        return Told(Kept.PRIVATE)
    if "x-settlement-data" not in given:
        raise _form("x-settlement-data", "nothing", "JSON in base64")
    try:
        decoded = encoding.base64_bytes(given["x-settlement-data"])
    except MalformedError as error:
        raise _form("x-settlement-data", str(error), "JSON in base64") from error
    return _told(Kept(kind), _members(decoded, "x-settlement-data"), hashed=True)


def _told(kept: Kept, said: Mapping[str, Any], *, hashed: bool) -> Told:
    """What members say of one response.

    Args:
        kept: What is to become of it.
        said: The members.
        hashed: Whether both hashes are among them, as in the header.
    """
    alone = kept is Kept.INDIVIDUAL

    def take(name: str, form: Callable[[Any, str], T], *, need: bool) -> T | None:
        there = [other for other in _NAMES[name] if other in said]
        if len(there) > 1 or (need and not there):
            raise _form(name, f"{len(there)} of them", "one")
        return form(said[there[0]], name) if there else None

    if alone and not {"input", "output"} <= said.keys():
        raise _form("input, output", ", ".join(said)[:200], "both")
    return Told(
        kept,
        signature=take("teeSignature", _base64, need=True),
        request_hash=take("inputHash", _hash, need=hashed),
        output_hash=take("outputHash", _hash, need=hashed),
        timestamp=take("timestamp", _number, need=alone),
        tee_id=take("teeId", _hash, need=alone),
        input=said.get("input"),
        output=said.get("output"),
        address=take("ethAddress", _address, need=alone),
    )


def _value(said: Any) -> tuple[Proof, int]:
    values = said.get("value") if isinstance(said, dict) else None
    if not isinstance(values, list) or len(values) != len(LEAF):
        raise _form("values", said)
    tee_id, request_hash, output_hash, signature, timestamp = values
    place = _number(said.get("treeIndex"), "treeIndex")
    proof = Proof(
        signature=_hex(signature, "values"),
        request_hash=_hex(request_hash, "values", 32),
        output_hash=_hex(output_hash, "values", 32),
        timestamp=_number(timestamp, "values"),
        tee_id=_hex(tee_id, "values", 32),
    )
    return proof, place


def _members(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = encoding.read_foreign_numbers(data, what=where, max_depth=spelling.MAX_DEPTH)
    except MalformedError as error:
        raise unreadable(error, where) from error
    if not isinstance(value, dict):
        raise _form(where, "no JSON object")
    return value


def _list(said: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = said.get(name)
    if not isinstance(value, list):
        raise _form(name, value)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise _form(where, value)
    return value


def _hex(value: Any, where: str, size: int | None = None) -> bytes:
    text = _text(value, where)
    if not text.startswith("0x") or len(text) > 2 * (MAX_SIGNATURE_BYTES + 1):
        raise _form(where, text)
    try:
        return encoding.hex_bytes(text[2:], len(text) // 2 - 1 if size is None else size)
    except MalformedError as error:
        raise _form(where, text) from error


def _hash(value: Any, where: str) -> bytes:
    """32 bytes, which may be told without what stands before hexadecimal."""
    text = _text(value, where)
    return _hex(text if text.startswith("0x") else f"0x{text}", where, 32)


def _address(value: Any, where: str) -> bytes:
    # The case of the letters is a checksum for people.
    return _hex(_text(value, where).lower(), where, ADDRESS_BYTES)


def _base64(value: Any, where: str) -> bytes:
    text = _text(value, where)
    try:
        signature = encoding.base64_bytes(text)
    except MalformedError as error:
        raise _form(where, text) from error
    if not 0 < len(signature) <= MAX_SIGNATURE_BYTES:
        raise _form(where, f"{len(signature)} bytes")
    return signature


def _number(value: Any, where: str) -> int:
    """A whole number of 256 bits, as a number or as text."""
    number = int(value) if isinstance(value, str) and _UINT256.fullmatch(value) else -1
    if not 0 <= number < 1 << 256:
        raise _form(where, value)
    return number


def _mismatch(where: str, actual: str) -> CheckError:
    return CheckError(
        Found.TREE_MISMATCH,
        "the tree of the batch is not that of its values",
        where=where,
        actual=actual,
    )


def _form(where: str, actual: object, expected: str = "") -> CheckError:
    return CheckError(
        Found.SETTLEMENT_FORM,
        "this is not as the facilitator writes it",
        where=where,
        expected=expected,
        actual=ascii(actual)[:200],
    )
