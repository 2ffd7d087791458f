"""Where a registry listens, with gRPC and with HTTP: loopback only, or TLS."""

import ssl
from pathlib import Path

import grpc
import grpc.aio

from registry.config import NO_HTTP, ServerSettings
from registry.errors import MalformedError, Reason, UnavailableError
from registry.server.http.face import Face
from registry.server.http.routing import Routes

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts whose packets never leave the machine."""


def listen(server: grpc.aio.Server, settings: ServerSettings) -> str:
    """Give the gRPC server its port; its address.

    Raises:
        MalformedError: ``BAD_SETTING``.
        UnavailableError: ``BAD_SETTING`` if the address is taken.
    """
    _check(settings, settings.listen)
    try:
        if settings.tls_cert is not None and settings.tls_key is not None:
            credentials = grpc.ssl_server_credentials(
                [(_read(settings.tls_key), _read(settings.tls_cert))]
            )
            port = server.add_secure_port(settings.listen, credentials)
        else:
            port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:
        raise UnavailableError(
            Reason.BAD_SETTING,
            "this address cannot be listened on",
            where=settings.listen,
            hint="is another server running there?",
        ) from error
    return f"{settings.listen.rpartition(':')[0]}:{port}"


def face(routes: Routes, settings: ServerSettings) -> Face | None:
    """The HTTP face with its port; None if HTTP is switched off.

    Raises:
        MalformedError, UnavailableError: As :func:`listen`.
    """
    address = http_address(settings)
    if address is None:
        return None
    _check(settings, address)
    return Face(routes, address, cert=settings.tls_cert, key=settings.tls_key)


def http_address(settings: ServerSettings) -> str | None:
    """Host and port for HTTP; None if it is switched off.

    Raises:
        MalformedError: ``BAD_SETTING`` if there is no port after that of gRPC.
    """
    if settings.http is not None:
        return None if settings.http == NO_HTTP else settings.http
    host, _, text = settings.listen.rpartition(":")
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port < 2**16 - 1:
        raise MalformedError(
            Reason.BAD_SETTING,
            "HTTP has no port beside this one",
            where=settings.listen,
            hint="say where HTTP is answered: --http HOST:PORT, or --http none",
        )
    return f"{host}:{port + 1 if port else 0}"


def port_beside(settings: ServerSettings, face: Face | None) -> int | None:
    """The port of the HTTP face, for callers who know the host that answers gRPC.

    None if HTTP is switched off, or answered on another host, whose name callers may not know.
    """
    address = http_address(settings)
    if face is None or address is None:
        return None
    same = address.rpartition(":")[0] == settings.listen.rpartition(":")[0]
    return face.port if same else None


def _check(settings: ServerSettings, address: str) -> None:
    """Tokens cross a network only under TLS."""
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise MalformedError(
            Reason.BAD_SETTING, "TLS needs both a certificate and a key", where="--tls-cert"
        )
    host = address.rpartition(":")[0].strip("[]")
    if settings.tls_cert is None and host not in LOOPBACK:
        raise MalformedError(
            Reason.BAD_SETTING,
            "tokens would cross the network unprotected",
            where=address,
            expected="a loopback address, or TLS",
            hint="add --tls-cert and --tls-key",
        )
    if settings.tls_cert is not None and settings.tls_key is not None:
        _check_pair(settings.tls_cert, settings.tls_key)


def _check_pair(cert: Path, key: Path) -> None:
    """Say what is wrong with the files: gRPC would say that the address is taken."""
    try:
        # A password is never asked for: nobody might be there to answer.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise MalformedError(
            Reason.BAD_SETTING,
            "TLS cannot be set up with these files",
            where=f"{cert}, {key}",
            expected="a PEM certificate chain, and its PEM private key without a password",
            actual=str(error),
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MalformedError(
            Reason.BAD_SETTING, "this file cannot be read", where=str(path), actual=str(error)
        ) from error
