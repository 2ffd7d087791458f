"""Watching files: whatever happens to one while it is served, no call goes on, and why is said."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.errors import Reason, UnavailableError, VerificationError
from registry.shim.model_watch import PAUSE_SECONDS, ModelWatch
from registry.shim.release import PinnedRelease
from tests.shim.world import FILES, RELEASE, lay_out

PATH = next(iter(FILES))


class Meter:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rewrite(path: Path) -> None:
    before = path.stat()
    # Times of files go on in ticks of some milliseconds.
    while path.stat().st_mtime_ns == before.st_mtime_ns:
        path.write_bytes(b"x" * before.st_size)


def rewrite_and_hide(path: Path) -> None:
    """As somebody does who does not want it to be seen: same size, same time of change."""
    before = path.stat()
    rewrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def link(path: Path) -> None:
    other = path.with_name("other")
    path.rename(other)
    path.symlink_to(other)
    # The same file under the same name, until the link points elsewhere.
    other.write_bytes(b"other weights")


CHANGES = {
    "rewritten": rewrite,
    "rewritten and hidden": rewrite_and_hide,
    "replaced by an equal one": replace,
    "gone": Path.unlink,
    "a link to other bytes": link,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "models", FILES)


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
@pytest.mark.parametrize("which", ["of the release", "beside it"])
def test_a_file_that_changes_stops_all_calls_for_good(
    folder: Path, tmp_path: Path, which: str, change: Callable[[Path], object]
) -> None:
    adapter = tmp_path / "adapter"
    adapter.write_bytes(b"a LoRA")
    path = folder / PATH if which == "of the release" else adapter
    meter, as_it_was = Meter(), path.read_bytes()
    watch = ModelWatch(RELEASE, folder, (adapter,), meter)
    watch.check()
    change(path)
    meter.now += PAUSE_SECONDS
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            watch.check()
        assert (caught.value.reason, caught.value.where) == (Reason.WRONG_MODEL_FILE, str(path))
        # Putting it back does not tell what answered meanwhile.
        path.unlink(missing_ok=True)
        path.write_bytes(as_it_was)
        meter.now += PAUSE_SECONDS


def test_the_file_system_is_not_asked_for_every_call(folder: Path) -> None:
    meter = Meter()
    watch = ModelWatch(RELEASE, folder, meter=meter)
    watch.check()
    rewrite(folder / PATH)
    meter.now += PAUSE_SECONDS / 2
    watch.check()
    meter.now += PAUSE_SECONDS / 2
    with pytest.raises(UnavailableError):
        watch.check()


def test_a_change_while_the_files_are_compared_is_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = PinnedRelease.verify_folder

    def and_then_change(release: PinnedRelease, where: Path) -> None:
        compare(release, where)
        rewrite(where / PATH)

    monkeypatch.setattr(PinnedRelease, "verify_folder", and_then_change)
    watch = ModelWatch(RELEASE, folder)
    with pytest.raises(UnavailableError):
        watch.check()


def test_only_files_of_the_release_are_compared_and_counted(folder: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.write_bytes(b"a LoRA")
    assert ModelWatch(RELEASE, folder, (adapter,)).count == len(FILES)
    assert ModelWatch(RELEASE, None, (adapter,)).count == 0
    rewrite(folder / PATH)
    with pytest.raises(VerificationError):
        ModelWatch(RELEASE, folder, (adapter,))


@pytest.mark.parametrize("member", ["st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_whatever_the_file_system_says_otherwise_is_a_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    meter = Meter()
    watch = ModelWatch(RELEASE, folder, meter=meter)
    watch.check()
    ask = Path.stat

    class Otherwise:
        """What is said of a file, but for one thing."""

        def __init__(self, path: Path) -> None:
            self._said = ask(path)

        def __getattr__(self, name: str) -> int:
            said: int = getattr(self._said, name)
            return said + (name == member)

    monkeypatch.setattr(Path, "stat", lambda self, **_: Otherwise(self))
    meter.now += PAUSE_SECONDS
    with pytest.raises(UnavailableError):
        watch.check()


def test_what_the_file_system_said_is_believed_for_a_twentieth_of_a_second() -> None:
    assert PAUSE_SECONDS <= 0.05
