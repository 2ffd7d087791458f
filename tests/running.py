"""A real registry in a process of its own.

::

    with running_registry(data) as running:
        alice = running.admit("acme", "publisher", namespaces=["acme/*"])
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from registry.api.v1 import access_service_pb2 as access_pb
from registry.api.v1 import access_service_pb2_grpc as access_rpc
from registry.core.keys import PublicKey
from registry.signing.file import StatementSigner
from registry.wire.access import roles_to_proto
from tests.forking import Process, provreg

STOP_SECONDS = 30
"""How long a registry may take to stop."""

REPOSITORY = Path(__file__).parents[1]
"""Where ``tests`` can be imported from."""

Metadata = tuple[tuple[str, str], ...]
"""What a call carries beside its request."""


def bearer(token: str) -> Metadata:
    """The metadata that authenticates a call."""
    return (("authorization", f"Bearer {token}"),)


@dataclass(frozen=True)
class Caller:
    """A principal with its token and key."""

    name: str
    token: str
    signer: StatementSigner

    @property
    def metadata(self) -> Metadata:
        """What authenticates its calls."""
        return bearer(self.token)


def admit(
    address: str,
    admin_token: str,
    name: str,
    *roles: str,
    namespaces: Sequence[str] = (),
    keys: Sequence[PublicKey] | None = None,
) -> Caller:
    """Add a principal to the registry at ``address``."""
    signer = StatementSigner.generate()
    given = [signer.public_key] if keys is None else keys
    with grpc.insecure_channel(address) as channel:
        answer = access_rpc.AccessServiceStub(channel).AddPrincipal(
            access_pb.AddPrincipalRequest(
                name=name,
                roles=roles_to_proto(roles),
                namespaces=namespaces,
                keys=[key.der for key in given],
            ),
            metadata=bearer(admin_token),
        )
    return Caller(name, answer.token, signer)


@dataclass(frozen=True)
class Running:
    """A registry that answers."""

    address: str
    url: str
    data: Path
    process: Process

    @property
    def admin_token(self) -> str:
        """The first administrator's token."""
        return admin_token(self.data)

    def admit(self, name: str, *roles: str, namespaces: Sequence[str] = ()) -> Caller:
        """Add a principal."""
        return admit(self.address, self.admin_token, name, *roles, namespaces=namespaces)

    def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)


def admin_token(data: Path) -> str:
    """The first administrator's token of the registry in ``data``."""
    return (data / "admin.token").read_text().strip()


def address_in(line: str) -> str:
    """The address in one of the first two lines that a registry prints: gRPC, HTTP."""
    return line.rsplit(maxsplit=1)[-1] if line else ""


def start(data: Path, database: str | None = None) -> Process:
    """Start a registry, and do not wait for it."""
    there = ("--database", database) if database else ()
    return provreg("serve", "--data", data, "--listen", "127.0.0.1:0", *there, stdout=True)


@contextmanager
def running_registry(data: Path, database: str | None = None) -> Iterator[Running]:
    """Run a registry until the end of the block."""
    process = start(data, database)
    assert process.stdout is not None
    try:
        address = address_in(process.stdout.readline())
        assert address, "the registry did not start"
        yield Running(address, address_in(process.stdout.readline()), data, process)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
        process.stdout.close()
