"""Which route answers what, and how errors leave."""

import asyncio
from typing import Any

import msgspec
import pytest

from registry import errors
from registry.errors import (
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RegistryError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
)
from registry.server.http.routing import Request, Response, Route, Routes, refusal


async def echo(request: Request) -> Response:
    return Response(body=msgspec.json.encode(dict(request.parts)))


def ask(routes: Routes, method: str, path: str) -> Response:
    return asyncio.run(routes.answer(Request(method, path)))


def members(response: Response) -> Any:
    return msgspec.json.decode(response.body)


TABLE = Routes(
    (
        Route("GET", "/tile/{path*}", echo),
        Route("GET", "/{origin}/checkpoint", echo),
        Route("POST", "/{origin}/checkpoint", echo),
        Route("GET", "/checkpoint", echo),
        Route("GET", "/tile/entries", echo),
    )
)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/checkpoint", {}),
        ("/tile/0/x001/067.p/3", {"path": "0/x001/067.p/3"}),
        ("/tile/entries", {}),
        ("/abc/checkpoint", {"origin": "abc"}),
    ],
)
def test_a_path_leads_to_its_route(path: str, parts: dict[str, str]) -> None:
    assert members(ask(TABLE, "GET", path)) == parts
    assert ask(TABLE, "HEAD", path).status == 200


@pytest.mark.parametrize("path", ["/", "", "/tile/", "//checkpoint", "/checkpoint/", "/a/b/c", "*"])
def test_any_other_path_is_unknown(path: str) -> None:
    answer = ask(TABLE, "GET", path)
    assert (answer.status, members(answer)["reason"]) == (404, "UNKNOWN_PATH")


def test_a_wrong_method_is_told_which_are_right() -> None:
    answer = ask(TABLE, "DELETE", "/abc/checkpoint")
    assert (answer.status, members(answer)["reason"]) == (405, "WRONG_METHOD")
    assert answer.headers == (("allow", "GET, HEAD, POST"),)


def test_two_routes_for_one_method_of_a_path_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two routes"):
        Routes((Route("GET", "/a", echo), Route("GET", "/a", echo)))


@pytest.mark.parametrize("kind", RegistryError.__subclasses__())
def test_every_kind_of_error_has_a_status(kind: type[RegistryError]) -> None:
    answer = refusal(kind(Reason.FORK, "words", hint="do this"))
    told = members(answer)
    assert 400 <= answer.status < 600
    assert (told["reason"], told["message"], told["hint"]) == ("FORK", "FORK: words", "do this")


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (MalformedError(Reason.MALFORMED_JSON, "x"), 400, ()),
        (UnauthenticatedError(Reason.NO_TOKEN, "x"), 401, (("www-authenticate", "Bearer"),)),
        (errors.ForbiddenError(Reason.ROLE, "x"), 403, ()),
        (NotFoundError(Reason.BEYOND_TREE, "x"), 404, ()),
        (UnsupportedError(Reason.FORK, "x", expected="nothing"), 405, (("allow", ""),)),
        (errors.ConflictError(Reason.FORK, "x"), 409, ()),
        (LimitExceededError(Reason.BODY_TOO_LARGE, "x"), 413, ()),
        (UnavailableError(Reason.LOG_BUSY, "x"), 503, (("retry-after", "1"),)),
        (errors.DamagedError(Reason.STORED_BYTES, "x"), 500, ()),
        (OSError(28, "no space left"), 503, (("retry-after", "1"),)),
    ],
)
def test_an_error_leaves_with_its_status(
    error: Exception, status: int, headers: tuple[tuple[str, str], ...]
) -> None:
    answer = refusal(error)
    assert (answer.status, answer.headers) == (status, headers)


def test_an_error_of_ours_says_nothing_but_a_request_id(caplog: pytest.LogCaptureFixture) -> None:
    answer = refusal(KeyError("a secret"))
    assert answer.status == 500
    assert b"secret" not in answer.body
    number = members(answer)["message"].split("request ")[1].split(")")[0]
    assert number in caplog.text


def test_no_error_is_long_or_holds_control_characters() -> None:
    what = "a\x1b[31m\udc80\u202e" + "x" * 5000
    told = members(refusal(MalformedError(Reason.FORK, what, where=what)))
    assert all(len(told[part]) <= 512 and told[part].isprintable() for part in ("message", "where"))


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer abc", "abc"), ("Basic abc", None), ("", None)],
)
def test_the_token_is_that_of_the_bearer(header: str, token: str | None) -> None:
    assert Request("GET", "/", headers={"authorization": header}).token == token
