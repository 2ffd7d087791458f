"""Registering and reading statements over gRPC."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio

from registry.api.v1 import statement_service_pb2 as pb
from registry.api.v1 import statement_service_pb2_grpc as rpc
from registry.core import encoding
from registry.core.access import Principal
from registry.core.tlog.receipt import Receipt
from registry.errors import MalformedError, Reason, RefusedError
from registry.server.guard import caller
from registry.server.waiting import Waiting
from registry.services.registration import Registration
from registry.services.sequencing import Sequencer
from registry.services.sigstore_statements import SigstoreStatements
from registry.storage.sql.catalog import Listed
from registry.storage.sql.log import StoredEntry
from registry.wire import log as wire_log
from registry.wire import statement as wire_statement

MAX_PAGE = 1000
"""Statements in one page."""

DEFAULT_PAGE = 100
"""Statements in one page, if the caller does not say."""

SHIM_ID_BYTES = 16
"""Bytes of a shim's id."""

Context = grpc.aio.ServicerContext[Any, Any]


class StatementServicer(rpc.StatementServiceServicer):
    """Thin: wire → value, one service call, value → wire."""

    def __init__(
        self,
        registration: Registration,
        sequencer: Sequencer,
        sigstore: SigstoreStatements | None = None,
    ) -> None:
        self._registration = registration
        self._sequencer = sequencer
        self._sigstore = sigstore
        self._waiting: Waiting[Receipt] = Waiting()

    async def Register(  # noqa: N802 - gRPC's spelling
        self, request: pb.RegisterRequest, context: Context
    ) -> pb.RegisterResponse:
        """Register one statement."""
        if request.bundle:
            receipt = await asyncio.to_thread(self._register_bundle, request, caller.get())
            return pb.RegisterResponse(receipt=wire_log.receipt_to_proto(receipt))
        opened = self._registration.open(request.envelope, caller.get())
        if opened.needs_disk:
            future = await asyncio.to_thread(self._registration.finish, opened)
        else:
            future = self._registration.finish(opened)
        receipt = await self._waiting.result(future)
        return pb.RegisterResponse(receipt=wire_log.receipt_to_proto(receipt))

    def _register_bundle(self, request: pb.RegisterRequest, who: Principal) -> Receipt:
        if request.envelope:
            raise MalformedError(
                Reason.MALFORMED_FIELD, "a statement comes in an envelope or in a bundle, not both"
            )
        if self._sigstore is None:
            raise RefusedError(
                Reason.NO_SIGSTORE_ROOT,
                "this registry takes no Sigstore bundles",
                hint="its operator starts it with: provreg serve --sigstore-root FILE",
            )
        return self._sigstore.register(request.bundle, who)

    async def RegisterBatch(  # noqa: N802
        self, request: pb.RegisterBatchRequest, context: Context
    ) -> pb.RegisterBatchResponse:
        """Register a batch with its records."""
        future = await asyncio.to_thread(
            self._registration.register_batch, request.envelope, request.records, caller.get()
        )
        receipt = await self._waiting.result(future)
        return pb.RegisterBatchResponse(receipt=wire_log.receipt_to_proto(receipt))

    async def GetStatement(  # noqa: N802
        self, request: pb.GetStatementRequest, context: Context
    ) -> pb.GetStatementResponse:
        """One statement by record id."""
        listed, stored = await asyncio.to_thread(self._registration.find, request.record_id)
        return pb.GetStatementResponse(
            statement=wire_statement.logged_to_proto(
                stored.envelope,
                self._sequencer.prove(stored),
                listed.predicate_type,
                listed.principal,
            )
        )

    async def ListStatements(  # noqa: N802
        self, request: pb.ListStatementsRequest, context: Context
    ) -> pb.ListStatementsResponse:
        """A page of statements."""
        if not request.predicate_type:
            raise MalformedError(Reason.MALFORMED_FIELD, "predicate_type is required")
        limit = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        start = encoding.decimal(request.page_token) if request.page_token else 0
        found = await asyncio.to_thread(
            self._registration.list,
            request.predicate_type,
            request.name,
            request.version,
            start,
            limit + 1,
        )
        following = str(found[limit][1].index) if len(found) > limit else ""
        return await asyncio.to_thread(self._page, found[:limit], following)

    def _page(
        self, found: Sequence[tuple[Listed, StoredEntry]], following: str
    ) -> pb.ListStatementsResponse:
        head = self._sequencer.head
        return pb.ListStatementsResponse(
            statements=[
                wire_statement.logged_to_proto(
                    stored.envelope,
                    self._sequencer.prove(stored, head),
                    listed.predicate_type,
                    listed.principal,
                )
                for listed, stored in found
            ],
            next_page_token=following,
        )

    async def GetShimHead(  # noqa: N802
        self, request: pb.GetShimHeadRequest, context: Context
    ) -> pb.GetShimHeadResponse:
        """Where the journal of a shim stands."""
        if len(request.shim_id) != SHIM_ID_BYTES:
            raise MalformedError(Reason.MALFORMED_FIELD, "a shim id has 16 bytes")
        head = await asyncio.to_thread(self._registration.shim_head, request.shim_id)
        if head is None:
            return pb.GetShimHeadResponse()
        return pb.GetShimHeadResponse(
            next_n=head.n_last + 1, last_batch=head.record_id, last_leaf=head.last_leaf
        )
