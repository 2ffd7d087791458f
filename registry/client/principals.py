"""Letting principals in and out again; what the log says of their keys is checked afterwards."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from registry.api.v1 import access_pb2 as access_pb
from registry.api.v1 import access_service_pb2 as pb
from registry.api.v1 import access_service_pb2_grpc as rpc
from registry.client.channel import WRITE_SECONDS
from registry.client.registry import RegistryClient
from registry.core.access import Principal
from registry.core.attestation.identity import Identity
from registry.core.encoding import time_text
from registry.core.keys import PublicKey
from registry.core.records import identity_event
from registry.core.records.identity_event import IdentityEvent
from registry.errors import Reason, VerificationError
from registry.wire import access as wire


class PrincipalCalls:
    """What an administrator asks of a registry."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._connection = client.connection
        self._access = rpc.AccessServiceStub(client.connection.channel)

    def add(
        self,
        name: str,
        roles: Sequence[str],
        namespaces: Sequence[str],
        keys: Sequence[PublicKey],
        expires_at: datetime | None,
        *,
        identities: Sequence[Identity] = (),
    ) -> tuple[str, Principal]:
        """Add a principal; returns its token, which nobody can show again, and what it may do.

        Raises:
            ConflictError: ``PRINCIPAL_EXISTS``, ``KEY_KNOWN`` or ``IDENTITY_KNOWN``.
            VerificationError: ``UNKNOWN_SIGNER`` if the log does not say what was asked for.
        """
        request = pb.AddPrincipalRequest(
            name=name,
            roles=wire.roles_to_proto(roles),
            namespaces=namespaces,
            keys=[key.der for key in keys],
            expires_at=wire.time_to_proto(expires_at),
            identities=[
                access_pb.Identity(issuer=item.issuer, name=item.name) for item in identities
            ],
        )
        answer = self._connection.call(self._access.AddPrincipal, request, WRITE_SECONDS)
        if keys:
            ring = self._client.keyring()
            for key in keys:
                said = ring.grant(key.key_id, ring.size)
                told = (said.principal, set(said.roles), set(said.namespaces))
                if told != (name, set(roles), set(namespaces)):
                    raise _unlogged("admit the key as was asked", key.key_id)
        for identity in identities:
            if self._told(identity) != (name, set(roles), set(namespaces)):
                raise _unlogged("admit the identity as was asked", str(identity))
        return answer.token, wire.principal_from_proto(answer.principal)

    def revoke(
        self, name: str, *, compromised: bool, compromised_since: datetime | None = None
    ) -> Principal:
        """End a principal's tokens and keys.

        Raises:
            NotFoundError: ``UNKNOWN_PRINCIPAL``.
            MalformedError: ``MALFORMED_FIELD`` for a time that is to come, or without compromise.
            VerificationError: ``UNKNOWN_SIGNER`` if the log does not say what was asked for.
        """
        ring = self._client.keyring()
        before = (ring.unharmed_keys_of if compromised else ring.keys_of)(name)
        request = pb.RevokePrincipalRequest(
            name=name,
            compromised=compromised,
            compromised_since=wire.time_to_proto(compromised_since),
        )
        answer = self._connection.call(self._access.RevokePrincipal, request, WRITE_SECONDS)
        if before:
            ring = self._client.keyring()
            expected = (
                "compromise" if compromised else "retire",
                msgspec.UNSET if compromised_since is None else time_text(compromised_since),
            )
            for key in before:
                last = ring.events(key.key_id)[-1].event
                if (last.action, last.compromised_since) != expected:
                    raise _unlogged("end the key as was asked", key.key_id)
        return wire.principal_from_proto(answer.principal)

    def _told(self, identity: Identity) -> tuple[str, set[str], set[str]] | None:
        """What the log says last of an identity: for whom it speaks, if it still does."""
        newest: IdentityEvent | None = None
        for logged in self._client.list_statements(identity_event.PREDICATE_TYPE):
            event = logged.statement.predicate
            if isinstance(event, IdentityEvent) and event.identity == identity:
                newest = event
        if newest is None or newest.action != "add":
            return None
        return newest.principal, set(newest.roles), set(newest.namespaces)

    def list(self) -> "list[Principal]":
        """All principals, says the registry."""
        answer = self._connection.call(self._access.ListPrincipals, pb.ListPrincipalsRequest())
        return [wire.principal_from_proto(item) for item in answer.principals]


def _unlogged(what: str, whom: str) -> VerificationError:
    return VerificationError(
        Reason.UNKNOWN_SIGNER,
        f"the registry says that it is done, but its log does not {what}",
        where=whom,
    )
