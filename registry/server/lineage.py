"""Tracing outputs over gRPC."""

import asyncio
from typing import Any

import grpc.aio

from registry.api.v1 import lineage_service_pb2 as pb
from registry.api.v1 import lineage_service_pb2_grpc as rpc
from registry.services.attested import Attested
from registry.services.lineage import Lineage

Context = grpc.aio.ServicerContext[Any, Any]


class LineageServicer(rpc.LineageServiceServicer):
    """Thin: wire → value, one service call, value → wire."""

    def __init__(self, lineage: Lineage, attested: Attested) -> None:
        self._lineage = lineage
        self._attested = attested

    async def FindOutput(  # noqa: N802 - gRPC's spelling
        self, request: pb.FindOutputRequest, context: Context
    ) -> pb.FindOutputResponse:
        """Every receipt of an output."""
        found = await asyncio.to_thread(self._lineage.find, list(request.content_digests))
        return pb.FindOutputResponse(
            locations=[
                pb.OutputLocation(batch_index=index, position=position) for index, position in found
            ]
        )

    async def Trace(  # noqa: N802
        self, request: pb.TraceRequest, context: Context
    ) -> pb.TraceResponse:
        """One capsule."""
        location = None
        if request.HasField("location"):
            location = (request.location.batch_index, request.location.position)
        capsule, matches, (index, position) = await asyncio.to_thread(
            self._lineage.trace, list(request.content_digests), location
        )
        attestation = await asyncio.to_thread(self._attested.of_batch, index)
        return pb.TraceResponse(
            attested_by=b"" if attestation is None else attestation.entry.record_id,
            capsule=capsule,
            matches=matches,
            location=pb.OutputLocation(batch_index=index, position=position),
        )
