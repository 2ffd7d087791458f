"""The shim as a whole: its start, its end, and who may not start it."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from registry.core.records import inference
from registry.core.tlog import merkle
from registry.errors import Reason, RefusedError, UnavailableError, VerificationError
from registry.shim.app import Chosen, Timing, open_shim
from registry.shim.configuration import FOLDER, Attestation, Configuration
from tests.shim.world import (
    DEPLOYMENT,
    FILES,
    RELEASE,
    MemoryRegistry,
    call,
    kinds,
    lay_out,
    running,
    written,
)


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry.build()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shim"


def test_a_run_begins_with_a_boot_and_ends_with_a_stop(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry) as shim:
        call(shim.recorder, b"x")
    assert kinds(written(folder)) == ["boot", "intent", "completion", "stop"]


def test_a_start_tells_its_release_its_configuration_and_the_newest_head_it_has_seen(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry) as shim:
        call(shim.recorder, b"x")
        shim.flush(5)
        seen = shim.uploader.seen
    with running(folder, registry):
        pass
    first, second = [item for item in written(folder) if isinstance(item, inference.Boot)]
    assert first.seen is msgspec.UNSET
    assert seen is not None
    assert isinstance(second.seen, inference.SeenHead)
    # The stop record of the first run was proven after `seen`.
    assert (second.seen.origin, second.seen.size) == ("log.example", seen.size + 1)
    assert (
        second.seen.root
        == merkle.root(
            [merkle.leaf_hash(body) for body in registry.bodies[: second.seen.size]]
        ).hex()
    )
    assert first.release == second.release == RELEASE.model.release
    assert isinstance(first.config, str)
    assert first.config == second.config
    assert first.evidence is msgspec.UNSET


def test_the_configuration_under_the_digest_is_kept_and_another_has_another_digest(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry):
        pass
    with running(folder, registry, timing=Timing(heartbeat=60, drain=5, farewell=5)):
        pass
    boots = [item for item in written(folder) if isinstance(item, inference.Boot)]
    kept = {path.stem: path.read_bytes() for path in (folder / FOLDER).iterdir()}
    assert list(dict.fromkeys(boot.config for boot in boots)) == sorted(
        kept, key=[boot.config for boot in boots].index
    )
    said = [Configuration.parse(kept[str(boot.config)]) for boot in boots]
    assert [each.digest for each in said] == [boot.config for boot in boots]
    assert [each.heartbeat_ms for each in said] == [3_600_000, 60_000]


def test_the_evidence_in_force_at_the_start_is_in_the_boot_record(
    folder: Path, registry: MemoryRegistry
) -> None:
    chosen = Chosen(attestation=Attestation(required=True, policy="strict"), evidence="e" * 64)
    with running(folder, registry, chosen=chosen):
        pass
    [boot] = [item for item in written(folder) if isinstance(item, inference.Boot)]
    assert boot.evidence == "e" * 64


def test_an_error_in_the_block_still_ends_in_good_order(
    folder: Path, registry: MemoryRegistry
) -> None:
    with pytest.raises(ZeroDivisionError), running(folder, registry):
        raise ZeroDivisionError
    assert kinds(written(folder)) == ["boot", "stop"]


def test_a_call_left_open_makes_the_end_unclean(folder: Path, registry: MemoryRegistry) -> None:
    hasty = Timing(heartbeat=3600, drain=0, farewell=5)
    with running(folder, registry, timing=hasty) as shim:
        shim.recorder.intent(DEPLOYMENT, bytes(32))
    with running(folder, registry):
        pass
    assert kinds(written(folder)) == ["boot", "intent", "boot", "interrupted", "stop"]
    boot = written(folder)[2]
    assert isinstance(boot, inference.Boot)
    assert boot.prev_stop == "unclean"


def test_heartbeats_need_no_calls(folder: Path, registry: MemoryRegistry) -> None:
    often = Timing(heartbeat=0.005, drain=5, farewell=5)
    with running(folder, registry, timing=often) as shim:
        assert shim.sequence.journal.wait_durable(3, 10)
    assert kinds(written(folder))[:4] == ["boot", "heartbeat", "heartbeat", "heartbeat"]


def test_a_swapped_file_keeps_the_shim_from_starting(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry):
        pass
    before = written(folder)
    models = lay_out(folder.parent / "swapped", FILES | {"config.json": b"{ }"})
    with (
        pytest.raises(VerificationError) as caught,
        open_shim(folder, registry.node, registry, RELEASE, models, log_key=registry.log.key),
    ):
        pass
    assert caught.value.reason is Reason.WRONG_MODEL_FILE
    assert caught.value.where.endswith("config.json")
    assert written(folder) == before


def test_two_shims_cannot_share_a_folder(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry):
        with pytest.raises(UnavailableError) as caught, running(folder, registry):
            pass
        assert caught.value.reason is Reason.JOURNAL_IN_USE


def test_an_end_with_the_registry_down_is_quick_and_quiet(
    folder: Path, registry: MemoryRegistry
) -> None:
    registry.down.set()
    began = time.monotonic()
    with running(folder, registry, timing=Timing(heartbeat=3600, drain=120, farewell=0.05)):
        pass
    assert time.monotonic() - began < 60
    assert kinds(written(folder)) == ["boot", "stop"]


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_everybody_may_write_to_is_refused(
    folder: Path, registry: MemoryRegistry, mode: int
) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(RefusedError) as caught, running(folder, registry):
        pass
    assert caught.value.reason is Reason.FOREIGN_FOLDER
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")
def test_a_folder_of_somebody_else_is_refused(folder: Path, registry: MemoryRegistry) -> None:
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(RefusedError) as caught, running(folder, registry):
        pass
    assert caught.value.reason is Reason.FOREIGN_FOLDER
    assert list(folder.iterdir()) == []
