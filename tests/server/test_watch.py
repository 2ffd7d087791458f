"""Watching the log over gRPC: everything that matches, proved, and how far that is complete."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from registry.api.v1 import log_service_pb2 as pb
from registry.core.records import dataset, key_event
from registry.core.tlog import entry
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.errors import Reason
from registry.server import watchers
from registry.wire import log as wire
from registry.wire.status import from_rpc_error
from tests.mint import dataset_statement
from tests.running import running_registry
from tests.server.served import SECONDS, Served, fresh, served

Watch = Callable[..., Iterator[pb.WatchResponse]]


@pytest.fixture
def watch(registry: Served) -> Watch:
    """Watch as the auditor."""

    def act(**wanted: object) -> Iterator[pb.WatchResponse]:
        request = pb.WatchRequest(**wanted)  # type: ignore[arg-type]  # as a test says it
        return registry.log.Watch(request, metadata=registry.auditor.metadata, timeout=SECONDS)

    return act


def say(registry: Served, count: int = 1, stem: str = "d") -> list[str]:
    """Register datasets; their names."""
    names = [f"acme/{fresh(stem).replace('.', '-')}" for _ in range(count)]
    for name in names:
        registry.say(dataset_statement(name=name), registry.acme)
    return names


def size(registry: Served) -> int:
    head = registry.services.sequencer.head
    assert head is not None
    return head.checkpoint.size


def entries(told: Iterator[pb.WatchResponse]) -> list[pb.WatchedEntry]:
    return [item.entry for item in told if item.WhichOneof("event") == "entry"]


def test_everything_is_told_of_in_order_and_proved(registry: Served, watch: Watch) -> None:
    say(registry, 70)
    told = list(watch(until_newest=True))
    found = entries(iter(told))
    assert [item.receipt.index for item in found] == list(range(size(registry)))
    for item in found:
        wire.receipt_from_proto(item.receipt).verify(item.body, registry.services.signer.key)


def test_the_last_word_is_the_checkpoint_that_the_stream_is_complete_up_to(
    registry: Served, watch: Watch
) -> None:
    say(registry, 70)
    progress = [
        item.progress
        for item in watch(until_newest=True, names=["nobody/nothing"])
        if item.WhichOneof("event") == "progress"
    ]
    head = SignedCheckpoint.open(progress[-1].checkpoint, registry.services.signer.key)
    assert progress[-1].next == head.checkpoint.size == size(registry)
    assert [item.next for item in progress] == sorted({item.next for item in progress})


def test_a_stream_goes_on_where_it_was_left(registry: Served, watch: Watch) -> None:
    start = size(registry)
    assert entries(watch(start=start, until_newest=True)) == []
    (name,) = say(registry)
    (found,) = entries(watch(start=start, until_newest=True))
    assert (found.receipt.index, found.name) == (start, name)


def test_what_a_statement_says_is_told_with_it(registry: Served, watch: Watch) -> None:
    (name,) = say(registry)
    (found,) = entries(watch(names=[name], until_newest=True))
    assert (found.predicate_type, found.version) == (dataset.PREDICATE_TYPE, "2026-08")
    assert found.envelope


@pytest.mark.parametrize(
    "kind", ["key_ids", "digests", "predicate_types", "names", "subjects", "leaf"]
)
def test_only_what_matches_is_told_of(registry: Served, watch: Watch, kind: str) -> None:
    name = f"rival/{fresh('w').replace('.', '-')}"
    said = dataset_statement(name=name)
    receipt = registry.say(said, registry.rival)
    body = registry.services.reading.entry(receipt.index).body
    values: dict[str, list[object]] = {
        "key_ids": [registry.rival.signer.public_key.key_id],
        "digests": [entry.parse(body).digest],
        "predicate_types": [dataset.PREDICATE_TYPE],
        "names": [name, "rival/other"],
        "subjects": [bytes.fromhex(said.subject[0].digest.sha256)],
        "leaf": [registry.services.reading.entry(receipt.index).leaf_hash],
    }
    wanted = {"digests" if kind == "leaf" else kind: values[kind]}
    found = entries(watch(until_newest=True, **wanted))
    assert receipt.index in [item.receipt.index for item in found]
    assert 0 not in [item.receipt.index for item in found]
    assert len(found) < size(registry)


def test_all_kinds_must_match(registry: Served, watch: Watch) -> None:
    (name,) = say(registry)
    assert (
        entries(watch(names=[name], predicate_types=[key_event.PREDICATE_TYPE], until_newest=True))
        == []
    )


def test_a_watcher_is_told_as_soon_as_there_is_something(registry: Served, watch: Watch) -> None:
    told = watch(start=size(registry))
    next(told)
    (name,) = say(registry)
    found = next(told)
    assert found.entry.name == name
    told.cancel()  # type: ignore[attr-defined]  # it is a call, too


def test_a_slow_reader_misses_nothing_and_holds_up_nobody(registry: Served, watch: Watch) -> None:
    start = size(registry)
    told = watch(start=start)
    next(told)
    names = say(registry, 200, "slow")
    found: list[str] = []
    while len(found) < 200:
        item = next(told)
        if item.WhichOneof("event") == "entry":
            found.append(item.entry.name)
    assert found == names
    told.cancel()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"start": 10**6}, Reason.BEYOND_TREE),
        ({"start": 2**63}, Reason.BEYOND_TREE),
        ({"digests": [b"short"]}, Reason.MALFORMED_FIELD),
        ({"subjects": [b"x" * 33]}, Reason.MALFORMED_FIELD),
        ({"key_ids": ["AB" * 32]}, Reason.MALFORMED_HEX),
        ({"identities": [str(n) for n in range(257)]}, Reason.SELECTION),
        ({"names": [str(n) for n in range(257)]}, Reason.SELECTION),
    ],
    ids=["beyond", "far beyond", "digest", "subject", "key id", "identities", "names"],
)
def test_what_cannot_be_watched_for_is_refused(
    registry: Served, watch: Watch, wanted: dict[str, object], reason: Reason
) -> None:
    assert registry.refused(lambda: list(watch(**wanted))) == reason


def test_watchers_are_bounded_and_leave_their_place_behind(
    registry: Served, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = time.monotonic() + SECONDS
    while registry.services.watchers.count:
        assert time.monotonic() < until
    monkeypatch.setattr(watchers, "MAX_WATCHERS", 2)
    first, second = watch(start=size(registry)), watch(start=size(registry))
    next(first)
    next(second)
    assert registry.refusal(lambda: next(watch())).reason is Reason.WATCHERS
    first.cancel()  # type: ignore[attr-defined]
    while registry.services.watchers.count > 1:
        assert time.monotonic() < until
    assert entries(watch(until_newest=True))
    second.cancel()  # type: ignore[attr-defined]


def test_streams_end_without_an_error_when_the_registry_stops(tmp_path: Path) -> None:
    with running_registry(tmp_path / "data") as running:
        auditor = running.admit("auditor", "auditor")
        with grpc.insecure_channel(running.address) as channel:
            from registry.api.v1 import log_service_pb2_grpc as rpc  # noqa: PLC0415

            told = rpc.LogServiceStub(channel).Watch(
                pb.WatchRequest(), metadata=auditor.metadata, timeout=SECONDS
            )
            assert next(told).WhichOneof("event") == "entry"
            started = time.monotonic()
            timer = threading.Timer(0.2, running.process.terminate)
            timer.start()
            left = list(told)
            timer.join()
        assert left[-1].WhichOneof("event") == "progress"
        assert running.process.wait(SECONDS) == 0
        assert time.monotonic() - started < 8


def test_a_stream_that_has_ended_was_no_error_of_anybody(tmp_path: Path) -> None:
    with served(tmp_path / "data") as registry:
        told = registry.log.Watch(
            pb.WatchRequest(), metadata=registry.auditor.metadata, timeout=SECONDS
        )
        next(told)
        loop = registry.services.watchers._loop
        assert loop is not None
        loop.call_soon_threadsafe(registry.services.watchers.close)
        try:
            list(told)
        except grpc.RpcError as error:
            pytest.fail(str(from_rpc_error(error)))
        assert (
            registry.refusal(
                lambda: list(
                    registry.log.Watch(
                        pb.WatchRequest(), metadata=registry.auditor.metadata, timeout=SECONDS
                    )
                )
            ).reason
            is Reason.WATCHERS
        )
