"""Killed between stamping and storing: a token is lost, and nothing else."""

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry.core.archive.timestamp import open_token
from registry.server.http.timestamping import STATES_PATH
from registry.storage.sql import log, timestamps
from registry.storage.sql.engine import Database
from registry.storage.sql.timestamps import StoredTimestamp
from tests.forking import Process, provreg
from tests.running import address_in
from tests.stamping import Server, stamping

SECONDS = 60
"""How long anything may take."""


@contextmanager
def serving(home: Path, *servers: Server, interval: int = 1) -> Iterator[tuple[Process, str]]:
    """Run a registry whose checkpoints ``servers`` stamp; yields it and its HTTP address."""
    arguments = ["--data", str(home / "data"), "--listen", "127.0.0.1:0"]
    arguments += ["--timestamp-interval", str(interval)]
    for number, server in enumerate(servers):
        chain = home / f"chain-{number}.pem"
        chain.write_bytes(server.signer.authority.pem)
        arguments += ["--timestamp-authority", f"{server.url}={chain}"]
    process = provreg("serve", *arguments, stdout=True)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield process, address_in(process.stdout.readline())
    finally:
        process.kill()
        process.wait(SECONDS)
        process.stdout.close()


def states(url: str) -> Any:
    with urllib.request.urlopen(url + STATES_PATH, timeout=SECONDS) as answer:
        return json.loads(answer.read())


def stored(home: Path) -> tuple[int, list[StoredTimestamp]]:
    database = Database(f"sqlite:///{home / 'data' / 'registry.sqlite3'}")
    try:
        with database.read() as connection:
            return log.size(connection), timestamps.first_after(connection, 0)
    finally:
        database.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def test_killed_between_stamping_and_storing(home: Path) -> None:
    with stamping("one") as one, stamping("two") as two:
        started: Future[Process] = Future()
        # The question has come, perhaps before we know whose, and its answer is on its way: the
        # stamp is made.
        two.before = lambda: started.result(SECONDS).kill()
        with serving(home, one, two, interval=3600) as (process, _):
            started.set_result(process)
            process.wait(SECONDS)
        two.before = lambda: None
        size, rows = stored(home)
        assert {row.authority for row in rows} <= {one.signer.authority.chain_digest}
        with serving(home, one, two, interval=3600) as (_, url):
            ends = time.monotonic() + SECONDS
            while not all(each["size"] == size for each in states(url)):
                assert time.monotonic() < ends
                time.sleep(0.05)
        after, rows = stored(home)
        # What was stamped before the end is not stamped again, what was lost is.
        assert (len(one.questions), len(two.questions)) == (1, 2)
    assert after == size
    for row in rows:
        authority = (one if row.authority == one.signer.authority.chain_digest else two).signer
        assert open_token(row.token, row.note, authority.authority).at == row.at
    assert len(rows) == 2


def test_it_is_visible_how_the_authorities_do(home: Path) -> None:
    with stamping("one") as one, stamping("two") as two:
        two.url = "http://127.0.0.1:9/"
        with serving(home, one, two) as (process, url):
            ends = time.monotonic() + SECONDS
            while True:
                first, second = states(url)
                if first["size"] and second["failures"] > 1:
                    break
                assert time.monotonic() < ends
                time.sleep(0.05)
            process.terminate()
            assert process.wait(SECONDS) == 0
    assert first["authority"] == "CN=one timestamp authority,O=one"
    assert (first["failures"], first["alarms"], first["reason"]) == (0, 0, "")
    assert (second["size"], second["stampedAt"]) == (0, "")
    assert second["reason"] == "UNREACHABLE"
    assert "url" not in first
