"""Adding and revoking principals over gRPC."""

import asyncio
from typing import Any

import grpc.aio

from registry.api.v1 import access_service_pb2 as pb
from registry.api.v1 import access_service_pb2_grpc as rpc
from registry.core.attestation.identity import Identity
from registry.core.keys import PublicKey
from registry.services.access import Access
from registry.wire import access as wire
from registry.wire import log as wire_log

Context = grpc.aio.ServicerContext[Any, Any]


class AccessServicer(rpc.AccessServiceServicer):
    """Thin: wire → value, one service call, value → wire."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def AddPrincipal(  # noqa: N802 - gRPC's spelling
        self, request: pb.AddPrincipalRequest, context: Context
    ) -> pb.AddPrincipalResponse:
        """Add a principal."""
        expires_at = (
            wire.time_from_proto(request.expires_at) if request.HasField("expires_at") else None
        )
        token, principal, receipts = await asyncio.to_thread(
            self._access.add,
            request.name,
            wire.roles_from_proto(request.roles),
            tuple(request.namespaces),
            [PublicKey.parse(key) for key in request.keys],
            expires_at,
            identities=[Identity(item.issuer, item.name) for item in request.identities],
        )
        return pb.AddPrincipalResponse(
            token=token,
            principal=wire.principal_to_proto(principal),
            receipts=[wire_log.receipt_to_proto(receipt) for receipt in receipts],
        )

    async def RevokePrincipal(  # noqa: N802
        self, request: pb.RevokePrincipalRequest, context: Context
    ) -> pb.RevokePrincipalResponse:
        """Revoke a principal."""
        since = (
            wire.time_from_proto(request.compromised_since)
            if request.HasField("compromised_since")
            else None
        )
        principal, receipts = await asyncio.to_thread(
            lambda: self._access.revoke(
                request.name, compromised=request.compromised, compromised_since=since
            )
        )
        return pb.RevokePrincipalResponse(
            principal=wire.principal_to_proto(principal),
            receipts=[wire_log.receipt_to_proto(receipt) for receipt in receipts],
        )

    async def ListPrincipals(  # noqa: N802
        self, request: pb.ListPrincipalsRequest, context: Context
    ) -> pb.ListPrincipalsResponse:
        """All principals."""
        return pb.ListPrincipalsResponse(
            principals=[wire.principal_to_proto(item) for item in self._access.list()]
        )
