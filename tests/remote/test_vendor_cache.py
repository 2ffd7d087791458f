"""What vendors said is kept for a while, and not more than fits."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from registry.core.evidence.endorsements import Role
from registry.errors import NotFoundError, Reason, RegistryError, UnavailableError
from registry.remote.vendor_cache import (
    FAILURE_AGE,
    MAX_AGE,
    MAX_AGE_LASTING,
    NOTHING_AGE,
    Fresh,
    VendorCache,
)

SECOND = timedelta(seconds=1)
START = datetime(2026, 6, 1, tzinfo=UTC)


class World:
    """A clock that is set, and a vendor that counts."""

    def __init__(self, max_answers: int = 10, max_bytes: int = 1000) -> None:
        self.now = START
        self.asked = 0
        self.cache = VendorCache(lambda: self.now, max_answers=max_answers, max_bytes=max_bytes)
        self.fails: RegistryError | None = None
        self.until: datetime | None = None
        self.lasting = False
        self.size = 1

    def ask(self) -> Fresh:
        self.asked += 1
        if self.fails is not None:
            raise self.fails
        items = ((Role.AMD_CRL, bytes(self.size)),)
        return Fresh(items, until=self.until, lasting=self.lasting)

    def get(self, question: str = "q") -> None:
        self.cache.get(question, self.ask)

    def asks_again_after(self, age: timedelta) -> bool:
        self.now += age
        before = self.asked
        with contextlib.suppress(RegistryError):
            self.get()
        return self.asked > before


def test_an_answer_is_kept_for_an_hour_at_most() -> None:
    world = World()
    world.get()
    assert not world.asks_again_after(MAX_AGE)
    assert world.asks_again_after(SECOND)


def test_an_answer_is_kept_until_its_next_update_and_not_a_second_longer() -> None:
    world = World()
    world.until = START + 60 * SECOND
    world.get()
    assert not world.asks_again_after(60 * SECOND)
    assert world.asks_again_after(SECOND)


def test_what_never_changes_is_kept_for_a_day() -> None:
    world = World()
    world.lasting = True
    world.get()
    assert not world.asks_again_after(MAX_AGE_LASTING)
    assert world.asks_again_after(SECOND)


def test_an_answer_that_is_out_of_date_already_is_not_kept() -> None:
    world = World()
    world.until = START - SECOND
    world.get()
    assert len(world.cache) == 0
    assert world.asks_again_after(timedelta(0))


@pytest.mark.parametrize(
    ("error", "age"),
    [
        (UnavailableError(Reason.UNREACHABLE, "no"), FAILURE_AGE),
        (NotFoundError(Reason.NO_ENDORSEMENT, "none"), NOTHING_AGE),
    ],
    ids=["nobody answers", "no such thing"],
)
def test_a_refusal_is_remembered_for_a_while(error: RegistryError, age: timedelta) -> None:
    world = World()
    world.fails = error
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            world.get()
        assert caught.value.reason is error.reason
    assert world.asked == 1
    world.fails = None
    assert not world.asks_again_after(age)
    assert world.asks_again_after(SECOND)
    world.get()


def test_the_cache_keeps_no_more_answers_than_it_may() -> None:
    world = World(max_answers=3)
    for question in "abcd":
        world.get(question)
    assert len(world.cache) == 3
    world.get("a")
    assert world.asked == 5


def test_what_was_used_last_stays_longest() -> None:
    world = World(max_answers=2)
    for question in ("a", "b", "a", "c", "a"):
        world.get(question)
    assert world.asked == 3


def test_the_cache_keeps_no_more_bytes_than_it_may() -> None:
    world = World(max_bytes=1000)
    world.size = 400
    for question in "abc":
        world.get(question)
    assert (len(world.cache), world.cache.size_bytes) == (2, 800)
    world.size = 1001
    world.get("large")
    assert world.cache.size_bytes == 800


def test_one_question_of_many_threads_is_asked_once() -> None:
    world = World()
    entered = threading.Event()
    release = threading.Event()

    def slow() -> Fresh:
        entered.set()
        assert release.wait(10)
        return world.ask()

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(world.cache.get, "q", slow)
        assert entered.wait(10)
        others = [threads.submit(world.cache.get, "q", slow) for _ in range(7)]
        release.set()
        answers = {each.result(10) for each in (first, *others)}
    assert world.asked == 1
    assert len(answers) == 1


def test_what_goes_wrong_in_one_thread_leaves_no_other_waiting() -> None:
    world = World()

    def broken() -> Fresh:
        message = "not ours"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        world.cache.get("q", broken)
    world.get()
    assert world.asked == 1
