"""Checkpoints and proofs over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from registry.api.v1 import log_service_pb2 as pb
from registry.api.v1 import log_service_pb2_grpc as rpc
from registry.errors import MalformedError, Reason
from registry.server.watchers import Watchers
from registry.services.reading import Reading
from registry.services.sequencing import Sequencer
from registry.services.watching import Watched
from registry.signing.file import LogSigner
from registry.storage.sql.log import StoredEntry
from registry.wire import log as wire
from registry.wire import watching

Context = grpc.aio.ServicerContext[Any, Any]


class LogServicer(rpc.LogServiceServicer):
    """Thin: wire → value, one service call, value → wire."""

    def __init__(
        self, signer: LogSigner, reading: Reading, sequencer: Sequencer, watchers: Watchers
    ) -> None:
        self._signer = signer
        self._reading = reading
        self._sequencer = sequencer
        self._watchers = watchers

    async def GetLogKey(  # noqa: N802 - gRPC's spelling
        self, request: pb.GetLogKeyRequest, context: Context
    ) -> pb.GetLogKeyResponse:
        """Who this log is."""
        return pb.GetLogKeyResponse(vkey=str(self._signer.key))

    async def GetCheckpoint(  # noqa: N802
        self, request: pb.GetCheckpointRequest, context: Context
    ) -> pb.GetCheckpointResponse:
        """The newest checkpoint, or the newest one that is cosigned to quorum."""
        heads = self._sequencer.heads
        head = (heads.cosigned if request.cosigned else None) or heads.require()
        return pb.GetCheckpointResponse(checkpoint=head.note)

    async def GetProof(  # noqa: N802
        self, request: pb.GetProofRequest, context: Context
    ) -> pb.GetProofResponse:
        """An entry with its proof."""
        stored = await self._stored(request)
        head = self._sequencer.heads.covering(stored.index) if request.cosigned else None
        receipt = self._sequencer.prove(stored, head)
        return pb.GetProofResponse(body=stored.body, receipt=wire.receipt_to_proto(receipt))

    async def GetCoseReceipt(  # noqa: N802
        self, request: pb.GetCoseReceiptRequest, context: Context
    ) -> pb.GetCoseReceiptResponse:
        """An entry with its proof as a COSE receipt."""
        stored = await self._stored(request)
        # The newest head of the sequencer is public, so its root may be signed once more.
        receipt = self._sequencer.prove(stored)
        signed = await asyncio.to_thread(self._signer.sign_receipt, receipt, stored.body)
        return pb.GetCoseReceiptResponse(
            body=stored.body, cose_receipt=signed.to_bytes(), checkpoint=receipt.head.note
        )

    async def _stored(self, request: pb.GetProofRequest | pb.GetCoseReceiptRequest) -> StoredEntry:
        which = request.WhichOneof("entry")
        if which == "record_id":
            return await asyncio.to_thread(self._reading.entry_of_record, request.record_id)
        if which == "index":
            return await asyncio.to_thread(self._reading.entry, request.index)
        raise MalformedError(
            Reason.MALFORMED_FIELD, "say which entry", expected="index or record_id"
        )

    async def GetConsistency(  # noqa: N802
        self, request: pb.GetConsistencyRequest, context: Context
    ) -> pb.GetConsistencyResponse:
        """A proof that one tree extends an older one."""
        proof, head = await asyncio.to_thread(
            self._sequencer.consistency, request.size, request.newer_size
        )
        return pb.GetConsistencyResponse(proof=proof, checkpoint=head.note)

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchResponse]:
        """New entries with their proofs, and how far the stream is complete."""
        wanted = watching.wanted_from_proto(request)
        place = self._watchers.enter()
        # However the call ends, also while it waits for a slow reader. The stubs of gRPC want a
        # class that nobody can make.
        left: Any = place.leave
        context.add_done_callback(left)
        async for told in self._watchers.follow(
            wanted, request.start, until_newest=request.until_newest
        ):
            if isinstance(told, Watched):
                yield watching.entry_to_proto(told.body, told.receipt, told.envelope, told.said)
            else:
                yield watching.progress_to_proto(told.next, told.head)
