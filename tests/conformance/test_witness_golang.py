"""Witnesses by other people: theirs cosigns our log, and their client is cosigned by ours.

Where Go is present, the program in the folder ``golang_witness`` is built once, of the packages
``witness`` and ``client/http`` of transparency-dev/witness. ``PROVREG_TEST_GO_WITNESS`` names one
that is built already.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry.core.encoding import base64_text
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.policy import Policy
from registry.core.tlog.witnessing import log_id
from registry.services import cosigning
from registry.signing.file import LogSigner
from tests.conformance.go_programs import CHEAP, program
from tests.cosigned import Place, eventually, has_quorum, register
from tests.growing import GrowingLog
from tests.server.http.facing import address_of, ask
from tests.watched import Watching, watching

SOURCE = Path(__file__).parent / "golang_witness"
FILES = ("go.mod", "go.sum", "main.go")

BUILD_SECONDS = 120
"""How long building may take; what is not finished then goes on in the next run."""

SECONDS = 30
"""How long the program may take for all that it is asked."""


@pytest.fixture(scope="session")
def foreign() -> Path:
    """Find the program, or build it."""
    chosen = os.environ.get("PROVREG_TEST_GO_WITNESS")
    if chosen:
        return Path(chosen)
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in FILES))
    return program(
        f"go-witness-{digest.hexdigest()[:16]}",
        ["build", "-mod=readonly", *CHEAP, "-o", "{folder}/witness", "."],
        seconds=BUILD_SECONDS,
        folder=SOURCE,
    )


@contextmanager
def serving(program: Path, name: str, log: VerifierKey) -> Iterator[tuple[str, list[str]]]:
    """Run their witness of a log; its address and its keys."""
    with subprocess.Popen(
        [program, "serve", name, str(log)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            url, *keys = (process.stdout.readline().strip() for _ in range(3))
            yield url, keys
        finally:
            process.terminate()


def asked(
    program: Path,
    witness: Watching,
    log: VerifierKey,
    *questions: tuple[int, bytes, tuple[bytes, ...]],
) -> list[Any]:
    """What their client makes of our witness's answers."""
    lines = [
        json.dumps(
            {
                "old": old,
                "checkpoint": base64_text(note),
                "proof": [base64_text(item) for item in proof],
            }
        )
        for old, note, proof in questions
    ]
    done = subprocess.run(
        [program, "ask", witness.url, str(log), str(witness.cosigner.key)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_witness_of_others_cosigns_a_log_of_ours(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosigning, "PACE_SECONDS", 0.05)
    with ExitStack() as resources:
        place = Place(tmp_path, f"sqlite:///{tmp_path / 'registry.sqlite3'}", resources)
        served = serving(foreign, "go.witness.example", place.signer.key)
        url, keys = resources.enter_context(served)
        # It signs with both keys each time that it is asked.
        place.policy.write_text(
            f"log {place.signer.key}\nwitness small {keys[0]} {url}\n"
            f"witness large {keys[1]} {url}\ngroup both all small large\nquorum both\n"
        )
        policy = Policy.parse(place.policy.read_bytes())
        sizes = set()
        with place.open() as registry:
            for number in range(4):
                for entry in range(3):
                    register(registry, 3 * number + entry)
                eventually(lambda: has_quorum(registry))
                head = registry.services.sequencer.head
                assert head is not None
                policy.verify(head.note)
                sizes.add(head.checkpoint.size)
            assert registry.services.sequencer.latched is None
        # A registry that was started again asks from the beginning, and is told where it stands.
        with place.open() as registry:
            register(registry, 99)
            eventually(lambda: has_quorum(registry))
    assert len(sizes) == 4


@pytest.mark.parametrize("post_quantum", [False, True], ids=["Ed25519", "ML-DSA-44"])
def test_a_client_of_others_is_cosigned_by_a_witness_of_ours(
    foreign: Path, tmp_path: Path, post_quantum: bool
) -> None:
    log, stranger = GrowingLog(), GrowingLog()
    fork, unknown = GrowingLog(log.signer, b"other"), LogSigner.generate("unknown.example")
    seven = log.head(7).note
    with watching(tmp_path, log.key, name="w1.example", post_quantum=post_quantum) as witness:
        said = asked(
            foreign,
            witness,
            log.key,
            (0, log.head(3).note, ()),
            (0, seven, log.proof(3, 7)),
            (3, seven, log.proof(3, 7)),
            (7, log.head(9).note, fork.proof(7, 9)),
            (7, fork.head(9).note, fork.proof(7, 9)),
            (7, fork.head(7).note, ()),
            (8, seven, ()),
            (7, stranger.head(9).note, log.proof(7, 9)),
            (0, GrowingLog(unknown).head(3).note, ()),
        )
        shown = ask(address_of(witness.url), "GET", f"/{log_id(log.key.name)}/checkpoint")
    # The log's own line and the witness's, by the verifiers of others.
    assert [answer["verified"] for answer in said] == [2, 0, 2, *[0] * 6]
    assert (said[1]["size"], said[1]["error"]) == (3, "old size != current")
    assert [answer["error"] for answer in said[3:]] == [
        "consistency proof invalid",
        "consistency proof invalid",
        "consistency proof invalid",
        "old size > current",
        "no valid signatures",
        "unknown log",
    ]
    assert SignedCheckpoint.open(shown.body, log.key).checkpoint.size == 7
