"""Which headers go on, and which stay: what belongs to one connection, or to a shim alone."""

import pytest

from registry.shim.proxies.exchange import forwarded, passing
from registry.shim.recorder.asking import TOLD

HOP = (
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
    *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
)
"""What belongs to one connection, or has been taken for it (RFC 9110 §7.6.1)."""

OWN = ("host", "content-length", "accept-encoding", "expect")
"""What is said anew to the model server."""

ASKS = ("x-provreg-level", "x-provreg-deadline-ms")
"""What is for the shim."""

KEPT = [(b"authorization", b"Bearer x"), (b"X-Own", b"1"), (b"x-own", b"2"), (b"cookie", b"a=b")]


def spelled(name: str) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), b"1"), (name.title().encode(), b"2"), (name.upper().encode(), b"3")]


@pytest.mark.parametrize("name", [*HOP, *OWN, *ASKS])
def test_what_stays_of_a_request(name: str) -> None:
    assert forwarded([*KEPT, *spelled(name)]) == KEPT


@pytest.mark.parametrize("name", [*HOP, *sorted(TOLD)])
def test_what_stays_of_an_answer(name: str) -> None:
    assert passing([*KEPT, *spelled(name)]) == KEPT


def test_only_a_shim_tells_of_its_record() -> None:
    assert {"x-receipt-id", "x-output-sha256"} < TOLD
    assert {"x-provreg-level-reached", "x-provreg-level-missed"} < TOLD


@pytest.mark.parametrize("listed", [b"x-mine", b"close, X-Mine", b"x-other ,\tx-mine"])
def test_what_a_connection_names_stays_with_it(listed: bytes) -> None:
    headers = [*KEPT, (b"Connection", listed), (b"X-mine", b"1")]
    assert forwarded(headers) == KEPT
    assert passing(headers) == KEPT
