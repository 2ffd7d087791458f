"""Target of the HTTP face: from a request's line, headers and body to an answer that is no fault.

The bytes are a request as HTTP/1.1 writes it, cut at line feeds. The table is the real one; rooms
that would need a database are stood in for by one that repeats what it was asked.
"""

from collections.abc import Coroutine
from http import HTTPStatus
from typing import Final

from registry.core import encoding
from registry.core.archive import tsp
from registry.core.archive.authority import Authority
from registry.core.digest import sha256
from registry.server.http.routing import BYTES, Request, Response, Route, Routes
from registry.server.http.timestamping import PATH, QUERY, Timestamping
from registry.signing.timestamping import TimestampSigner
from tests.authorities import NOON
from tools.fuzz.edits import lines
from tools.fuzz.sigstore import TSA
from tools.fuzz.target import Target


async def _repeat(request: Request) -> Response:
    said = "".join(f"{name}={value};" for name, value in sorted(request.parts.items()))
    return Response(body=said.encode("utf-8", "surrogateescape"), media_type=BYTES)


def _routes() -> Routes:
    key = TSA.recipes[0].key
    signer = TimestampSigner(
        key,  # type: ignore[arg-type]  # the recipe of this leaf is an elliptic curve's
        Authority(TSA.chain),
        "1.3.6.1.4.1.57264.2",
    )
    stands_in = (
        Route(method, path, _repeat, max_body_bytes=4096)
        for method, path in (
            ("GET", "/checkpoint"),
            ("GET", "/tile/{path*}"),
            ("GET", "/api/v2/checkpoint"),
            ("GET", "/api/v2/tile/{path*}"),
            ("POST", "/api/v2/log/entries"),
            ("POST", "/add-checkpoint"),
            ("GET", "/{log}/checkpoint"),
        )
    )
    return Routes((*stands_in, *Timestamping(signer, lambda: NOON).routes()))


_ROUTES: Final = _routes()


def _request(data: bytes) -> Request:
    head, _, body = data.partition(b"\n\n")
    first, *rest = head.decode("utf-8", "surrogateescape").split("\n")
    method, _, target = first.partition(" ")
    path, _, query = target.partition("?")
    pairs = (line.partition(":") for line in rest)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Request(method, path, query, headers, body)


def _drive(answering: Coroutine[None, None, Response]) -> Response:
    # No room here waits for anything, so none needs a loop.
    try:
        answering.send(None)
    except StopIteration as done:
        response: Response = done.value
        return response
    message = "a room waits"
    raise AssertionError(message)


def _answer(data: bytes) -> None:
    response = _drive(_ROUTES.answer(_request(data)))
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        message = f"answered with {response.status}"
        raise AssertionError(message)
    if response.status >= HTTPStatus.BAD_REQUEST and response.media_type.endswith("json"):
        encoding.read_json(response.body, dict[str, str | int])


_STAMP: Final = tsp.Request("sha256", sha256(b"x"), nonce=7).to_bytes()

TARGETS: Final = (
    Target(
        "http-request",
        (
            b"GET /checkpoint\n\n",
            b"GET /tile/0/x001/234.p/17?x=y\naccept: */*\n\n",
            b"HEAD /api/v2/checkpoint\nauthorization: Bearer abc\n\n",
            b"POST /add-checkpoint\ncontent-type: text/plain\n\nold 0\n\n",
            f"POST {PATH}\ncontent-type: {QUERY}\n\n".encode() + _STAMP,
        ),
        _answer,
        (lines,),
        (b"/", b"//", b"/../", b"%2f", b"%00", b"?", b"{path*}", b"POST ", b"DELETE ", b": "),
    ),
)
"""Whatever answers HTTP."""
