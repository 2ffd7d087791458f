"""Killed while evidence is submitted: every result is there once, and whoever asks again gets it.

Each node submits, and when it got no answer submits the same again after the restart. Its challenge
is good for exactly one result, however often the registry died meanwhile.
"""

import random
import threading
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import grpc

from registry.api.v1 import evidence_service_pb2 as pb
from registry.api.v1 import evidence_service_pb2_grpc as rpc
from registry.config import ServerSettings
from registry.core.attestation.dsse import Envelope
from registry.core.encoding import write_json
from registry.core.evidence.binding import Binding
from registry.core.evidence.result import AttestationResult
from registry.core.records import predicate
from registry.server.offline import open_offline
from registry.services.audit import check_log
from registry.storage.sql import log
from registry.wire import evidence as wire
from registry.wire.status import from_rpc_error
from tests.attesting import POLICY, document, nitro_policy
from tests.running import Caller, Running, running_registry

KILLS = 4
NODES = 3
MOMENTS = (0.02, 0.3)
"""Seconds from the first answer of a start to its kill."""
SECONDS = 30
SEED = 20_261_125


class Node:
    """Submits evidence, one piece after the other, and remembers what it was told."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._pending: pb.SubmitRequest | None = None
        self.told: dict[bytes, int] = {}
        """Evidence → the entry of its result."""

    def run(self, address: str) -> None:
        """Submit until nobody answers any more."""
        with grpc.insecure_channel(address) as channel:
            stub = rpc.EvidenceServiceStub(channel)
            try:
                while True:
                    self._submit(stub)
            except grpc.RpcError as error:
                said = from_rpc_error(error)
                assert said.reason in ("UNREACHABLE", "DEADLINE"), said

    def _submit(self, stub: rpc.EvidenceServiceStub) -> None:
        if self._pending is None:
            self._pending = self._prepare(stub)
        answer = stub.Submit(self._pending, metadata=self._caller.metadata, timeout=SECONDS)
        self.told[self._pending.evidence] = answer.result.receipt.index
        self._pending = None

    def _prepare(self, stub: rpc.EvidenceServiceStub) -> pb.SubmitRequest:
        asked = stub.Challenge(
            pb.ChallengeRequest(), metadata=self._caller.metadata, timeout=SECONDS
        )
        binding = Binding(nonce=asked.nonce, session_key=self._caller.signer.public_key.der)
        at = datetime.now(UTC).replace(microsecond=0)
        return pb.SubmitRequest(
            family="aws-nitro",
            evidence=document(binding, at).evidence,
            binding=wire.binding_to_proto(binding),
            policy=POLICY,
        )

    def finish(self, address: str) -> None:
        """Ask once more for everything that was told, and for what is pending."""
        with grpc.insecure_channel(address) as channel:
            stub = rpc.EvidenceServiceStub(channel)
            if self._pending is not None:
                self._submit(stub)
            self._submit(stub)


def round_(running: Running, nodes: list[Node], after: float) -> None:
    before = sum(len(node.told) for node in nodes)
    threads = [threading.Thread(target=node.run, args=(running.address,)) for node in nodes]
    for thread in threads:
        thread.start()
    while sum(len(node.told) for node in nodes) == before:
        assert any(thread.is_alive() for thread in threads)
        time.sleep(0.005)
    time.sleep(after)
    running.kill()
    for thread in threads:
        thread.join(SECONDS)


def test_every_result_is_there_once_after_kills_at_any_moment(tmp_path: Path) -> None:
    data = tmp_path / "data"
    moments = random.Random(SEED)  # noqa: S311 - when to kill is no secret
    with running_registry(data) as running:
        nodes = [Node(running.admit(f"node-{number}", "node")) for number in range(NODES)]
        with grpc.insecure_channel(running.address) as channel:
            rpc.EvidenceServiceStub(channel).PutPolicy(
                pb.PutPolicyRequest(policy=write_json(nitro_policy())),
                metadata=(("authorization", f"Bearer {running.admin_token}"),),
            )
        round_(running, nodes, moments.uniform(*MOMENTS))
    for _ in range(KILLS - 1):
        with running_registry(data) as running:
            round_(running, nodes, moments.uniform(*MOMENTS))
    with running_registry(data) as running:
        for node in nodes:
            node.finish(running.address)
    told = {evidence: index for node in nodes for evidence, index in node.told.items()}
    with open_offline(ServerSettings(data)) as stopped:
        with closing(stopped.folder.checkpoint_lock(None, stopped.key)) as lock:
            newest = lock.newest
        audited = check_log(
            stopped.database, stopped.blobs, stopped.key, newest, lambda _what, _done: None
        )
        assert not audited.faults
        with stopped.database.read() as connection:
            entries = log.entries_from(connection, 0, 100_000)
    names: Counter[str] = Counter()
    for entry in entries:
        said = predicate.parse(Envelope.parse(entry.envelope).payload).predicate
        if isinstance(said, AttestationResult):
            [environment] = said.submods.values()
            names[environment.raw_evidence] += 1
    assert set(names.values()) == {1}
    assert len(names) == len(told)
    assert len(told) >= KILLS
