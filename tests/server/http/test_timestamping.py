"""Timestamps over HTTP: statuses, types and limits."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from registry.config import DEFAULT_TSA_POLICY
from registry.core.archive.timestamp import open_response
from registry.core.archive.tsp import MAX_REQUEST_BYTES, Request, granted_token
from registry.errors import Reason, VerificationError
from registry.server.http.routing import Routes
from registry.server.http.timestamping import PATH, QUERY, REPLY, Timestamping
from registry.signing.timestamping import TimestampSigner
from tests.server.http.facing import Address, Answer, ask, facing

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
MESSAGE = b"what was signed"
SIGNER = TimestampSigner.generate("log.example", DEFAULT_TSA_POLICY, NOON)
ASKED = Request("sha256", hashlib.sha256(MESSAGE).digest(), nonce=7, with_certificate=True)


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with facing(Routes(Timestamping(SIGNER, lambda: NOON).routes())) as address:
        yield address


def post(address: Address, body: bytes, media_type: str = QUERY) -> Answer:
    return ask(address, "POST", PATH, body, {"content-type": media_type})


def test_a_token_is_answered_as_created(address: Address) -> None:
    answer = post(address, ASKED.to_bytes())
    assert (answer.status, answer.headers["content-type"]) == (201, REPLY)
    assert answer.headers["cache-control"] == "no-store"
    assert open_response(answer.body, MESSAGE, SIGNER.authority, nonce=7).at == NOON


def test_a_rejection_is_answered_as_a_reply(address: Address) -> None:
    answer = post(address, b"nonsense")
    assert (answer.status, answer.headers["content-type"]) == (400, REPLY)
    with pytest.raises(VerificationError, match="BAD_DATA_FORMAT"):
        granted_token(answer.body)


@pytest.mark.parametrize("media_type", ["", "application/json", "application/timestamp-reply"])
def test_a_body_of_another_type_is_refused(address: Address, media_type: str) -> None:
    answer = post(address, ASKED.to_bytes(), media_type)
    assert (answer.status, answer.reason) == (400, Reason.MALFORMED_TIMESTAMP)


def test_a_long_body_is_refused(address: Address) -> None:
    answer = post(address, bytes(MAX_REQUEST_BYTES + 1))
    assert (answer.status, answer.reason) == (413, Reason.BODY_TOO_LARGE)


def test_only_post_asks_for_timestamps(address: Address) -> None:
    assert ask(address, "GET", PATH).status == 405
