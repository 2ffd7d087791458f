"""A real registry for all tests of the client, its callers, and a liar in front of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.client.channel import Connection, Target
from registry.client.registry import RegistryClient
from registry.core.tlog.note import VerifierKey
from tests.client.liar import Liar
from tests.running import Caller, Running, running_registry


@dataclass(frozen=True)
class Place:
    """A registry with the principals that tests need.

    Attributes:
        publisher: May publish under ``acme/*``.
    """

    running: Running
    log_key: VerifierKey
    admin_token: str
    publisher: Caller
    node: Caller

    def client(self, token: str, address: str = "") -> RegistryClient:
        """A client with this token, at the registry or at somebody in front of it."""
        target = Target.parse(address or self.running.address)
        return RegistryClient(Connection(target, token=token), self.log_key)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run one registry for the whole session."""
    data = tmp_path_factory.mktemp("registry") / "data"
    with running_registry(data) as running:
        yield Place(
            running,
            VerifierKey.parse((data / "log.vkey").read_text().strip()),
            running.admin_token,
            running.admit("acme", "publisher", namespaces=["acme/*"]),
            running.admit("node-1", "node"),
        )


@pytest.fixture
def client(place: Place) -> Iterator[RegistryClient]:
    """Ask as the publisher."""
    with place.client(place.publisher.token) as client:
        yield client


@pytest.fixture
def admin(place: Place) -> Iterator[RegistryClient]:
    """Ask as the administrator."""
    with place.client(place.admin_token) as client:
        yield client


@pytest.fixture
def liar(place: Place) -> Iterator[Liar]:
    """Stand in front of the registry."""
    with Liar(place.running.address) as liar:
        yield liar


@pytest.fixture
def misled(place: Place, liar: Liar) -> Iterator[RegistryClient]:
    """Ask a liar, as the publisher."""
    with place.client(place.publisher.token, liar.address) as client:
        yield client


@pytest.fixture
def fresh_name(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Make names that no other test uses."""
    count = iter(range(1000))
    test = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[-40:].strip("-")
    return lambda: f"acme/{test}-{next(count)}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Fill a small folder that is not a model in any format that is inspected."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_bytes(b'{"name": "small"}')
    (folder / "sub" / "weights.bin").write_bytes(bytes(range(256)) * 4096)
    return folder
