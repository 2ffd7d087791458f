"""Checkpoints and proofs over gRPC."""

import asyncio
from typing import Any

import grpc.aio

from registry.api.v1 import log_service_pb2 as pb
from registry.api.v1 import log_service_pb2_grpc as rpc
from registry.errors import MalformedError, NotFoundError, Reason
from registry.services.reading import Reading
from registry.services.sequencing import Sequencer
from registry.signing.file import LogSigner
from registry.storage.sql.log import StoredEntry
from registry.wire import log as wire

Context = grpc.aio.ServicerContext[Any, Any]


class LogServicer(rpc.LogServiceServicer):
    """Thin: wire → value, one service call, value → wire."""

    def __init__(self, signer: LogSigner, reading: Reading, sequencer: Sequencer) -> None:
        self._signer = signer
        self._reading = reading
        self._sequencer = sequencer

    async def GetLogKey(  # noqa: N802 - gRPC's spelling
        self, request: pb.GetLogKeyRequest, context: Context
    ) -> pb.GetLogKeyResponse:
        """Who this log is."""
        return pb.GetLogKeyResponse(vkey=str(self._signer.key))

    async def GetCheckpoint(  # noqa: N802
        self, request: pb.GetCheckpointRequest, context: Context
    ) -> pb.GetCheckpointResponse:
        """The newest checkpoint, or the newest one that is cosigned to quorum."""
        head = self._sequencer.head
        if request.cosigned:
            head = self._sequencer.heads.cosigned or head
        if head is None:
            raise NotFoundError(Reason.BEYOND_TREE, "the log is empty")
        return pb.GetCheckpointResponse(checkpoint=head.note)

    async def GetProof(  # noqa: N802
        self, request: pb.GetProofRequest, context: Context
    ) -> pb.GetProofResponse:
        """An entry with its proof."""
        stored = await self._stored(request)
        head = self._sequencer.heads.covering(stored.index) if request.cosigned else None
        receipt = self._sequencer.receipt(stored.index, head)
        return pb.GetProofResponse(body=stored.body, receipt=wire.receipt_to_proto(receipt))

    async def GetCoseReceipt(  # noqa: N802
        self, request: pb.GetCoseReceiptRequest, context: Context
    ) -> pb.GetCoseReceiptResponse:
        """An entry with its proof as a COSE receipt."""
        stored = await self._stored(request)
        # The newest head of the sequencer is public, so its root may be signed once more.
        receipt = self._sequencer.receipt(stored.index)
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
        """A proof that the newest checkpoint extends an older one."""
        head = self._sequencer.head
        if head is None or not 1 <= request.size <= head.checkpoint.size:
            raise NotFoundError(
                Reason.BEYOND_TREE,
                "the log never had this size",
                expected=f"1 to {head.checkpoint.size if head else 0}",
                actual=str(request.size),
            )
        proof, head = self._sequencer.consistency(request.size)
        return pb.GetConsistencyResponse(proof=proof, checkpoint=head.note)
