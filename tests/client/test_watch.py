"""What a registry streams of its log is verified entry by entry, by client and monitor."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.api.v1 import log_service_pb2 as pb
from registry.client.channel import Connection, Target
from registry.client.following_state import StateFolder
from registry.client.log import WatchedEntry
from registry.client.monitor import Found, Log, Monitor, Verified
from registry.client.registry import RegistryClient
from registry.client.registry_log import RegistryLog
from registry.client.tiled_log import TiledLog
from registry.core.records.wanted import Wanted
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.policy import Policy
from registry.core.tlog.selection import Selection
from registry.errors import NotFoundError, Reason, RegistryError, VerificationError
from registry.remote.http import HTTPClient
from tests.client.conftest import Place
from tests.client.liar import Liar
from tests.cosigned import eventually
from tests.mint import dataset_statement
from tests.server.served import served
from tests.watched import watching

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
METHOD = "LogService/Watch"


@pytest.fixture
def names(client: RegistryClient, place: Place, fresh_name: Callable[[], str]) -> list[str]:
    """Register three datasets."""
    names = [fresh_name() for _ in range(3)]
    for name in names:
        signer = place.publisher.signer
        client.register(signer.sign(dataset_statement(name=name)), signer.public_key)
    return names


def everything(client: RegistryClient, wanted: Wanted | None = None) -> list[int]:
    told = client.watch(wanted or Wanted(), until_newest=True)
    return [item.receipt.index for item in told if isinstance(item, WatchedEntry)]


def test_everything_is_watched(client: RegistryClient, names: list[str]) -> None:
    indices = everything(client)
    assert indices == list(range(len(indices)))
    assert len(indices) > len(names)


def test_only_what_is_wanted_is_watched(client: RegistryClient, names: list[str]) -> None:
    assert len(everything(client, Wanted(names=frozenset(names[:2])))) == 2


def without(number: int) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    return lambda answers: (raw for n, raw in enumerate(answers) if n != number)


def changed(
    change: Callable[[pb.WatchResponse], None],
) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    def act(answers: Iterator[bytes]) -> Iterator[bytes]:
        for raw in answers:
            message = pb.WatchResponse.FromString(raw)
            change(message)
            yield message.SerializeToString()

    return act


def body(message: pb.WatchResponse) -> None:
    if message.entry.receipt.index == 1:
        message.entry.body += b" "


def index(message: pb.WatchResponse) -> None:
    if message.entry.receipt.index == 1:
        message.entry.receipt.index = 2


def progress(message: pb.WatchResponse) -> None:
    if message.WhichOneof("event") == "progress":
        message.progress.next += 1


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (without(1), Reason.SUBJECT_MISMATCH),
        (changed(body), Reason.INCLUSION_PROOF),
        (changed(index), Reason.INCLUSION_PROOF),
        (changed(progress), Reason.SUBJECT_MISMATCH),
    ],
    ids=["left out", "other body", "other index", "other progress"],
)
def test_a_stream_that_lies_is_refused(
    misled: RegistryClient,
    liar: Liar,
    names: list[str],
    lie: Callable[[Iterator[bytes]], Iterator[bytes]],
    reason: Reason,
) -> None:
    assert names
    liar.streams[METHOD] = lie
    with pytest.raises(RegistryError) as caught:
        everything(misled)
    assert caught.value.reason is reason


def test_what_was_not_asked_for_is_refused(
    misled: RegistryClient, liar: Liar, names: list[str]
) -> None:
    liar.requests[METHOD] = lambda _: pb.WatchRequest(until_newest=True).SerializeToString()
    with pytest.raises(VerificationError) as caught:
        everything(misled, Wanted(names=frozenset(names)))
    assert caught.value.reason is Reason.SUBJECT_MISMATCH


def test_any_two_trees_are_proved_to_belong_together(
    client: RegistryClient, place: Place, names: list[str]
) -> None:
    first = client.checkpoint().checkpoint
    signer = place.publisher.signer
    for version in ("2026-11", "2026-12"):
        said = dataset_statement(name=names[0], version=version)
        client.register(signer.sign(said), signer.public_key)
    second = client.checkpoint().checkpoint
    client.register(
        signer.sign(dataset_statement(name=names[1], version="2026-12")), signer.public_key
    )
    client.verify_extends(first, second)
    with pytest.raises(VerificationError) as caught:
        client.verify_extends(first, Checkpoint(second.origin, second.size, b"x" * 32))
    assert caught.value.reason is Reason.CONSISTENCY_PROOF


def test_a_size_that_the_log_never_had_cannot_be_proved(client: RegistryClient) -> None:
    head = client.checkpoint().checkpoint
    beyond = Checkpoint(head.origin, head.size + 10**6, head.root)
    for older, newer in ((head, beyond), (beyond, head)):
        with pytest.raises(NotFoundError) as caught:
            client.verify_extends(older, newer)
        assert caught.value.reason is Reason.BEYOND_TREE


class Watcher:
    """A monitor of a registry over gRPC."""

    def __init__(self, place: Place, address: str, folder: Path) -> None:
        self.place = place
        self.address = address
        self.folder = folder

    def round(self) -> tuple[list[int], Verified]:
        """One round; the indices of what was found, and the checkpoint."""
        told: list[Found | Verified] = []
        key = self.place.log_key
        connection = Connection(Target.parse(self.address), token=self.place.publisher.token)
        with StateFolder(self.folder, key) as state, RegistryLog(connection, key) as log:
            monitor = Monitor(
                log, key, state, Selection(), started_at=NOON, max_age=timedelta(hours=1)
            )
            monitor.round(NOON, told.append)
        *found, last = told
        assert isinstance(last, Verified)
        return [item.index for item in found if isinstance(item, Found)], last


def test_a_monitor_follows_a_registry_over_grpc(
    place: Place, client: RegistryClient, names: list[str], tmp_path: Path
) -> None:
    assert names
    watcher = Watcher(place, place.running.address, tmp_path / "state")
    found, last = watcher.round()
    assert found == list(range(last.head.checkpoint.size))
    signer = place.publisher.signer
    said = dataset_statement(name=names[0], version="2026-09")
    receipt = client.register(signer.sign(said), signer.public_key)
    assert watcher.round()[0] == [receipt.index]
    assert watcher.round()[0] == []


def test_a_registry_that_cannot_prove_its_growth_is_kept_as_evidence(
    place: Place, liar: Liar, client: RegistryClient, names: list[str], tmp_path: Path
) -> None:
    watcher = Watcher(place, liar.address, tmp_path / "state")
    watcher.round()
    signer = place.publisher.signer
    client.register(
        signer.sign(dataset_statement(name=names[0], version="2026-10")), signer.public_key
    )

    def lie(raw: bytes) -> bytes:
        answer = pb.GetConsistencyResponse.FromString(raw)
        answer.proof[0] = b"x" * 32
        return answer.SerializeToString()

    liar.answers["LogService/GetConsistency"] = lie
    with pytest.raises(VerificationError) as caught:
        watcher.round()
    assert caught.value.reason is Reason.CONSISTENCY_PROOF
    assert len(list((tmp_path / "state").rglob("*.checkpoint"))) == 2


def test_a_monitor_follows_what_a_quorum_has_seen(tmp_path: Path) -> None:
    with served(tmp_path / "data") as registry:
        key = registry.services.signer.key
    with watching(tmp_path, key) as witness:
        text = f"log {key}\n{witness.line}quorum {witness.name}\n"
        (tmp_path / "policy").write_text(text)
        policy = tmp_path / "policy"
        with served(tmp_path / "data", prefix="new-", witness_policy=policy) as registry:
            heads = registry.services.sequencer.heads
            eventually(lambda: heads.cosigned is not None and heads.shown is heads.cosigned)
            witness.hang()
            registry.say(dataset_statement(name="acme/unseen"), registry.acme)
            assert heads.cosigned is not None
            assert heads.newest is not None
            seen = heads.cosigned.checkpoint.size
            assert seen < heads.newest.checkpoint.size
            connection = Connection(Target.parse(registry.address), token=registry.auditor.token)
            with RegistryLog(connection, key) as grpc_log, HTTPClient() as http:
                logs: tuple[Log, ...] = (grpc_log, TiledLog(registry.url, http))
                for number, log in enumerate(logs):
                    told: list[Found | Verified] = []
                    now = datetime.now(UTC)
                    with StateFolder(tmp_path / f"state-{number}", key) as state:
                        monitor = Monitor(
                            log,
                            key,
                            state,
                            Selection(),
                            started_at=now,
                            max_age=timedelta(hours=1),
                            policy=Policy.parse(text.encode()),
                        )
                        monitor.round(now, told.append)
                        monitor.verify_fresh(now)
                    # Without a quorum nobody believes in the entry that was added last.
                    found = [item.index for item in told if isinstance(item, Found)]
                    assert found == list(range(seen))
            witness.go_on()
