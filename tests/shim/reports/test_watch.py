"""Watching reports: a change is recorded, silence is no claim, and wrong weights stop calls."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from registry.core.records import inference
from registry.core.records.inference import Report
from registry.errors import Reason, RegistryError, UnavailableError
from registry.shim.app import Shim
from registry.shim.deployment import Description, Engine, Standing
from registry.shim.reports.watch import ReportWatch
from tests.shim.test_deployment import ATTESTED, Told
from tests.shim.world import FILES, RELEASE, MemoryRegistry, running, written

OURS = RELEASE.manifest.files[0].digest.sha256
SAID = Report(interface="ollama", model="tiny", digest="b" * 64, weights=(OURS,))
UPSTREAM = "http://127.0.0.1:8000"


class Server:
    """A model server that says what a test has it say."""

    def __init__(self, said: Report | RegistryError) -> None:
        self.said = said

    def __call__(self) -> Report:
        if isinstance(self.said, RegistryError):
            raise self.said
        return self.said


SILENT = UnavailableError(Reason.UNREACHABLE, "nobody answers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shim"


@pytest.fixture
def shim(folder: Path) -> Iterator[Shim]:
    with running(folder, MemoryRegistry.build()) as shim:
        yield shim


def setups(folder: Path) -> list[inference.Setup]:
    return [item for item in written(folder) if isinstance(item, inference.Setup)]


def described(files: int = 0) -> Description:
    return Description.of(RELEASE, Engine(), upstream=UPSTREAM, files_verified=files)


def followed(shim: Shim, server: Server, files: int = 0) -> tuple[ReportWatch, Standing]:
    """A watch that has asked once, and what runs."""
    watch = ReportWatch(server, RELEASE, pause=3600)
    watch.ask()
    standing = Standing(shim.recorder, described(files))
    if watch.newest is not None:
        standing.reported(watch.newest)
    watch.follow(standing.reported)
    return watch, standing


def test_a_report_of_bytes_or_a_version_binds_the_model_by_the_servers_word(
    shim: Shim, folder: Path
) -> None:
    watch, standing = followed(shim, Server(SAID))
    assert standing().binding == "runtime_reported"
    said = setups(folder)[-1]
    assert (said.binding, said.level, said.report) == ("runtime_reported", 1, SAID)
    watch.stop()


def test_a_report_of_a_name_alone_is_written_down_and_binds_nothing(
    shim: Shim, folder: Path
) -> None:
    named = Report(interface="openai", model="tiny", engine="vllm")
    watch, standing = followed(shim, Server(named))
    assert standing().binding == "name_only"
    assert setups(folder)[-1].report == named
    watch.stop()


def test_files_that_were_compared_bind_the_model_whatever_is_reported(
    shim: Shim, folder: Path
) -> None:
    watch, standing = followed(shim, Server(SAID), files=len(FILES))
    assert standing().binding == "artifact_verified"
    assert (setups(folder)[-1].level, setups(folder)[-1].report) == (2, SAID)
    watch.stop()


def test_a_change_is_written_down_and_the_same_again_is_not(shim: Shim, folder: Path) -> None:
    server = Server(SAID)
    watch, standing = followed(shim, server)
    before, count = standing(), len(setups(folder))
    watch.ask()
    assert (standing(), len(setups(folder))) == (before, count)
    server.said = msgspec.structs.replace(SAID, digest="c" * 64)
    watch.ask()
    assert standing().setup_n != before.setup_n
    assert setups(folder)[-1].report == server.said
    watch.stop()


def test_a_server_that_says_nothing_any_more_is_bound_by_name_only(
    shim: Shim, folder: Path
) -> None:
    server = Server(SAID)
    watch, standing = followed(shim, server)
    watch.told()
    server.said = SILENT
    watch.ask()
    assert standing().binding == "name_only"
    assert setups(folder)[-1].report is msgspec.UNSET
    with pytest.raises(UnavailableError) as caught:
        watch.told()
    assert caught.value.reason is Reason.UNREPORTED
    assert "UNREACHABLE" in caught.value.actual
    # Calls go on: that is what the record says.
    watch.check()
    server.said = SAID
    watch.ask()
    watch.told()
    assert standing().binding == "runtime_reported"
    watch.stop()


def test_weights_that_are_not_of_the_version_stop_calls_until_the_right_ones_are_loaded(
    shim: Shim,
) -> None:
    server = Server(msgspec.structs.replace(SAID, weights=(OURS, "e" * 64)))
    watch, _ = followed(shim, server)
    for refused in (watch.check, watch.told):
        with pytest.raises(UnavailableError) as caught:
            refused()
        assert caught.value.reason is Reason.WRONG_MODEL_FILE
        assert "e" * 64 in caught.value.actual
    # Silence does not make them right.
    server.said = SILENT
    watch.ask()
    with pytest.raises(UnavailableError):
        watch.check()
    server.said = SAID
    watch.ask()
    watch.check()
    watch.stop()


def test_what_is_attested_is_written_down_again_with_what_is_reported(
    shim: Shim, folder: Path
) -> None:
    told = Told()
    standing = Standing(shim.recorder, described(), told)  # type: ignore[arg-type]
    told.tell(ATTESTED)
    standing.reported(SAID)
    deployment = standing()
    [said] = [item for item in setups(folder) if item.sequence.n == deployment.setup_n]
    assert (said.evidence, said.report) == (ATTESTED.evidence_id.hex(), SAID)


def test_a_watch_asks_again_by_itself_and_ends_when_it_is_told() -> None:
    server = Server(SAID)
    watch = ReportWatch(server, RELEASE, pause=0.01)
    told: list[Report | None] = []
    done = threading.Event()

    def listen(report: Report | None) -> None:
        told.append(report)
        done.set()

    watch.ask()
    watch.follow(listen)
    server.said = msgspec.structs.replace(SAID, digest="c" * 64)
    assert done.wait(10)
    watch.stop()
    assert told == [server.said]


def test_an_error_of_any_kind_ends_no_watch() -> None:
    def read() -> Report:
        raise ZeroDivisionError

    watch = ReportWatch(read, RELEASE)
    watch.ask()
    with pytest.raises(UnavailableError) as caught:
        watch.told()
    assert "ZeroDivisionError" in str(caught.value.__cause__)
