"""Attempts to deceive an auditor, with shims as processes: each is refused, or named.

What a shim's owner can do without signing anything false: lose the end of a journal, bring back an
old one, run a copy beside it, kill it.
"""

import json
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.cli import main
from tests.cli.conftest import Place, Shell
from tests.cli.test_shim import arguments, shim, until, upstream, version

__all__ = ["upstream", "version"]

HERE = Path("shim-data")


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address at which nobody answers."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{nobody.getsockname()[1]}"


def one_call(given: tuple[object, ...], text: str = "hello") -> tuple[str, str]:
    """Run a shim for one call: its receipt, and the digest of the answer."""
    with shim(*given) as proxy:
        status, headers, _ = proxy.ask(text)
        assert status == 200
    return headers["x-receipt-id"], f"sha256:{headers['x-output-sha256']}"


def refused(given: tuple[object, ...], reason: str) -> None:
    """A shim that does not begin to serve, and says why."""
    with shim(*given, expect=1) as proxy:
        assert proxy.port == 0
    assert any(reason in line for line in proxy.said), proxy.said


def segments() -> list[Path]:
    return sorted(HERE.glob("journal/*"))


def test_a_journal_that_lost_records_which_were_signed_is_not_gone_on_with(
    place: Place, upstream: str, version: str
) -> None:
    given = arguments(place, version, upstream)
    one_call(given)
    [segment] = [each for each in segments() if each.stat().st_size]
    data = segment.read_bytes()
    segment.write_bytes(data[: len(data.rstrip(bytes(1))) // 2])
    refused(given, "JOURNAL_DAMAGED")


def test_whoever_deletes_the_journal_is_another_shim_and_the_old_one_fell_silent(
    place: Place, acme: Shell, upstream: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = arguments(place, version, upstream)
    with shim(*given, expect=-9) as proxy:
        receipt = proxy.ask()[1]["x-receipt-id"]
        until(lambda: "completion" in acme("receipt", "show", receipt).out)
        proxy.process.kill()
    shutil.rmtree(HERE / "journal")
    other, _ = one_call(given)
    shim_id = receipt.partition("/")[0]
    assert other.partition("/")[0] != shim_id
    monkeypatch.setattr(main, "now", lambda: datetime.now(UTC) + timedelta(hours=1))
    said = acme("audit", "gaps", "--shim", shim_id)
    assert (said.status, "INDETERMINATE(SHIM_SILENT)" in said.out) == (4, True)
    assert acme("audit", "gaps", "--receipt", receipt).status == 0


def test_an_old_copy_is_refused_before_it_serves(
    place: Place, acme: Shell, upstream: str, version: str
) -> None:
    given = arguments(place, version, upstream)
    receipt, _ = one_call(given)
    shutil.copytree(HERE, "old")
    one_call(given)
    shutil.rmtree(HERE)
    Path("old").rename(HERE)
    refused(given, "JOURNAL_ROLLBACK")
    assert acme("audit", "gaps", "--shim", receipt.partition("/")[0]).status == 0


def test_a_receipt_of_a_copy_of_a_shim_is_told_from_that_of_the_shim(
    place: Place, acme: Shell, upstream: str, version: str, nowhere: str
) -> None:
    given = arguments(place, version, upstream)
    one_call(given)
    shutil.copytree(HERE, "copy")
    # The copy runs where it cannot be found out, and gives the same numbers away.
    hidden = list(given)
    hidden[1], hidden[hidden.index("--folder") + 1] = nowhere, "copy"
    with shim(*hidden, expect=-9) as proxy:
        headers = proxy.ask("of the copy")[1]
        proxy.process.kill()
    theirs, their_output = headers["x-receipt-id"], f"sha256:{headers['x-output-sha256']}"
    ours, our_output = one_call(given, "of the shim")
    assert theirs == ours
    said = acme("audit", "gaps", "--receipt", ours, "--output", our_output)
    assert (said.status, "exists: VALID" in said.out) == (0, True)
    said = acme("audit", "gaps", "--receipt", theirs, "--output", their_output)
    assert (said.status, "is another answer's: INVALID(RECEIPT_REUSED)" in said.out) == (1, True)
    # Once it is connected it says so itself.
    hidden[1] = place.running.address
    refused(tuple(hidden), "JOURNAL_ROLLBACK")


def test_strict_answers_no_more_once_its_records_are_not_taken(
    place: Place, acme: Shell, upstream: str, version: str
) -> None:
    node = place.running.admit("node-ended", "node")
    Path("ended.token").write_text(node.token + "\n")
    node.signer.save(Path("ended.pem"))
    given = [*arguments(place, version, upstream, "--mode", "strict")]
    given[given.index("--token-file") + 1] = "ended.token"
    given[given.index("--key") + 1] = "ended.pem"
    with shim(*given) as proxy:
        receipt = proxy.ask()[1]["x-receipt-id"]
        until(lambda: "completion" in acme("receipt", "show", receipt).out)
        admin = ("--token-file", place.running.data / "admin.token")
        assert acme(*admin, "principal", "revoke", "node-ended").status == 0
        until(lambda: proxy.ask()[0] == 503)
        said = json.loads(proxy.ask()[2])["error"]
    assert "what this shim records is not sent any more" in said["message"]


def test_a_shim_that_was_killed_says_so_when_it_starts_again(
    place: Place, acme: Shell, upstream: str, version: str
) -> None:
    given = arguments(place, version, upstream)
    with shim(*given, expect=-9) as proxy:
        receipt = proxy.ask()[1]["x-receipt-id"]
        proxy.process.kill()
    one_call(given)
    shim_id = receipt.partition("/")[0]
    said = acme("audit", "gaps", "--shim", shim_id)
    assert (said.status, "1 starts after a run that did not stop" in said.out) == (0, True)
    value = acme("audit", "gaps", "--shim", shim_id, "--json").value
    assert (value["unclean"], value.get("missing", [])) == (1, [])


def test_numbers_given_away_twice_by_a_journal_whose_end_was_cut_off_are_told(
    place: Place, acme: Shell, upstream: str, version: str, nowhere: str
) -> None:
    given = arguments(place, version, upstream)
    # Nothing of it is in the log yet, so nobody but its client knows of the call.
    hidden = [*given]
    hidden[1] = nowhere
    one_call(given)
    whole = {each: each.read_bytes() for each in segments()}
    with shim(*hidden, expect=-9) as proxy:
        headers = proxy.ask("to be forgotten")[1]
        proxy.process.kill()
    lost, lost_output = headers["x-receipt-id"], f"sha256:{headers['x-output-sha256']}"
    for each in segments():
        if each.suffix == ".segment":
            each.write_bytes(whole[each].rstrip(b"\0"))
    kept, kept_output = one_call(given, "to be remembered")
    assert kept == lost
    assert acme("audit", "gaps", "--receipt", kept, "--output", kept_output).status == 0
    said = acme("audit", "gaps", "--receipt", lost, "--output", lost_output)
    assert (said.status, "INVALID(RECEIPT_REUSED)" in said.out) == (1, True)


def test_a_receipt_that_nobody_wrote_is_not_known_or_is_no_call(
    place: Place, acme: Shell, upstream: str, version: str
) -> None:
    receipt, _ = one_call(arguments(place, version, upstream))
    shim_id, _, n = receipt.partition("/")
    ahead = acme("audit", "gaps", "--receipt", f"{shim_id}/{int(n) + 100}")
    assert (ahead.status, "INDETERMINATE(NOT_REGISTERED)" in ahead.out) == (4, True)
    stranger = acme("audit", "gaps", "--receipt", f"{'ab' * 16}/{n}")
    assert (stranger.status, "INDETERMINATE(NOT_REGISTERED)" in stranger.out) == (4, True)
    no_call = acme("audit", "gaps", "--receipt", f"{shim_id}/0")
    assert (no_call.status, "INVALID(NOT_A_CALL)" in no_call.out) == (1, True)


def test_a_receipt_that_is_shown_again_tells_when_it_was_given(
    place: Place, acme: Shell, upstream: str, version: str
) -> None:
    before = datetime.now(UTC)
    receipt, output = one_call(arguments(place, version, upstream))
    after = datetime.now(UTC)
    said = acme("audit", "gaps", "--receipt", receipt, "--output", output)
    value = acme("audit", "gaps", "--receipt", receipt, "--output", output, "--json").value
    assert before <= datetime.fromisoformat(value["record"]["at"]) <= after
    assert before <= datetime.fromisoformat(value["about"][0]["at"]) <= after
    assert f"intent, {value['record']['at']}: position" in said.out
