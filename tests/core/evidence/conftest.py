"""Evidence is judged without a network: in these tests nobody can open a socket."""

import socket

import pytest


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every socket, and every name that is looked up."""

    def refuse(*_: object, **__: object) -> None:
        message = "evidence is judged without a network"
        raise AssertionError(message)

    for name in ("socket", "create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
