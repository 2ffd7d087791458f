"""TLS by two flags; without them a registry listens on loopback only."""

import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from registry.client.channel import Connection, Target
from registry.client.log import fetch_log_key
from registry.client.principals import PrincipalCalls
from registry.client.registry import RegistryClient
from registry.config import ServerSettings
from registry.core.digest import sha256
from registry.disk import BUFFER_BYTES
from registry.errors import Reason, RegistryError
from registry.server.listening import listen
from tests.forking import provreg

PROVREG = [sys.executable, "-m", "registry"]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for this machine, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


@pytest.fixture
def over_tls(tmp_path: Path) -> Iterator[tuple[str, str, Path]]:
    cert_file, key_file = certificate(tmp_path)
    flags = ("--tls-cert", cert_file, "--tls-key", key_file)
    given = ("serve", "--data", tmp_path / "d", "--listen", "127.0.0.1:0", *flags)
    with provreg(*given, stdout=True) as process:
        try:
            assert process.stdout is not None
            address, url = (process.stdout.readline().split()[-1] for _ in range(2))
            yield address, url, cert_file
        finally:
            process.terminate()


def test_a_client_that_trusts_the_certificate_is_served(over_tls: tuple[str, str, Path]) -> None:
    address, _, cert_file = over_tls
    connection = Connection(Target.parse(f"https://{address}"), ca_file=cert_file)
    try:
        assert fetch_log_key(connection).name.endswith(".provreg.localhost")
    finally:
        connection.close()


def test_http_is_served_under_the_same_certificate(over_tls: tuple[str, str, Path]) -> None:
    _, url, cert_file = over_tls
    assert url.startswith("https://")
    trusting = ssl.create_default_context(cafile=cert_file)
    with urllib.request.urlopen(f"{url}/checkpoint", context=trusting, timeout=20) as answer:
        assert answer.read().endswith(b"=\n")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/checkpoint", timeout=20)


LARGE = bytes(range(256)) * (3 * BUFFER_BYTES // 256) + b"end"


@pytest.fixture
def client(over_tls: tuple[str, str, Path], tmp_path: Path) -> Iterator[RegistryClient]:
    """The administrator, let in as a publisher, with a large blob stored."""
    address, _, cert_file = over_tls
    target = Target.parse(f"https://{address}")
    token = (tmp_path / "d" / "admin.token").read_text().strip()
    connection = Connection(target, token=token, ca_file=cert_file)
    log_key = fetch_log_key(connection)
    with RegistryClient(connection, log_key) as admin:
        token, _ = PrincipalCalls(admin).add("acme", ["publisher"], [], [], None)
    with RegistryClient(Connection(target, token=token, ca_file=cert_file), log_key) as client:
        client.upload_bytes(LARGE)
        yield client


def received(client: RegistryClient) -> bytes:
    """What comes of the large blob over HTTP."""
    buffer, data = bytearray(BUFFER_BYTES), b""
    for count in client.fill(sha256(LARGE), len(LARGE), 0, lambda: memoryview(buffer)):
        data += buffer[:count]
    return data


def test_blobs_are_served_under_the_same_certificate(client: RegistryClient) -> None:
    assert received(client) == LARGE


def test_blobs_are_taken_under_the_same_certificate(client: RegistryClient, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(LARGE + b"another")
    sha256_of_it = sha256(path.read_bytes())
    client.upload(path, len(LARGE) + 7, sha256_of_it)
    assert (client.http_bytes, client.over_http) == (len(LARGE) + 7, True)
    assert client.read_blob(sha256_of_it, len(LARGE) + 7) == LARGE + b"another"


def test_blobs_are_asked_for_under_the_trust_of_the_channel(
    client: RegistryClient, over_tls: tuple[str, str, Path], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other")
    # The channel stands already, with the right certificate.
    client.stat(sha256(LARGE))
    over_tls[2].write_bytes(other.read_bytes())
    assert received(client) == b""


def test_a_ticket_never_leaves_a_channel_with_tls_without_it(
    client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def listen() -> None:
            connection, _ = plain.accept()
            with connection:
                heard.append(connection.recv(65_536))

        thread = threading.Thread(target=listen)
        thread.start()
        real = client.connection.beside
        port = plain.getsockname()[1]
        monkeypatch.setattr(client.connection, "beside", lambda _port, wait: real(port, wait))
        assert received(client) == b""
        thread.join(20)
    # A TLS record with a handshake in it.
    assert heard[0].startswith(b"\x16\x03")
    assert b"provregticket_" not in heard[0]


def test_a_client_without_tls_is_not_served(over_tls: tuple[str, str, Path]) -> None:
    connection = Connection(Target.parse(over_tls[0]))
    try:
        with pytest.raises(RegistryError) as caught:
            fetch_log_key(connection)
        assert caught.value.reason is Reason.UNREACHABLE
    finally:
        connection.close()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_an_open_address_needs_tls(tmp_path: Path, listen: str) -> None:
    done = subprocess.run(
        [*PROVREG, "serve", "--data", str(tmp_path / "d"), "--listen", listen],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "BAD_SETTING" in done.stderr
    assert "--tls-cert" in done.stderr


@pytest.mark.parametrize("broken", ["cert.pem", "key.pem"])
def test_files_that_are_no_certificate_and_key_are_named(tmp_path: Path, broken: str) -> None:
    cert_file, key_file = certificate(tmp_path)
    (tmp_path / broken).write_text("nonsense")
    settings = ServerSettings(
        tmp_path / "d", listen="127.0.0.1:0", http="none", tls_cert=cert_file, tls_key=key_file
    )
    with pytest.raises(RegistryError) as caught:
        # No server: the files are looked at before the address.
        listen(cast("grpc.aio.Server", None), settings)
    assert caught.value.reason is Reason.BAD_SETTING
    assert str(tmp_path / broken) in caught.value.where
