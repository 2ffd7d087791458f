"""Journals of shims over gRPC."""

import asyncio
from typing import Any

import grpc.aio

from registry.api.v1 import journal_service_pb2 as pb
from registry.api.v1 import journal_service_pb2_grpc as rpc
from registry.api.v1 import statement_pb2
from registry.core.records import batch
from registry.errors import LimitExceededError, MalformedError, Reason
from registry.server.statements import DEFAULT_PAGE, MAX_PAGE, SHIM_ID_BYTES
from registry.services.costs import CostSums
from registry.services.journals import MAX_N, Found, Journals
from registry.services.sequencing import Sequencer
from registry.storage.sql.log import StoredEntry
from registry.wire import costs as wire_costs
from registry.wire import statement as wire_statement

Context = grpc.aio.ServicerContext[Any, Any]


class JournalServicer(rpc.JournalServiceServicer):
    """Thin: wire → value, one service call, value → wire."""

    def __init__(self, journals: Journals, sums: CostSums, sequencer: Sequencer) -> None:
        self._journals = journals
        self._sums = sums
        self._sequencer = sequencer
        # Summing reads many records; one at a time leaves the rest of the machine to others.
        self._summing = asyncio.Semaphore(1)

    async def GetRecord(  # noqa: N802 - gRPC's spelling
        self, request: pb.GetRecordRequest, context: Context
    ) -> pb.GetRecordResponse:
        """One record."""
        _check(request.shim_id, request.n)
        found = await asyncio.to_thread(self._journals.record, request.shim_id, request.n)
        return pb.GetRecordResponse(record=self._proven(found))

    async def FindAbout(  # noqa: N802
        self, request: pb.FindAboutRequest, context: Context
    ) -> pb.FindAboutResponse:
        """The next record about a call."""
        _check(request.shim_id, request.intent_n, request.from_n)
        found, next_n = await asyncio.to_thread(
            self._journals.about, request.shim_id, request.intent_n, request.from_n
        )
        record = None if found is None else self._proven(found)
        return pb.FindAboutResponse(record=record, next_n=next_n)

    async def SumCosts(  # noqa: N802
        self, request: pb.SumCostsRequest, context: Context
    ) -> pb.SumCostsResponse:
        """What verification cost, in some batches."""
        wanted = wire_costs.wanted_from_proto(request)
        _check_numbers(request.start, request.end)
        async with self._summing:
            page = await asyncio.to_thread(self._sums.page, wanted, request.start, request.end)
        return pb.SumCostsResponse(
            costs=map(wire_costs.cost_to_proto, page.rows),
            next=page.next,
            end=page.end,
            records=page.records,
        )

    async def ListBatches(  # noqa: N802
        self, request: pb.ListBatchesRequest, context: Context
    ) -> pb.ListBatchesResponse:
        """Some batches of a shim."""
        _check(request.shim_id, request.from_n)
        limit = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        return await asyncio.to_thread(self._page, request.shim_id, request.from_n, limit)

    async def ListShims(  # noqa: N802
        self, request: pb.ListShimsRequest, context: Context
    ) -> pb.ListShimsResponse:
        """Some shims."""
        if request.after:
            _check(request.after, 0)
        limit = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        found = await asyncio.to_thread(self._journals.shims, request.after, limit)
        return pb.ListShimsResponse(shim_ids=found)

    def _page(self, shim_id: bytes, from_n: int, limit: int) -> pb.ListBatchesResponse:
        found = self._journals.batches(shim_id, from_n, limit)
        return pb.ListBatchesResponse(
            batches=[self._logged(entry, stored.principal) for stored, entry in found]
        )

    def _proven(self, found: Found) -> pb.ProvenRecord:
        return pb.ProvenRecord(
            record=found.data, path=found.path, batch=self._logged(found.entry, found.principal)
        )

    def _logged(self, entry: StoredEntry, principal: str) -> statement_pb2.LoggedStatement:
        receipt = self._sequencer.prove(entry)
        return wire_statement.logged_to_proto(
            entry.envelope, receipt, batch.PREDICATE_TYPE, principal
        )


def add_journals(
    journals: Journals, sums: CostSums, sequencer: Sequencer, server: grpc.aio.Server
) -> None:
    """Let a server answer about journals."""
    servicer = JournalServicer(journals, sums, sequencer)
    rpc.add_JournalServiceServicer_to_server(servicer, server)


def _check(shim_id: bytes, *numbers: int) -> None:
    if len(shim_id) != SHIM_ID_BYTES:
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "this is not the id of a shim",
            expected=f"{SHIM_ID_BYTES} bytes",
            actual=f"{len(shim_id)} bytes",
        )
    _check_numbers(*numbers)


def _check_numbers(*numbers: int) -> None:
    if max(numbers) > MAX_N:
        raise LimitExceededError(
            Reason.MALFORMED_FIELD,
            "no record or entry has such a number",
            expected=f"at most {MAX_N}",
            actual=str(max(numbers)),
        )
