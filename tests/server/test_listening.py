"""Where gRPC and HTTP are answered."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from registry.config import ServerSettings
from registry.errors import RegistryError
from registry.server import listening
from registry.server.http.routing import Routes

SETTINGS = ServerSettings(Path("data"))


@pytest.mark.parametrize(
    ("listen", "http", "expected"),
    [
        ("127.0.0.1:7070", None, "127.0.0.1:7071"),
        ("[::1]:7070", None, "[::1]:7071"),
        ("localhost:0", None, "localhost:0"),
        ("127.0.0.1:7070", "none", None),
        ("127.0.0.1:7070", "127.0.0.1:80", "127.0.0.1:80"),
        ("127.0.0.1:65535", "127.0.0.1:80", "127.0.0.1:80"),
    ],
)
def test_http_is_answered_beside_grpc_or_where_it_is_told(
    listen: str, http: str | None, expected: str | None
) -> None:
    settings = replace(SETTINGS, listen=listen, http=http)
    assert listening.http_address(settings) == expected


@pytest.mark.parametrize("listen", ["127.0.0.1:65535", "127.0.0.1", "127.0.0.1:x"])
def test_where_no_port_is_beside_grpc_one_must_be_named(listen: str) -> None:
    with pytest.raises(RegistryError, match="BAD_SETTING"):
        listening.http_address(replace(SETTINGS, listen=listen))


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, http="0.0.0.0:0"),
        replace(SETTINGS, http="[::]:0"),
        replace(SETTINGS, http="127.0.0.1:0", tls_cert=Path("cert.pem")),
        replace(SETTINGS, http="0.0.0.0:0", tls_cert=Path("no.pem"), tls_key=Path("no.key")),
    ],
)
def test_http_crosses_a_network_only_under_tls(settings: ServerSettings) -> None:
    with pytest.raises(RegistryError, match="BAD_SETTING"):
        listening.face(Routes(()), settings)


@pytest.mark.parametrize(
    ("listen", "http", "told"),
    [
        ("127.0.0.1:7070", "127.0.0.1:0", True),
        ("127.0.0.1:0", None, True),
        ("localhost:7070", "127.0.0.1:0", False),
        ("127.0.0.1:7070", "none", False),
    ],
)
def test_callers_are_told_of_http_on_the_same_host_only(
    listen: str, http: str | None, *, told: bool
) -> None:
    settings = replace(SETTINGS, listen=listen, http=http)
    face = listening.face(Routes(()), settings)
    port = listening.port_beside(settings, face)
    assert port == (face.port if face is not None and told else None)
    if face is not None:
        asyncio.run(face.stop(0))
