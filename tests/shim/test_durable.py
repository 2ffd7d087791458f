"""Small files: what is asked of the disk before anybody is told that they are there."""

import sys
from pathlib import Path

import pytest

from registry.shim.durable import make_folder, replace_file
from tests.shim.disk import Step, watched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def test_a_file_is_whole_on_disk_before_its_name_and_then_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(monkeypatch) as steps:
        replace_file(tmp_path / "said", b"whole")
    assert [(step.act, step.path.name) for step in steps] == [
        ("sync", ".said.new"),
        ("rename", "said"),
        ("sync", tmp_path.name),
    ]
    assert steps[0].holds == b"whole"
    assert steps[2].holds == frozenset({"said"})


def test_each_new_folder_has_its_name_on_disk_before_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(monkeypatch) as steps:
        make_folder(tmp_path / "one" / "two")
    assert steps == [
        Step("sync", tmp_path, frozenset({"one"})),
        Step("sync", tmp_path / "one", frozenset({"two"})),
    ]
    with watched(monkeypatch) as steps:
        make_folder(tmp_path / "one" / "two")
    assert steps == []
