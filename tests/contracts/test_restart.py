"""Opening a registry: one process at a time, and only if the log is what was signed."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.command import downgrade as command_downgrade
from alembic.command import upgrade as command_upgrade
from sqlalchemy import text

from registry.config import ServerSettings
from registry.core.digest import sha256
from registry.core.tlog import merkle
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.merkle import leaf_hash, verify_consistency, verify_inclusion
from registry.errors import DamagedError, Reason, RegistryError
from registry.server.app import open_services
from registry.server.folder import CHECKPOINT_LOCK_FILE
from registry.services.keyring import Keyring
from registry.services.sequencing import Sequencer
from registry.services.submission import Submission
from registry.signing.file import LogSigner, StatementSigner
from registry.storage.space import DiskSpace
from registry.storage.sql import migrate
from registry.storage.sql.engine import Database
from registry.storage.sql.lock import CheckpointLock
from tests.contracts.registry_under_test import SECONDS, UnderTest, opened
from tests.mint import Journal, Logged, a_manifest, dataset_statement, release_statement
from tests.running import REPOSITORY

SIZES = [1, 2, 255, 256, 257, 300, 511, 512, 513, 600]
"""Sizes of trees around one and two full tiles of 256 leaves."""


def refusal(folder: Path, url: str) -> RegistryError:
    with pytest.raises(RegistryError) as refused, opened(folder, url):
        pass
    return refused.value


def test_a_second_opening_of_one_data_folder_is_refused(tmp_path: Path, url: str) -> None:
    with opened(tmp_path / "data", url):
        assert refusal(tmp_path / "data", url).reason is Reason.LOG_IN_USE


def test_a_second_process_on_one_data_folder_is_refused(tmp_path: Path, url: str) -> None:
    with opened(tmp_path / "data", url):
        outcome = subprocess.run(
            [
                *(sys.executable, "-m", "registry", "serve", "--listen", "127.0.0.1:0"),
                *("--data", str(tmp_path / "data"), "--database", url),
            ],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert outcome.returncode != 0
    assert "LOG_IN_USE" in outcome.stderr


def test_a_second_sequencer_on_one_postgresql_database_is_refused(
    tmp_path: Path, postgres_url: str
) -> None:
    with opened(tmp_path / "one", postgres_url):
        assert refusal(tmp_path / "two", postgres_url).reason is Reason.LOG_IN_USE


def test_a_postgresql_database_is_free_again_after_closing(
    tmp_path: Path, postgres_url: str
) -> None:
    with opened(tmp_path / "data", postgres_url) as registry:
        size = registry.size
    with opened(tmp_path / "data", postgres_url) as registry:
        assert registry.size == size


def test_a_data_folder_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from registry.storage.durable import FolderLock;"
        "lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "lock"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert refusal(tmp_path, f"sqlite:///{tmp_path / 'x'}").reason is Reason.LOG_IN_USE
        holder.kill()
        holder.wait(SECONDS)
    with opened(tmp_path, f"sqlite:///{tmp_path / 'x'}"):
        pass


class Filled:
    """A log of entries without meaning, which only the tree is asked about."""

    def __init__(self, folder: Path, url: str) -> None:
        with opened(folder, url) as registry:
            self.first = registry.size
        self.folder, self.url = folder, url
        self.lock = f"sqlite:///{folder / CHECKPOINT_LOCK_FILE}"
        self.signer = LogSigner.load(
            (folder / "origin").read_text().strip(), folder / "keys" / "log.pem"
        )
        self.key_id = StatementSigner.load(folder / "keys" / "operator.pem").public_key.key_id
        self.heads: dict[int, Checkpoint] = {}

    def fill(self, sizes: list[int]) -> None:
        """Let the log grow to each of these sizes, restarting in between."""
        for size in sizes:
            with self.sequencer() as (sequencer, _):
                start = sequencer.head.checkpoint.size if sequencer.head else 0
                answers = [sequencer.submit(self.submission(n)) for n in range(start, size)]
                for answer in answers:
                    answer.result(SECONDS)
                assert sequencer.head is not None
                self.heads[size] = sequencer.head.checkpoint

    def sequencer(self) -> "_Opened":
        """A sequencer that has just read what is stored."""
        return _Opened(self)

    def submission(self, number: int) -> Submission:
        """Entry number ``number``."""
        body = b"entry %d" % number
        return Submission(
            record_id=sha256(body),
            leaf_hash=leaf_hash(body),
            body=body,
            envelope=b"{}",
            predicate_type="filler",
            name="",
            version="",
            key_id=self.key_id,
            principal="operator",
        )


class _Opened:
    def __init__(self, filled: Filled) -> None:
        self._filled = filled

    def __enter__(self) -> tuple[Sequencer, Database]:
        self._database = Database(self._filled.url)
        keyring = Keyring()
        keyring.load(self._database)
        self._lock = CheckpointLock(self._filled.lock, self._filled.signer.key)
        self._sequencer = Sequencer(
            self._database,
            self._filled.signer,
            keyring,
            self._lock,
            DiskSpace(self._filled.folder, 0),
        )
        return self._sequencer, self._database

    def __exit__(self, *_: object) -> None:
        self._sequencer.close()
        self._lock.close()
        self._database.close()


@pytest.fixture
def filled(tmp_path: Path, url: str) -> Filled:
    """A log that has grown over two tiles, through many restarts."""
    filled = Filled(tmp_path / "data", url)
    filled.fill([size for size in SIZES if size > filled.first])
    return filled


def test_the_tree_after_restarts_is_the_tree_of_its_leaves(filled: Filled) -> None:
    with filled.sequencer() as (_, database), database.read() as connection:
        rows = connection.execute(text("SELECT leaf_hash FROM log_entries ORDER BY entry_index"))
        leaves = [bytes(row.leaf_hash) for row in rows]
    for size, head in filled.heads.items():
        assert head.root == merkle.root(leaves[:size])


def test_every_entry_is_proved_after_a_restart(filled: Filled) -> None:
    with filled.sequencer() as (sequencer, _):
        head = filled.heads[600]
        for number in range(filled.first, 600):
            receipt = sequencer.receipt(number)
            leaf = leaf_hash(b"entry %d" % number)
            verify_inclusion(leaf, number, head.size, receipt.proof, head.root)


def test_every_older_checkpoint_is_consistent_after_a_restart(filled: Filled) -> None:
    with filled.sequencer() as (sequencer, _):
        for size, head in filled.heads.items():
            proof, newest = sequencer.consistency(size)
            verify_consistency(size, 600, proof, head.root, newest.checkpoint.root)


def spoil(folder: Path, statement: str) -> None:
    """Change stored rows behind the registry's back."""
    with sqlite3.connect(folder / "registry.sqlite3") as connection:
        assert connection.execute(statement).rowcount == 1
    connection.close()


DAMAGE = {
    "a checkpoint that is garbled": "UPDATE log_checkpoints SET note = x'00' WHERE size = "
    "(SELECT max(size) FROM log_checkpoints)",
    "an older checkpoint": "UPDATE log_checkpoints SET note = "
    "(SELECT note FROM log_checkpoints WHERE size = 2) WHERE size = "
    "(SELECT max(size) FROM log_checkpoints)",
    "a checkpoint whose signature is changed": "UPDATE log_checkpoints SET note = "
    "CAST(substr(note, 1, length(note) - 20) || x'41414141' || substr(note, length(note) - 15) "
    "AS BLOB) WHERE size = (SELECT max(size) FROM log_checkpoints)",
    "an entry in the middle lost": "DELETE FROM log_entries WHERE entry_index = 1",
    "another leaf hash": "UPDATE log_entries SET leaf_hash = zeroblob(32) WHERE entry_index = 1",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_log_with_this_damage_is_not_served(tmp_path: Path, damage: str) -> None:
    url = f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    with opened(tmp_path, url) as registry:
        for number in range(3):
            registry.register(dataset_statement(version=str(number)))
    spoil(tmp_path, DAMAGE[damage])
    refused = refusal(tmp_path, url)
    assert (type(refused), refused.reason) == (DamagedError, Reason.STORED_BYTES)


def test_a_log_that_lost_its_last_entry_is_not_served(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    with opened(tmp_path, url) as registry:
        registry.register(dataset_statement())
    spoil(
        tmp_path,
        "DELETE FROM log_entries WHERE entry_index = (SELECT max(entry_index) FROM log_entries)",
    )
    assert refusal(tmp_path, url).reason is Reason.LOG_ROLLBACK


def test_a_checkpoint_that_is_lost_is_signed_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    with opened(tmp_path, url) as registry:
        registry.register(dataset_statement())
        head = registry.services.sequencer.head
    spoil(
        tmp_path,
        "DELETE FROM log_checkpoints WHERE size = (SELECT max(size) FROM log_checkpoints)",
    )
    with opened(tmp_path, url) as registry:
        assert registry.services.sequencer.head == head


def test_a_log_of_another_key_is_not_served(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.sqlite3'}"
    with opened(tmp_path, url):
        pass
    origin = (tmp_path / "origin").read_text().strip()
    (tmp_path / "keys" / "log.pem").unlink()
    LogSigner.generate(origin).save(tmp_path / "keys" / "log.pem")
    assert refusal(tmp_path, url).reason is Reason.WRONG_LOG


def test_a_log_never_changes_its_origin(tmp_path: Path) -> None:
    with opened(tmp_path, f"sqlite:///{tmp_path / 'x.sqlite3'}"):
        pass
    settings = ServerSettings(tmp_path, origin="other.example")
    with pytest.raises(RegistryError) as refused, open_services(settings):
        pass
    assert refused.value.reason is Reason.BAD_SETTING


def test_the_whole_story_is_there_after_a_restart(tmp_path: Path, url: str) -> None:
    keys: dict[str, StatementSigner] = {}
    data = dataset_statement()
    journal = a_journal()
    with opened(tmp_path / "data", url, keys) as registry:
        registry.register(data)
        registry.register_batch(journal.batch_statement(), journal.records)
        size = registry.size
    with opened(tmp_path / "data", url, keys) as registry:
        registry.verify(registry.register(data), data)
        outputs = registry.services.lineage.find([sha256(b"output")])
        heads = registry.services.registration.shim_head(bytes.fromhex(journal.shim_id))
        assert (registry.size, len(outputs), heads and heads.n_last) == (size, 1, 2)


def a_journal() -> Journal:
    said = release_statement(a_manifest())
    journal = Journal()
    journal.boot()
    journal.call(Logged(said, StatementSigner.generate().sign(said), 0), b"output")
    return journal


def test_a_first_start_that_died_early_goes_on(tmp_path: Path, url: str) -> None:
    with opened(tmp_path / "data", url):
        pass
    for name in ("admin.token", "log.vkey"):
        (tmp_path / "data" / name).unlink()
    with opened(tmp_path / "data", url) as registry:
        assert isinstance(registry, UnderTest)


def test_a_first_start_that_died_between_two_revisions_goes_on(tmp_path: Path, url: str) -> None:
    database = Database(url)
    with database.migrating() as connection:
        command_upgrade(migrate._config(connection), "0002")
    database.close()
    with opened(tmp_path / "data", url) as registry:
        assert registry.size > 0


def test_a_log_of_the_previous_release_is_not_upgraded_by_starting(
    tmp_path: Path, url: str
) -> None:
    with opened(tmp_path / "data", url) as registry:
        assert registry.size > 0
    database = Database(url)
    with database.migrating() as connection:
        command_downgrade(migrate._config(connection), "0002")
    database.close()
    assert refusal(tmp_path / "data", url).reason is Reason.SCHEMA_BEHIND
