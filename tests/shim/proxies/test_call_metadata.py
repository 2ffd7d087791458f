"""What a gRPC call says beside its messages: what goes on, what stays, and until when."""

import math
from dataclasses import dataclass
from typing import Any

import pytest

from registry.errors import MalformedError, Reason
from registry.shim.proxies.call_metadata import (
    ANSWER_SECONDS,
    MAX_TIMEOUT_SECONDS,
    left,
    passing,
    theirs,
    timeout_of,
)
from registry.shim.recorder.asking import MAX_HELD_SECONDS, TOLD, Asked
from registry.shim.recorder.levels import Levels
from registry.shim.recorder.wish import Wish

KEPT = (("authorization", "Bearer x"), ("grpc-of-mine", "1"), ("trace-bin", b"\x00\xff"))


@dataclass
class Context:
    """A call with so much time left."""

    seconds: float | None

    def invocation_metadata(self) -> Any:
        return ()

    def time_remaining(self) -> float | None:
        return self.seconds


@pytest.mark.parametrize(
    "name",
    [
        *("x-provreg-level", "x-provreg-deadline-ms", "x-provreg-anything", ":authority"),
        *("content-type", "te", "user-agent", "accept-encoding", "grpc-timeout"),
        *("grpc-encoding", "grpc-accept-encoding", "grpc-message-type"),
        "grpc-previous-rpc-attempts",
    ],
)
def test_what_belongs_to_a_connection_or_to_us_stays(name: str) -> None:
    assert passing((*KEPT, (name, "1"))) == KEPT


@pytest.mark.parametrize("name", sorted(TOLD))
def test_what_only_we_may_say_is_not_the_model_servers(name: str) -> None:
    assert theirs((*KEPT, (name, "1"))) == KEPT


@pytest.mark.parametrize("value", ["é", "a\nb", "\x00", "\x7f", b"bytes"])
def test_what_nobody_may_send_is_refused(value: Any) -> None:
    with pytest.raises(MalformedError) as caught:
        passing((("said", value),))
    assert caught.value.reason is Reason.MALFORMED_FIELD


@pytest.mark.parametrize(
    ("remaining", "passes"),
    [(None, None), (5.0, 5.0), (MAX_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS), (1e300, None)],
)
def test_a_deadline_that_nobody_can_wait_for_is_none(
    remaining: float | None, passes: float | None
) -> None:
    assert timeout_of(Context(remaining)) == passes


def test_an_answer_goes_out_before_its_callers_deadline() -> None:
    assert left(Context(None)) == math.inf
    assert left(Context(5.0)) == pytest.approx(5.0 - ANSWER_SECONDS)
    assert left(Context(ANSWER_SECONDS / 2)) == 0


@pytest.mark.parametrize(("deadline_ms", "at_most"), [(86_400_000, MAX_HELD_SECONDS), (100, 0.1)])
def test_no_answer_is_held_for_longer_than_its_deadline_and_half_a_minute(
    deadline_ms: int, at_most: float
) -> None:
    levels: Levels = None  # type: ignore[assignment]  # nothing is handed on
    assert 0 <= Wish(levels, Asked("signed", deadline_ms))._held() <= at_most
