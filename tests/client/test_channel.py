"""Channels: where to, how protected, and how patient."""

from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from registry.api.v1 import log_service_pb2 as pb
from registry.api.v1 import log_service_pb2_grpc as rpc
from registry.client.channel import Connection, Target
from registry.client.registry import RegistryClient
from registry.core.digest import sha256
from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError
from registry.server.http.routing import Routes
from tests.certificates import certificate
from tests.client.conftest import Place
from tests.client.liar import Liar
from tests.server.http.facing import facing

SERVICE = "registry.api.v1.LogService"


@pytest.mark.parametrize(
    ("server", "address", "tls"),
    [
        ("127.0.0.1:7070", "127.0.0.1:7070", False),
        ("localhost:7070", "localhost:7070", False),
        ("[::1]:7070", "[::1]:7070", False),
        ("http://127.0.0.1:7070", "127.0.0.1:7070", False),
        ("https://127.0.0.1:7070", "127.0.0.1:7070", True),
        ("registry.example:7070", "registry.example:7070", True),
        ("https://registry.example", "registry.example:443", True),
        ("https://registry.example/", "registry.example:443", True),
        ("https://[2001:db8::1]", "[2001:db8::1]:443", True),
        ("192.0.2.1:7070", "192.0.2.1:7070", True),
    ],
)
def test_an_address_says_where_and_how(server: str, address: str, tls: bool) -> None:
    assert Target.parse(server) == Target(address, tls)


@pytest.mark.parametrize(
    "server",
    [
        "",
        "registry.example",
        "registry.example:",
        ":7070",
        "registry.example:0",
        "registry.example:65536",
        "registry.example:٣",
        "registry.example:7070/path",
        "ftp://registry.example:7070",
        "unix:/tmp/socket",
        "\udcff:7070",
        "registry\n.example:7070",
    ],
)
def test_what_is_no_address_is_refused(server: str) -> None:
    with pytest.raises(MalformedError) as caught:
        Target.parse(server)
    assert caught.value.reason is Reason.BAD_SETTING


def test_a_token_does_not_cross_a_network_in_plain_text() -> None:
    with pytest.raises(MalformedError) as caught:
        Target.parse("http://registry.example:7070")
    assert "unprotected" in caught.value.what


def test_whoever_insists_gets_plain_text() -> None:
    assert not Target.parse("http://registry.example:7070", plain_text=True).tls


@pytest.mark.parametrize("token", ["", "two words", "new\nline", "tök"])
def test_what_cannot_be_a_token_is_refused(token: str) -> None:
    with pytest.raises(MalformedError):
        Connection(Target.parse("127.0.0.1:1"), token=token)


def test_every_kind_of_call_carries_the_token(
    place: Place, liar: Liar, misled: RegistryClient
) -> None:
    data = b"every kind of call"
    misled.upload_bytes(data)
    misled.read_blob(sha256(data), 100)
    misled.stat(sha256(data))
    assert {method for method, _ in liar.seen} == {
        "ArtifactService/Upload",
        "ArtifactService/Download",
        "ArtifactService/Stat",
    }
    assert {token for _, token in liar.seen} == {f"Bearer {place.publisher.token}"}


def test_a_call_that_only_reads_is_tried_again(liar: Liar, misled: RegistryClient) -> None:
    liar.fail["LogService/GetCheckpoint"] = (grpc.StatusCode.UNAVAILABLE, 2)
    misled.checkpoint()
    assert liar.count("LogService/GetCheckpoint") == 3


def test_a_call_that_writes_is_not_tried_again(liar: Liar, misled: RegistryClient) -> None:
    liar.fail["ArtifactService/Upload"] = (grpc.StatusCode.UNAVAILABLE, 2)
    with pytest.raises(RegistryError):
        misled.upload_bytes(b"once")
    assert liar.count("ArtifactService/Upload") == 1


def test_a_refusal_is_not_tried_again(liar: Liar, misled: RegistryClient) -> None:
    with pytest.raises(RegistryError) as caught:
        misled.stat(bytes(32))
    assert caught.value.reason is Reason.UNKNOWN_BLOB
    assert liar.count("ArtifactService/Stat") == 1


def test_a_registry_that_is_not_there_is_unreachable() -> None:
    connection = Connection(Target.parse("127.0.0.1:1"))
    with pytest.raises(RegistryError) as caught:
        connection.call(rpc.LogServiceStub(connection.channel).GetLogKey, pb.GetLogKeyRequest())
    assert caught.value.reason is Reason.UNREACHABLE
    connection.close()


@pytest.fixture
def serves() -> Iterator[Callable[..., str]]:
    """Serve one answer to GetLogKey; returns the address."""
    servers: list[grpc.Server] = []

    def start(
        answer: Callable[[], pb.GetLogKeyResponse],
        credentials: grpc.ServerCredentials | None = None,
    ) -> str:
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            lambda _request, _context: answer().SerializeToString()
        )
        server = grpc.server(futures.ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"GetLogKey": handler}),)
        )
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


def ask(connection: Connection, seconds: float = 10) -> str:
    stub = rpc.LogServiceStub(connection.channel)
    try:
        return connection.call(stub.GetLogKey, pb.GetLogKeyRequest(), seconds).vkey
    finally:
        connection.close()


def refusal(act: Callable[[], object]) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value


def test_a_registry_that_does_not_answer_is_given_up(serves: Callable[..., str]) -> None:
    done = futures.Future[pb.GetLogKeyResponse]()
    address = serves(done.result)
    error = refusal(lambda: ask(Connection(Target.parse(address)), 0.2))
    done.set_result(pb.GetLogKeyResponse())
    assert error.reason is Reason.DEADLINE


def test_an_answer_that_is_too_large_is_refused(serves: Callable[..., str]) -> None:
    address = serves(lambda: pb.GetLogKeyResponse(vkey="x" * (17 << 20)))
    error = refusal(lambda: ask(Connection(Target.parse(address))))
    assert isinstance(error, LimitExceededError)
    assert error.reason is Reason.MESSAGE_TOO_LARGE


@pytest.fixture
def tls(serves: Callable[..., str], tmp_path: Path) -> tuple[str, Path]:
    """Serve over TLS; the address, and the file of the certificate to believe."""
    chain, key = certificate()
    (tmp_path / "ca.pem").write_bytes(chain)
    address = serves(
        lambda: pb.GetLogKeyResponse(vkey="it is me"),
        grpc.ssl_server_credentials([(key, chain)]),
    )
    return address, tmp_path / "ca.pem"


def test_tls_believes_the_authorities_that_are_named(tls: tuple[str, Path]) -> None:
    address, ca_file = tls
    assert ask(Connection(Target.parse(f"https://{address}"), ca_file=ca_file)) == "it is me"


def test_naming_authorities_is_asking_for_tls(tls: tuple[str, Path]) -> None:
    address, ca_file = tls
    assert ask(Connection(Target.parse(address), ca_file=ca_file)) == "it is me"


def test_tls_does_not_believe_anybody_else(tls: tuple[str, Path]) -> None:
    address, _ = tls
    error = refusal(lambda: ask(Connection(Target.parse(f"https://{address}"))))
    assert error.reason is Reason.UNREACHABLE
    assert "certificate" in error.what
    assert "--ca-file" in error.hint


def test_a_registry_without_tls_is_told_of_in_plain_words(serves: Callable[..., str]) -> None:
    address = serves(pb.GetLogKeyResponse)
    error = refusal(lambda: ask(Connection(Target.parse(f"https://{address}"))))
    assert error.reason is Reason.UNREACHABLE
    assert error.what == "what answers at this address does not speak TLS"
    assert error.actual == ""


def test_a_registry_with_tls_is_told_of_in_plain_words(tls: tuple[str, Path]) -> None:
    address, _ = tls
    error = refusal(lambda: ask(Connection(Target.parse(address))))
    assert error.reason is Reason.UNREACHABLE
    assert "https://" in error.hint


def test_the_port_of_http_is_told_of_in_plain_words() -> None:
    with facing(Routes(())) as (host, port):
        error = refusal(lambda: ask(Connection(Target.parse(f"{host}:{port}"))))
    assert error.reason is Reason.UNREACHABLE
    assert "speaks HTTP" in error.what
    assert "port" in error.hint
    assert error.actual == ""


def test_a_file_of_authorities_that_is_not_there_is_said(tmp_path: Path) -> None:
    error = refusal(
        lambda: Connection(Target.parse("https://127.0.0.1:1"), ca_file=tmp_path / "none")
    )
    assert (error.reason, error.where) == (Reason.BAD_SETTING, str(tmp_path / "none"))


def test_a_file_without_certificates_is_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    error = refusal(
        lambda: Connection(Target.parse("https://127.0.0.1:1"), ca_file=tmp_path / "ca.pem")
    )
    assert (error.reason, error.where) == (Reason.BAD_SETTING, str(tmp_path / "ca.pem"))
