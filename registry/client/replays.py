"""What auditors who ran recorded calls again say, as a registry shows it."""

from dataclasses import dataclass

from registry.client.registry import RegistryClient
from registry.client.statements import LoggedStatement
from registry.core.records.replay import PREDICATE_TYPE, Replay, is_rounding


@dataclass(frozen=True, slots=True)
class FoundReplay:
    """A replay.

    Attributes:
        record_id: The record id of its statement.
        agrees: Whether it gave that output again.
        proof_bytes: Bytes of its statement and receipt.
    """

    record_id: bytes
    agrees: bool
    proof_bytes: int


class ReplayCalls:
    """Asks a registry for replays; every statement is verified."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    def replay_of(self, leaf: bytes) -> FoundReplay | None:
        """What is said of the output whose record has this leaf hash.

        One that agrees counts before one that does not; who could not tell is passed over.

        Raises:
            RegistryError: What is wrong with a statement, or why it cannot be asked for.
        """
        differs: FoundReplay | None = None
        for logged in self._client.statements_about(PREDICATE_TYPE, leaf):
            said: Replay = logged.statement.predicate
            if said.outcome in ("bit_exact", "within_tolerance"):
                return _found(logged, agrees=True)
            if said.outcome == "mismatch" and not is_rounding(said.reasons, said.difference):
                differs = differs or _found(logged, agrees=False)
        return differs


def _found(logged: LoggedStatement, *, agrees: bool) -> FoundReplay:
    size = len(logged.envelope.to_bytes()) + len(logged.receipt.to_bytes())
    return FoundReplay(logged.envelope.record_id, agrees, size)
