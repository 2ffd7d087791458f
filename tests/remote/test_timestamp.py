"""Authorities over HTTP: what is believed of their answers."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from registry.core import der
from registry.core.archive import cms, tsp
from registry.core.archive.timestamp import open_token
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.remote.http import HTTPClient
from registry.remote.timestamp import REPLY, RemoteAuthority
from registry.server.http.routing import Response
from tests.authorities import Authority, granted
from tests.stamping import Server, real_now, stamping

MESSAGE = b"what shall be stamped"


@pytest.fixture(scope="module")
def client() -> Iterator[HTTPClient]:
    with HTTPClient(timeout=timedelta(seconds=5)) as client:
        yield client


@pytest.fixture
def server() -> Iterator[Server]:
    with stamping() as server:
        yield server


def refusal(remote: RemoteAuthority) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        remote.stamp(MESSAGE)
    return caught.value


def test_a_stamp_is_verified_and_can_be_verified_again(server: Server, client: HTTPClient) -> None:
    token, stamp = server.remote(client).stamp(MESSAGE)
    assert open_token(token, MESSAGE, server.signer.authority) == stamp
    assert abs(stamp.at - real_now()) < timedelta(seconds=5)


def test_each_question_has_another_nonce(server: Server, client: HTTPClient) -> None:
    first, second = (server.remote(client).stamp(MESSAGE)[1].nonce for _ in range(2))
    assert first != second


def test_certificates_that_come_along_are_left_out(server: Server, client: HTTPClient) -> None:
    def embed() -> None:
        asked = tsp.Request.parse(server.questions[-1])
        wanted = tsp.Request(
            asked.algorithm, asked.imprint, nonce=asked.nonce, with_certificate=True
        )
        body, _ = server.signer.answer(wanted.to_bytes(), server.clock())
        server.answer = Response(200, body, REPLY)

    server.before = embed
    token, _ = server.remote(client).stamp(MESSAGE)
    assert der.read(cms.ContentInfo, token, what="token").content.certificates is None
    assert server.answer is not None
    assert len(token) < len(server.answer.body) - 400


def test_an_old_answer_is_not_believed(server: Server, client: HTTPClient) -> None:
    remote = server.remote(client)
    remote.stamp(MESSAGE)
    body, _ = server.signer.answer(server.questions[0], server.clock())
    server.answer = Response(201, body, REPLY)
    assert refusal(remote).reason is Reason.TIMESTAMP_NONCE


def test_another_authority_is_not_believed(server: Server, client: HTTPClient) -> None:
    remote = RemoteAuthority(server.url, Authority().pinned(), client)
    assert refusal(remote).reason is Reason.TIMESTAMP_SIGNER


def test_another_policy_is_not_taken(server: Server, client: HTTPClient) -> None:
    error = refusal(server.remote(client, policy="1.2.3.4"))
    assert isinstance(error, VerificationError)
    assert error.reason is Reason.TIMESTAMP_REJECTED
    assert "UNACCEPTED_POLICY" in error.actual


def test_a_stamp_of_other_bytes_is_not_believed(server: Server, client: HTTPClient) -> None:
    authority = Authority()
    server.answer = Response(200, granted(authority.token(b"other")), REPLY)
    remote = RemoteAuthority(server.url, authority.pinned(), client)
    assert refusal(remote).reason is Reason.TIMESTAMP_IMPRINT


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (Response(500, b"down"), UnavailableError, Reason.REMOTE_STATUS),
        (Response(404, b"{}"), UnavailableError, Reason.REMOTE_STATUS),
        (Response(200, b"<html>"), MalformedError, Reason.MALFORMED_TIMESTAMP),
        (Response(200, b"nonsense", REPLY), MalformedError, Reason.MALFORMED_TIMESTAMP),
        (Response(500, b"nonsense", REPLY), MalformedError, Reason.MALFORMED_TIMESTAMP),
        (
            Response(200, bytes(tsp.MAX_RESPONSE_BYTES + 1), REPLY),
            LimitExceededError,
            Reason.ANSWER_TOO_LARGE,
        ),
    ],
)
def test_what_is_no_answer_is_refused(
    server: Server, client: HTTPClient, answer: Response, kind: type, reason: Reason
) -> None:
    server.answer = answer
    error = refusal(server.remote(client))
    assert (type(error), error.reason) == (kind, reason)


def test_nobody_at_the_address_is_said_to_be_unreachable(client: HTTPClient) -> None:
    remote = RemoteAuthority("http://127.0.0.1:9/", Authority().pinned(), client)
    assert refusal(remote).reason is Reason.UNREACHABLE


def test_an_address_that_is_none_is_refused(client: HTTPClient) -> None:
    with pytest.raises(MalformedError) as caught:
        RemoteAuthority("ftp://tsa.example/", Authority().pinned(), client)
    assert caught.value.reason is Reason.BAD_SETTING
