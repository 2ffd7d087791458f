"""TLS by two flags; without them a registry listens on loopback only."""

import ssl
import subprocess
import sys
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
from registry.config import ServerSettings
from registry.errors import Reason, RegistryError
from registry.server.listening import listen

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
    flags = ["--tls-cert", str(cert_file), "--tls-key", str(key_file)]
    process = subprocess.Popen(
        [*PROVREG, "serve", "--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0", *flags],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address, url = (process.stdout.readline().split()[-1] for _ in range(2))
        yield address, url, cert_file
    finally:
        process.terminate()
        process.communicate(timeout=30)


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
