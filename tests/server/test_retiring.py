"""Keys of authorities are replaced, and what was pinned stays pinned until its end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.config import ServerSettings
from registry.errors import NotFoundError, Reason, RegistryError
from registry.server.app import open_services
from registry.server.retiring import KINDS, retire
from registry.signing.retired import read_retired_name
from tests.running import running_registry

AT = datetime(2026, 9, 1, 12, 0, 0, 300_000, tzinfo=UTC)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A stopped registry with all authorities."""
    start(tmp_path / "data")
    return tmp_path / "data"


def start(data: Path) -> dict[str, bytes]:
    """Start and stop; what stands in the folder of keys."""
    with open_services(ServerSettings(data, ca=True, tsa=True)):
        return {file.name: file.read_bytes() for file in (data / "keys").glob("*.*")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_retired_key_is_gone_and_the_next_start_makes_a_new_one(data: Path, kind: str) -> None:
    before = start(data)
    kept = retire(data, kind, AT)
    files = KINDS[kind]
    assert kept.read_bytes() == before[files.public]
    public, end = read_retired_name(kept.name)
    assert public == files.public
    assert timedelta(0) <= end - AT - files.lasts < timedelta(seconds=1)
    assert not any((data / "keys" / name).exists() for name in (*files.private, files.public))
    after = start(data)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {files.public, *files.private}
    assert start(data) == after


def test_an_authority_that_is_not_there_cannot_be_retired(tmp_path: Path) -> None:
    with open_services(ServerSettings(tmp_path / "data")):
        pass
    with pytest.raises(NotFoundError) as refused:
        retire(tmp_path / "data", "tsa", AT)
    assert "--tsa" in refused.value.hint


def test_a_running_registry_is_left_alone(tmp_path: Path) -> None:
    with running_registry(tmp_path / "data"), pytest.raises(RegistryError) as refused:
        retire(tmp_path / "data", "ca", AT)
    assert refused.value.reason is Reason.LOG_IN_USE


@pytest.mark.parametrize("kind", KINDS)
def test_retiring_that_dies_anywhere_is_gone_on_with(
    data: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = KINDS[kind]
    pinned = (data / "keys" / files.public).read_bytes()
    unlink = Path.unlink
    for left in range(len(files.private) + 1):
        count = 0

        def dying(path: Path, *, missing_ok: bool = False, left: int = left) -> None:
            nonlocal count
            if path.parent.name == "keys":
                if count == left:
                    raise KeyboardInterrupt
                count += 1
            unlink(path, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", dying)
            with pytest.raises(KeyboardInterrupt):
                retire(data, kind, AT + timedelta(hours=left))
        if left == 0:
            # Nothing has happened yet: the old key goes on.
            assert start(data)[files.public] == pinned
        else:
            with pytest.raises(RegistryError) as refused:
                start(data)
            assert refused.value.reason is Reason.KEY_LOST
            assert f"log retire {kind}" in refused.value.hint
    kept = retire(data, kind, AT + timedelta(days=1))
    # One copy, with the end that was the last.
    assert list(kept.parent.iterdir()) == [kept]
    assert kept.read_bytes() == pinned
    assert start(data)[files.public] != pinned
