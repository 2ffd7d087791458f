"""Asking a witness: what it says it cosigned last is followed, as far as that is ours."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from registry.core.tlog.note import Note
from registry.core.tlog.policy import Witness
from registry.core.tlog.witnessing import SIZE_TYPE, AddCheckpoint
from registry.errors import Reason, RegistryError, UnavailableError
from registry.remote.http import HTTPClient
from registry.remote.witness import TRIES, WitnessClient
from registry.server.http.routing import TEXT, Response
from tests.growing import GrowingLog
from tests.watched import Watching, watching

LOG = GrowingLog()


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Watching]:
    with watching(tmp_path, LOG.key) as witness:
        yield witness


@pytest.fixture
def http() -> Iterator[HTTPClient]:
    with HTTPClient() as http:
        yield http


def client(http: HTTPClient, witness: Watching) -> WitnessClient:
    return WitnessClient(http, Witness("w", witness.cosigner.key, f"{witness.url}/"))


def cosign(asking: WitnessClient, size: int, log: GrowingLog = LOG) -> bytes:
    lines = asking.add_checkpoint(log.head(size), partial(log.proof, new=size))
    return log.head(size).note + "".join(map(str, lines)).encode()


def refusal(asking: WitnessClient, size: int, log: GrowingLog = LOG) -> Reason:
    with pytest.raises(RegistryError) as caught:
        cosign(asking, size, log)
    return caught.value.reason


def olds(witness: Watching) -> list[int]:
    return [AddCheckpoint.parse(body).old for body in witness.asked]


def test_a_growing_log_asks_once_for_each_checkpoint(http: HTTPClient, witness: Watching) -> None:
    asking = client(http, witness)
    for size in (3, 8, 8, 20):
        assert Note.parse(cosign(asking, size)).verify([LOG.key, witness.cosigner.key])
    assert olds(witness) == [0, 3, 8, 8]


def test_who_does_not_know_is_told_and_asks_again(http: HTTPClient, witness: Watching) -> None:
    cosign(client(http, witness), 8)
    cosign(client(http, witness), 20)
    assert olds(witness) == [0, 0, 8]


def test_a_size_beyond_our_own_is_never_taken(http: HTTPClient, witness: Watching) -> None:
    cosign(client(http, witness), 20)
    assert refusal(client(http, witness), 8) is Reason.WITNESS_AHEAD


def test_another_history_is_seen_by_both_sides(http: HTTPClient, witness: Watching) -> None:
    cosign(client(http, witness), 8)
    fork = GrowingLog(LOG.signer, b"other")
    assert refusal(client(http, witness), 20, fork) is Reason.CONSISTENCY_PROOF
    assert refusal(client(http, witness), 8, fork) is Reason.CONSISTENCY_PROOF
    shown = client(http, witness).cosigned_last(LOG.key.name)
    assert shown is not None
    assert Note.parse(shown).text == str(LOG.head(8).checkpoint)


def test_an_older_witness_that_answers_409_for_another_root_is_understood(
    http: HTTPClient, witness: Watching
) -> None:
    witness.lie = Response(409, b"8\n", SIZE_TYPE)
    assert refusal(client(http, witness), 8) is Reason.CONSISTENCY_PROOF


def test_a_witness_that_never_settles_is_left_alone(
    http: HTTPClient, witness: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter(range(1, 100))

    async def moving(request: object) -> Response:
        assert request
        return Response(409, b"%d\n" % next(sizes), SIZE_TYPE)

    monkeypatch.setattr(witness._honest, "add_checkpoint", moving)
    assert refusal(client(http, witness), 50) is Reason.REMOTE_STATUS
    assert len(witness.asked) == TRIES


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (Response(404, b"", TEXT), Reason.REMOTE_STATUS),
        (Response(200, b"<html>", TEXT), Reason.MALFORMED_NOTE),
        (Response(200, b"x" * 70_000, TEXT), Reason.ANSWER_TOO_LARGE),
        (Response(409, b"-1\n", SIZE_TYPE), Reason.MALFORMED_DECIMAL),
    ],
)
def test_what_is_no_answer_says_why(
    http: HTTPClient, witness: Watching, lie: Response, reason: Reason
) -> None:
    witness.lie = lie
    assert refusal(client(http, witness), 8) is reason


def test_a_witness_without_an_address_cannot_be_asked(http: HTTPClient, witness: Watching) -> None:
    with pytest.raises(UnavailableError) as caught:
        WitnessClient(http, Witness("w", witness.cosigner.key))
    assert caught.value.reason is Reason.BAD_SETTING
