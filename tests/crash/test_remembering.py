"""Every file operation of a witness that remembers fails, is cut short, or is its last one.

A witness must never sign two histories, so what it signed must be on the disk before anybody sees
the signature. Afterwards it remembers everything that it was seen to sign, and refuses a fork.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import COSIGNER_KEYS, VerifierKey
from registry.core.tlog.policy import Witness
from registry.errors import Reason, RegistryError, VerificationError
from registry.remote.http import HTTPClient
from registry.remote.witness import WitnessClient
from tests.crash import inject
from tests.crash.inject import Injector
from tests.crash.nursery import LOGS
from tests.crash.striking import CASES, HARMLESS, KILLED, Aim, durable, named, trap
from tests.crash.test_faults import MOST_OPERATIONS
from tests.growing import GrowingLog
from tests.running import REPOSITORY

pytestmark = pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)

LOG = GrowingLog()
FORK = GrowingLog(LOG.signer, b"another history")


class Remembering:
    """A witness that can be harmed, and what it was asked for and seen to sign.

    Attributes:
        data: Its folder.
        asked: The largest tree that it was asked to cosign.
        signed: The largest tree under which its signature was seen.
    """

    def __init__(self, data: Path, injector: Injector, http: HTTPClient) -> None:
        self.data = data
        self.injector = injector
        self.asked = self.signed = 0
        self._http = http

    @contextmanager
    def running(self) -> Iterator[WitnessClient]:
        """Whoever asks the witness, unharmed so far; it is killed at the end."""
        _, name, vkey, url = self._tell("start", "  witness ").split()
        key = VerifierKey.parse(vkey, COSIGNER_KEYS)
        try:
            yield WitnessClient(self._http, Witness(name, key, url))
        finally:
            self.injector.disarm()
            self._tell("kill", "killed")

    def _tell(self, order: str, awaited: str) -> str:
        child = self.injector.child
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{order}\n")
        child.stdin.flush()
        for line in child.stdout:
            assert not line.startswith("refused"), line
            if line.startswith(awaited):
                return line
        pytest.fail("the nursery died")

    def cosign(self, client: WitnessClient) -> RegistryError | None:
        """Ask for one more entry; what came instead of a signature."""
        self.asked += 1
        size = self.asked
        try:
            client.add_checkpoint(LOG.head(size), partial(LOG.proof, new=size))
        except RegistryError as error:
            return error
        self.signed = size
        return None

    def check(self, client: WitnessClient) -> None:
        """It remembers what it was seen to sign, and signs nothing else."""
        shown = client.cosigned_last(LOG.key.name)
        size = 0
        if shown is not None:
            head = SignedCheckpoint.open(shown, LOG.key).checkpoint
            size = head.size
            assert head.root == LOG.head(size).checkpoint.root
        assert self.signed <= size <= self.asked
        if size:
            with pytest.raises(VerificationError) as refused:
                client.add_checkpoint(FORK.head(size), partial(FORK.proof, new=size))
            assert refused.value.reason is Reason.CONSISTENCY_PROOF

    def strike(self, client: WitnessClient, aim: Aim) -> str | None:
        """Strike while it remembers one more tree; what was hit."""
        trap(self, aim)
        refused = self.cosign(client)
        self.injector.disarm()
        hit = self.injector.hit
        assert refused is None or (hit is not None and aim.case not in HARMLESS)
        if aim.case != KILLED:
            # What could not be remembered was not signed; and it may be asked for again.
            self.cosign(client)
            self.check(client)
        return hit and f"{hit.name} {os.path.relpath(hit.path, self.data)}"


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remembering]:
    """One witness for all cases; each goes on where the last one ended."""
    home = tmp_path_factory.mktemp("remembering")
    (home / "logs").write_text(f"log {LOG.key}\n")
    with (
        HTTPClient(timeout=timedelta(seconds=10)) as http,
        Injector(
            [
                *(sys.executable, "-u", "-m", "tests.crash.nursery"),
                *(str(home / "data"), f"{LOGS}{home / 'logs'}"),
            ],
            watch=home / "data",
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as injector,
    ):
        yield Remembering(home / "data", injector, http)


@pytest.mark.parametrize("case", CASES)
def test_a_witness_never_forgets_what_it_was_seen_to_sign(witness: Remembering, case: str) -> None:
    hits: list[str] = []

    def strike(aim: Aim) -> str | None:
        with witness.running() as client:
            witness.check(client)
            hit = witness.strike(client, aim)
        hits.extend([hit] if hit else [])
        return hit

    while strike(Aim(len(hits) + 1, case)):
        assert len(hits) < MOST_OPERATIONS, hits
    # A tree that splits a page takes one more, so that counting may pass over a call.
    for calls in durable(case):
        assert calls & named(hits) or strike(Aim(1, case, calls))
    with witness.running() as client:
        witness.check(client)
