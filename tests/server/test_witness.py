"""``provreg witness serve`` in a process of its own: first start, restarts, and kill -9."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import COSIGNER_KEYS, Note, VerifierKey
from registry.core.tlog.policy import Witness
from registry.errors import RegistryError
from registry.remote.http import HTTPClient
from registry.remote.witness import WitnessClient
from tests.forking import Process, provreg
from tests.growing import GrowingLog
from tests.running import REPOSITORY, STOP_SECONDS

LOG = GrowingLog()


@contextmanager
def running_witness(
    folder: Path,
    *logs: VerifierKey,
    name: str = "witness.example",
    arguments: Sequence[str] = (),
) -> "Iterator[tuple[Witness, Process]]":
    """A witness in ``folder``, and what it says of itself."""
    listing = folder.with_suffix(".logs")
    listing.write_text("".join(f"log {key}\n" for key in logs))
    given = ("--data", folder, "--logs", listing, "--listen", "127.0.0.1:0", "--name", name)
    with provreg("witness", "serve", *given, *arguments, stdout=True) as process:
        try:
            assert process.stdout is not None
            line = ""
            for line in process.stdout:
                if line.startswith("  witness "):
                    break
            _, name, vkey, url = line.split()
            yield Witness(name, VerifierKey.parse(vkey, COSIGNER_KEYS), url), process
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


@pytest.fixture
def http() -> Iterator[HTTPClient]:
    with HTTPClient(timeout=timedelta(seconds=10)) as http:
        yield http


def test_a_witness_keeps_its_key_and_its_memory(tmp_path: Path, http: HTTPClient) -> None:
    folder = tmp_path / "witness"
    keys = []
    for new in (5, 9):
        with running_witness(folder, LOG.key) as (witness, _):
            keys.append(witness.key)
            client = WitnessClient(http, witness)
            lines = client.add_checkpoint(LOG.head(new), partial(LOG.proof, new=new))
            note = LOG.head(new).note + "".join(map(str, lines)).encode()
            assert Note.parse(note).verify([witness.key])
            shown = client.cosigned_last("log.example")
            assert shown is not None
            assert SignedCheckpoint.parse(shown).checkpoint.size == new
    assert keys[0] == keys[1]
    assert (folder / "witness.vkey").read_text() == f"{keys[0]}\n"
    assert (folder / "witness.pem").stat().st_mode & 0o777 == 0o600


def cosign(client: WitnessClient, size: int) -> None:
    client.add_checkpoint(LOG.head(size), partial(LOG.proof, new=size))


def test_what_was_cosigned_is_remembered_after_kill_9(tmp_path: Path, http: HTTPClient) -> None:
    folder = tmp_path / "witness"
    asked = acknowledged = 0
    for milliseconds in (0, 7, 20, 45):
        with running_witness(folder, LOG.key) as (witness, process):
            client = WitnessClient(http, witness)
            shown = client.cosigned_last("log.example")
            remembered = 0 if shown is None else SignedCheckpoint.parse(shown).checkpoint.size
            # It may remember more than it could say, never less.
            assert acknowledged <= remembered <= asked
            cosign(client, asked + 1)
            acknowledged = asked = asked + 1
            killing = threading.Timer(milliseconds / 1000, process.kill)
            killing.start()
            with suppress(RegistryError):
                while True:
                    asked += 1
                    cosign(client, asked)
                    acknowledged = asked
            killing.join()
            process.wait(STOP_SECONDS)


def test_a_second_witness_on_one_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "witness"
    with running_witness(folder, LOG.key):
        second = subprocess.run(
            [
                *(sys.executable, "-m", "registry", "witness", "serve", "--data", str(folder)),
                *("--logs", str(folder.with_suffix(".logs")), "--listen", "127.0.0.1:0"),
            ],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=STOP_SECONDS,
            check=False,
        )
    assert second.returncode == 3
    assert "LOG_IN_USE" in second.stderr


@pytest.mark.parametrize(
    ("listing", "name", "reason"),
    [
        ("", "witness.example", "BAD_SETTING"),
        ("witness w x\n", "witness.example", "MALFORMED_KEY"),
        (f"log {LOG.key}\n", "a b", "MALFORMED_NAME"),
    ],
    ids=["no log", "no key", "no name"],
)
def test_a_witness_that_is_set_up_wrongly_does_not_start(
    tmp_path: Path, listing: str, name: str, reason: str
) -> None:
    (tmp_path / "logs").write_text(listing)
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "registry", "witness", "serve"),
            *("--data", str(tmp_path / "witness"), "--logs", str(tmp_path / "logs")),
            *("--name", name, "--listen", "127.0.0.1:0"),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=STOP_SECONDS,
        check=False,
    )
    assert answer.returncode in (1, 2)
    assert reason in answer.stderr


def test_a_post_quantum_key_cosigns_for_good_once_it_is_made(
    tmp_path: Path, http: HTTPClient
) -> None:
    folder = tmp_path / "witness"
    for size, arguments in ((2, ["--post-quantum"]), (5, [])):
        with running_witness(folder, LOG.key, arguments=arguments) as (witness, _):
            text = (folder / "witness-mldsa.vkey").read_text().strip()
            beside = VerifierKey.parse(text, COSIGNER_KEYS)
            # Both keys answer at one address; a policy may name either.
            for key in (witness.key, beside):
                cosign(WitnessClient(http, Witness("w", key, witness.url)), size)
