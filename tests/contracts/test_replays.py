"""Replays: an auditor may say how a registered output compares, and tells its record as it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from registry.core.access import Principal
from registry.core.capsule.container import Capsule
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.records import inference, replay
from registry.core.records.inference import Runtime
from registry.core.records.replay import Receipt, Replay, Why
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.receipt import Receipt as LogReceipt
from registry.core.verdict import Verdict
from registry.errors import ForbiddenError, Reason, RefusedError
from registry.services.audit import check_log
from registry.services.indexing import Progress, rebuild
from registry.signing.file import StatementSigner
from tests.contracts.registry_under_test import UnderTest, opened
from tests.mint import AT, SHIM, Journal, Logged, a_manifest, release_statement

AUDITOR = Principal("auditor-1", ("auditor",))
RAN = Runtime(engine="onnxruntime", version="1.22.0")
UNRECORDED = (Why.ISA_UNRECORDED, Why.OPT_LEVEL_UNRECORDED, Why.PROVIDER_UNRECORDED)


@dataclass
class Place:
    """A registry that has recorded one output, and an auditor."""

    registry: UnderTest
    record: bytes
    failed_n: int

    def said(self, **members: Any) -> Replay:
        """What an auditor says who got the same bits again."""
        completion = inference.parse(self.record)
        assert isinstance(completion, inference.Completion)
        sequence = completion.sequence
        values: dict[str, Any] = {
            "receipt": Receipt(
                shim_id=sequence.shim_id,
                intent_n=completion.intent_n,
                n=sequence.n,
                leaf=leaf_hash(self.record).hex(),
            ),
            "model": completion.model,
            "model_file": "weights.onnx",
            "input": "proven",
            "outcome": "bit_exact",
            "recorded": RAN,
            "replayed": RAN,
            "recorded_output": completion.response.content_digest,
            "replayed_output": completion.response.content_digest,
            "reasons": UNRECORDED,
            "run_us": 10,
            "issued_at": AT,
        }
        return Replay(**(values | members))

    def register(self, said: Replay, who: Principal = AUDITOR) -> LogReceipt:
        """Sign and register it."""
        data = self.registry.keys[who.name].sign(replay.statement(said)).to_bytes()
        return self.registry.services.registration.register(data, who).result(30)


@pytest.fixture
def place(tmp_path: Path, url: str) -> Iterator[Place]:
    """A registry on either database."""
    with opened(tmp_path / "data", url) as registry:
        manifest = a_manifest({"weights.bin": b"weights"})
        for data in (b"weights", manifest.to_bytes()):
            registry.services.artifacts.put(data)
        said = release_statement(manifest)
        index = registry.register(said).index
        journal = Journal()
        journal.boot()
        record = journal.call(Logged(said, registry.keys["acme"].sign(said), index))
        failed = inference.Heartbeat(sequence=journal.sequence(), at=AT)
        journal.append(failed)
        registry.register_batch(journal.batch_statement(), journal.records)
        registry.keys[AUDITOR.name] = StatementSigner.generate()
        public = registry.keys[AUDITOR.name].public_key
        registry.services.access.add(AUDITOR.name, AUDITOR.roles, (), [public], None)
        yield Place(registry, record, failed.sequence.n)


def test_a_replay_is_logged_and_listed_under_its_record(place: Place) -> None:
    said = place.said()
    receipt = place.register(said)

    def listed() -> list[int]:
        found = place.registry.services.registration.list(
            replay.PREDICATE_TYPE, said.receipt.leaf, "", 0, 10
        )
        return [entry.index for _, entry in found]

    assert listed() == [receipt.index]
    services = place.registry.services
    head = services.sequencer.head
    assert head is not None
    quiet: Progress = lambda _what, _done: None  # noqa: E731
    audited = check_log(
        services.database, services.blobs, services.signer.key, head.checkpoint, quiet
    )
    assert audited.faults == ()
    rebuild(services.database, services.blobs, quiet)
    assert listed() == [receipt.index]


def test_a_capsule_carries_the_newest_replays(place: Place) -> None:
    first = place.register(place.said())
    for number in range(100, 116):
        place.register(place.said(run_us=number))
    output = [bytes.fromhex(place.said().recorded_output)]
    data, _, _ = place.registry.services.lineage.trace(output, None)
    capsule = Capsule.parse(data)
    assert len(capsule.replays) == 16
    assert capsule.replays[0].index == first.index + 1
    report = appraise(capsule, place.registry.services.signer.key, output)
    assert report.verdict_now is Verdict.VALID
    assert {item.auditor for item in report.facts.replays} == {"auditor-1"}


def test_the_same_record_may_be_replayed_again(place: Place) -> None:
    first = place.register(place.said())
    assert place.register(place.said(run_us=11)).index > first.index


def test_only_an_auditor_may_replay(place: Place) -> None:
    for who in ("acme", "node-1"):
        with pytest.raises(ForbiddenError) as caught:
            place.register(place.said(), place.registry.callers[who])
        assert caught.value.reason is Reason.ROLE


LIES: dict[str, Any] = {
    "another leaf": lambda said: {"receipt": msgspec.structs.replace(said.receipt, leaf="0" * 64)},
    "another intent": lambda said: {"receipt": msgspec.structs.replace(said.receipt, intent_n=0)},
    "another model": lambda said: {"model": msgspec.structs.replace(said.model, version="9")},
    "another runtime": lambda _: {
        "recorded": Runtime(engine="onnxruntime", version="2"),
        "replayed": Runtime(engine="onnxruntime", version="2"),
    },
    "another output": lambda _: {"recorded_output": "0" * 64, "replayed_output": "0" * 64},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_replay_that_tells_the_record_otherwise_is_refused(place: Place, lie: str) -> None:
    size = place.registry.size
    with pytest.raises(RefusedError) as caught:
        place.register(place.said(**LIES[lie](place.said())))
    assert caught.value.reason is Reason.REPLAY_SUBJECT
    assert place.registry.size == size


def test_a_record_that_is_about_no_output_cannot_be_replayed(place: Place) -> None:
    receipt = Receipt(shim_id=SHIM, intent_n=1, n=place.failed_n, leaf=sha256(b"").hex())
    with pytest.raises(RefusedError) as caught:
        place.register(place.said(receipt=receipt))
    assert caught.value.reason is Reason.REPLAY_SUBJECT


@pytest.mark.parametrize("shim_id", [SHIM, "0" * 32])
def test_a_record_that_is_not_registered_cannot_be_replayed(place: Place, shim_id: str) -> None:
    receipt = Receipt(shim_id=shim_id, intent_n=1, n=99, leaf=sha256(b"").hex())
    with pytest.raises(RefusedError) as caught:
        place.register(place.said(receipt=receipt))
    assert caught.value.reason is Reason.UNKNOWN_REFERENCE
