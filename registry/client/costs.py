"""What verification cost: as the registry sums it, or summed here from records that are checked."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from registry.api.v1 import journal_service_pb2 as pb
from registry.api.v1 import journal_service_pb2_grpc as rpc
from registry.client.journals import JournalCalls
from registry.client.registry import RegistryClient
from registry.client.session import require
from registry.core import digest
from registry.core.records import batch, costs, inference, replay
from registry.core.records.costs import Cost, Costs, Wanted
from registry.core.records.release import Release
from registry.errors import LimitExceededError, NotFoundError, Reason
from registry.wire import access as wire_access
from registry.wire import costs as wire_costs
from registry.wire.costs import moment

MAX_ROWS: Final = 1_000_000
"""Rows of one answer."""

UNKNOWN_MODEL: Final = "unknown"
"""What a call was about whose intent or release the registry does not show."""

PAGE_SECONDS: Final = 120.0
"""How long the registry may take over one page."""

Progress = Callable[[str, int], None]
"""Told what is being done, and how many are done."""


@dataclass(frozen=True, slots=True)
class Summed:
    """Costs by day, model and level.

    Attributes:
        entries: How much of the log they cover.
        records: How many records were read.
    """

    rows: tuple[Cost, ...]
    entries: int
    records: int


class CostCalls:
    """Asks what verification cost."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._connection = client.connection
        self._journals = rpc.JournalServiceStub(client.connection.channel)
        self._records = JournalCalls(client)

    def sums(
        self,
        model: str,
        since: datetime | None,
        until: datetime | None,
        progress: Progress,
    ) -> Summed:
        """The costs of calls to a model, as the registry sums them, page by page.

        Args:
            model: A name, or name and version; empty for all.
            since: The first moment that counts, by the shims' clocks.
            until: The first moment that is too late.
            progress: Told how many records were read.

        Raises:
            LimitExceededError: ``MESSAGE_TOO_LARGE``.
            RegistryError: What keeps the registry from answering.
        """
        summed, start, end, records = Costs(), 0, 0, 0
        while True:
            request = pb.SumCostsRequest(
                start=start,
                end=end,
                model=model,
                since=wire_access.time_to_proto(since),
                until=wire_access.time_to_proto(until),
            )
            answer = self._connection.call(self._journals.SumCosts, request, PAGE_SECONDS)
            require(answer.end == end or not end, "part of the log")
            require(answer.next > start or answer.next >= answer.end, "part of the log")
            summed.merge(map(wire_costs.cost_from_proto, answer.costs))
            _check_rows(summed)
            start, end, records = answer.next, answer.end, records + answer.records
            progress("records", records)
            if start >= end:
                return Summed(summed.rows(), end, records)

    def recomputed(
        self,
        model: str,
        since: datetime | None,
        until: datetime | None,
        progress: Progress,
    ) -> Summed:
        """As :meth:`sums`, from all batches and replays of the log, each checked here.

        Raises:
            LimitExceededError: ``MESSAGE_TOO_LARGE``.
            RegistryError: What is wrong with a batch, a record or a replay.
        """
        wanted = Wanted(
            model, "" if since is None else moment(since), "" if until is None else moment(until)
        )
        summed, records = Costs(), 0
        size = self._client.checkpoint().checkpoint.size
        for logged in self._client.list_statements(batch.PREDICATE_TYPE):
            if logged.index >= size:
                break
            read, _ = self._records.content(logged)
            costs.add_batch(summed, wanted, read, self._model_of)
            _check_rows(summed)
            records += len(read)
            progress("records", records)
        for logged in self._client.list_statements(replay.PREDICATE_TYPE):
            if logged.index >= size:
                break
            costs.add_replay(summed, wanted, logged.statement.predicate)
        return Summed(summed.rows(), size, records)

    def _model_of(self, shim_id: str, intent_n: int) -> str:
        try:
            record = self._records.record(bytes.fromhex(shim_id), intent_n).record
            if not isinstance(record, inference.Intent):
                return UNKNOWN_MODEL
            released = self._client.get_statement(digest.parse(record.release))
        except NotFoundError:
            return UNKNOWN_MODEL
        said = released.statement.predicate
        return f"{said.name}@{said.version}" if isinstance(said, Release) else UNKNOWN_MODEL


def _check_rows(summed: Costs) -> None:
    if len(summed) > MAX_ROWS:
        raise LimitExceededError(
            Reason.MESSAGE_TOO_LARGE,
            "there are more days and models than one answer holds",
            expected=f"at most {MAX_ROWS} rows",
            hint="ask about one model, or fewer days",
        )
