"""The release that is kept on disk: only what was asked for, and what this log proved, is read."""

from dataclasses import replace
from pathlib import Path

import pytest

from registry.errors import MalformedError
from registry.shim import pinned
from registry.shim.pinned import PinnedFile
from tests.shim.world import RELEASE

LOG = "log.example+0123abcd+key"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "release.json"


def test_what_was_kept_comes_back(path: Path) -> None:
    PinnedFile(path).write(RELEASE, LOG)
    assert PinnedFile(path).read(RELEASE.name, RELEASE.version, LOG) == RELEASE
    PinnedFile(path).write(replace(RELEASE, version="2"), LOG)
    assert PinnedFile(path).read(RELEASE.name, RELEASE.version, LOG) is None


@pytest.mark.parametrize("other", ["name", "version", "log"])
def test_another_release_or_log_is_not_the_one_that_was_kept(path: Path, other: str) -> None:
    PinnedFile(path).write(RELEASE, LOG)
    asked = {"name": RELEASE.name, "version": RELEASE.version, "log": LOG}
    asked[other] = "acme/other" if other == "name" else "9"
    assert PinnedFile(path).read(**asked) is None


def test_without_a_file_nothing_was_kept(path: Path) -> None:
    assert PinnedFile(path).read(RELEASE.name, RELEASE.version, LOG) is None


def test_a_file_that_is_none_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"{}")
    with pytest.raises(MalformedError):
        PinnedFile(path).read(RELEASE.name, RELEASE.version, LOG)
    PinnedFile(path).write(RELEASE, LOG)
    monkeypatch.setattr(pinned, "MAX_MANIFEST_BYTES", 8)
    with pytest.raises(MalformedError, match="no pinned release"):
        PinnedFile(path).read(RELEASE.name, RELEASE.version, LOG)
