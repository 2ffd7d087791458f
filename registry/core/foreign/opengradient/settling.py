"""The examination of a settlement: it is of this response, its tree holds, the event is of it.

A settlement adds no strength: it shows where the facilitator says that a response's hashes are kept
beyond the enclave. Whoever adds one for another response is refused.
"""

from typing import Any, Final

from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity
from registry.core.foreign.captured import Captured, PartRole
from registry.core.foreign.ethereum import keccak256
from registry.core.foreign.opengradient import chain
from registry.core.foreign.opengradient import request as requests
from registry.core.foreign.opengradient.chain import BatchSettlement, Event, IndividualSettlement
from registry.core.foreign.opengradient.response import Answer, Proof
from registry.core.foreign.opengradient.settlement import (
    Found,
    Kept,
    Settlement,
    Told,
    Tree,
    leaf_of,
    read,
)
from registry.core.foreign.reading import Reading
from registry.errors import MalformedError, RegistryError

CHECKS: Final = ("P4", "P5", "S3", "C4", "C5", "C6")
"""The checks that are made here."""

_NODE_SAYS: Final = "a node of the chain says so, and nothing here proves that it is in a block"
_CHAIN: Final = (
    "settlement: the block of the event, and who verified the signature then",
    "settlement: the contract of the event, which any other can imitate: compare its address",
)


def concerns(captured: Captured) -> bool:
    """Whether there is anything to be examined here."""
    return bool(captured.all(PartRole.SETTLEMENT) or captured.all(PartRole.TRANSACTION))


def skip(ledger: Ledger, *checks: str) -> None:
    """Take note that nothing is to be examined."""
    for check in checks or CHECKS:
        ledger.skip(check, Finding.NOT_APPLICABLE, "nothing of a settlement came with the proof")


def events(ledger: Ledger, captured: Captured) -> tuple[Event, ...] | None:
    """The events that a node told; None if there are none or they cannot be read.

    Raises:
        UnavailableError: ``MISSING_EXTRA``.
    """
    data = captured.one(PartRole.TRANSACTION)
    if data is None:
        ledger.skip("P5", Finding.NOT_APPLICABLE, "nothing that the chain tells is at hand")
        return None
    found: tuple[Event, ...] | None = None
    with ledger.check("P5", data):
        found = chain.read_events(data)
        if not found:
            raise CheckError(
                Found.NO_EVENT,
                "there is no event of OpenGradient in it that is known here",
                severity=Severity.TIME,
            )
    return found or None


def examine(ledger: Ledger, reading: Reading, captured: Captured, proof: Proof) -> None:
    """Examine what is settled of a response.

    Raises:
        MalformedError: ``FOREIGN_PART`` if there are two settlements or two transactions.
        UnavailableError: ``MISSING_EXTRA``.
    """
    data = captured.one(PartRole.SETTLEMENT)
    settled: Settlement | None = None
    if data is None:
        for check in ("P4", "C4", "C5"):
            ledger.skip(check, Finding.NOT_APPLICABLE, "only what the chain tells is at hand")
    else:
        with ledger.check("P4", data):
            settled = read(data)
    if isinstance(settled, Tree):
        _tree(ledger, reading, settled, proof)
    elif settled is not None:
        ledger.skip("C5", Finding.NOT_APPLICABLE, "no tree of a batch is at hand")
        _told(ledger, reading, settled, proof)
    told = events(ledger, captured)
    if told is None:
        ledger.skip("S3", Finding.NOT_APPLICABLE, "nothing that the chain tells is at hand")
        ledger.skip("C6", Finding.NOT_APPLICABLE, "nothing that the chain tells is at hand")
        reading.uncovered.append("settlement: whether the chain knows of it")
        return
    ledger.find("S3", Found.UNPROVEN_EVENT, _NODE_SAYS)
    reading.uncovered += _CHAIN
    with ledger.check("C6"):
        event = _event(told, settled, proof)
        reading.say(
            settlement_contract=f"0x{event.place.emitter.hex()}",
            settlement_transaction=event.place.transaction or None,
            settlement_block=event.place.block or None,
            settlement_blob=event.blob_id.decode("ascii"),
        )
        reading.uncovered.append("settlement: the name of what is put away, not computed here")


def _tree(ledger: Ledger, reading: Reading, tree: Tree, proof: Proof) -> None:
    with ledger.check("C5"):
        tree.verify()
    with ledger.check("C4"):
        if not tree.holds(proof):
            raise CheckError(
                Found.NOT_IN_BATCH,
                "the response is not in the batch",
                severity=Severity.IDENTITY,
                actual=f"{len(tree.values)} others",
            )
    reading.say(
        settlement=Kept.BATCH, settlement_root=tree.root.hex(), settlement_size=len(tree.values)
    )


def _told(ledger: Ledger, reading: Reading, told: Told, proof: Proof) -> None:
    reading.say(
        settlement=told.kept,
        settlement_address=None if told.address is None else f"0x{told.address.hex()}",
    )
    if told.kept is Kept.PRIVATE:
        ledger.skip("C4", Finding.NOT_APPLICABLE, "nothing is settled of a private response")
        return
    with ledger.check("C4"):
        name = told.differs(proof)
        if name:
            raise CheckError(
                Found.OTHER_RESPONSE,
                "another response is settled",
                severity=Severity.IDENTITY,
                where=name,
            )
    if told.kept is Kept.INDIVIDUAL:
        known = {
            "input": _asked(told.input, proof.request_hash),
            "output": _answered(told.output, proof.output_hash),
        }
        reading.covered += [f"settlement.{name}" for name, fits in known.items() if fits]
        reading.uncovered += [
            f"settlement.{name}: in no known spelling is it what was signed"
            for name, fits in known.items()
            if not fits
        ]
        reading.uncovered.append("settlement.ethAddress")


def _asked(value: Any, signed: bytes) -> bool:
    """Whether this is the request that was signed, in a spelling that is known."""
    if not isinstance(value, dict):
        return isinstance(value, str) and keccak256(value.encode()) == signed
    for each in (*requests.CHAT, *requests.COMPLETION):
        try:
            if keccak256(each.write(value)) == signed:
                return True
        except MalformedError:
            # The gateway of that version refuses it.
            continue
    return False


def _answered(value: Any, signed: bytes) -> bool:
    """Whether this is the output that was signed: its text, or the response that holds it."""
    if isinstance(value, str):
        return keccak256(value.encode()) == signed
    try:
        output = Answer.of_body(value).output() if isinstance(value, dict) else b""
    except RegistryError:
        return False
    return keccak256(output) == signed


def _paid_by(event: IndividualSettlement, who: bytes | None) -> IndividualSettlement:
    if who not in (None, event.address):
        raise CheckError(
            Found.OTHER_EVENT,
            "the event names another payer",
            severity=Severity.IDENTITY,
            expected=f"0x{event.address.hex()}",
        )
    return event


def _event(
    told: tuple[Event, ...], settled: Settlement | None, proof: Proof
) -> BatchSettlement | IndividualSettlement:
    """The event of this settlement.

    Raises:
        CheckError: ``OTHER_EVENT``.
    """
    tree = settled if isinstance(settled, Tree) else None
    # The root of a batch of one is its leaf.
    known = (leaf_of(proof), 1) if tree is None else (tree.root, len(tree.values))
    who = settled.address if isinstance(settled, Told) else None
    for event in told:
        if isinstance(event, BatchSettlement) and (event.root, event.size) == known:
            return event
        if isinstance(event, IndividualSettlement) and (tree, event.proof) == (None, proof):
            return _paid_by(event, who)
    batches = tree is None and any(isinstance(event, BatchSettlement) for event in told)
    raise CheckError(
        Found.OTHER_EVENT,
        "no event is of this settlement" + ("; the tree of a batch would tell" if batches else ""),
        severity=Severity.TIME if batches else Severity.IDENTITY,
        actual=", ".join(type(event).__name__ for event in told)[:200],
    )
