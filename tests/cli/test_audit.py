"""``provreg audit gaps``: from a terminal, over a registry in this process."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.cli import main
from registry.core.digest import sha256
from registry.services import placing
from registry.storage.sql.catalog import ShimHead
from tests.cli.conftest import Said, Shell
from tests.server.served import Served, served
from tests.shim_story import Story

Audit = Callable[..., Said]
"""Runs ``provreg audit gaps`` with these arguments."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Served]:
    """A registry of this test's own: what it holds is counted."""
    with served(tmp_path / "data") as registry:
        (tmp_path / "auditor.token").write_text(registry.auditor.token + "\n")
        yield registry


@pytest.fixture
def audit(registry: Served, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audit:
    """Ask as the registry's auditor, an hour after noon."""
    monkeypatch.setattr(main, "now", lambda: datetime(2026, 9, 1, 13, tzinfo=UTC))
    where = (
        *("--server", registry.address, "--token-file", str(tmp_path / "auditor.token")),
        *("--log-key", (registry.folder / "log.vkey").read_text().strip()),
    )
    return lambda *arguments: shell(*where, "audit", "gaps", *arguments)


def register(registry: Served, story: Story, *cuts: int) -> None:
    for statement, leaves in story.cut(*cuts):
        registry.register_batch(statement, leaves, registry.node)


def a_story(name: str) -> Story:
    story = Story(shim_id=sha256(name.encode()).hex()[:32])
    story.boot()
    story.call()
    return story


def test_all_shims_are_judged_and_summed_up(registry: Served, audit: Audit) -> None:
    assert "no shim" in audit().out
    stopped, silent = a_story("stopped"), a_story("silent")
    stopped.stop()
    register(registry, stopped, 1)
    said = audit()
    assert (said.status, "1 shims: 1 VALID" in said.out) == (0, True)
    register(registry, silent)
    said = audit()
    assert said.status == 4
    for word in (stopped.shim_id, "INDETERMINATE(SHIM_SILENT)", "2 shims", "4 of 4 records"):
        assert word in said.out
    assert audit("--shim", stopped.shim_id).status == 0
    assert audit("--shim", silent.shim_id).status == 4


def test_for_machines_each_shim_is_one_line(registry: Served, audit: Audit) -> None:
    story = a_story("one")
    story.stop()
    register(registry, story)
    found, summary = map(json.loads, audit("--json").out.splitlines())
    assert (found["shim_id"], found["verdict"], found["proven"]) == (story.shim_id, "VALID", 4)
    assert (summary["verdict"], summary["shims"]) == ("VALID", 1)


def test_the_longest_silence_is_the_auditors_choice(registry: Served, audit: Audit) -> None:
    story = a_story("slow")
    story.later(100)
    story.beat()
    story.stop()
    register(registry, story)
    said = audit()
    assert (said.status, "INVALID(HEARTBEAT_GAP)" in said.out) == (1, True)
    assert audit("--max-heartbeat-gap", "100").status == 0


def test_missing_records_are_named(
    registry: Served, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "check_chain", lambda *_given: ShimHead(0, b"", b"", ""))
    story = a_story("holed")
    story.skip(2)
    story.call()
    story.skip(1)
    story.stop()
    register(registry, story, 3, 5)
    said = audit("--shim", story.shim_id)
    assert said.status == 1
    assert "missing: records 3 to 4" in said.out
    assert "missing: record 7\n" in said.out
    said = audit("--receipt", f"{story.shim_id}/4")
    assert (said.status, "provably does not exist" in said.out) == (1, True)
    assert "nothing lies between entry" in said.out
    value = audit("--receipt", f"{story.shim_id}/4", "--json").value
    assert (value["verdict"], value["reason"]) == ("INVALID", "SEQUENCE_GAP")
    assert value["missing"] == {"first": 3, "last": 4}


def test_one_receipt_exists_or_is_not_known(registry: Served, audit: Audit) -> None:
    story = a_story("receipts")
    register(registry, story)
    said = audit("--receipt", f"{story.shim_id}/1")
    assert (said.status, "exists: VALID" in said.out) == (0, True)
    assert "position 2 of entry" in said.out
    assert audit("--receipt", f"{story.shim_id}/2").status == 1
    assert audit("--receipt", f"{story.shim_id}/3").status == 4


def test_a_shim_that_nobody_knows_is_refused(audit: Audit) -> None:
    said = audit("--shim", "0" * 32)
    assert (said.status, "UNKNOWN_SHIM" in said.err) == (1, True)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (("--shim", "xyz"), 1),
        (("--receipt", "0" * 32), 1),
        (("--receipt", f"{'0' * 32}/01"), 1),
        (("--receipt", f"{'0' * 32}/1", "--shim", "0" * 32), 2),
        (("--max-heartbeat-gap", "0"), 2),
        (("--max-heartbeat-gap", "nan"), 2),
    ],
)
def test_what_is_no_question_is_refused(audit: Audit, given: tuple[str, ...], status: int) -> None:
    assert audit(*given).status == status
