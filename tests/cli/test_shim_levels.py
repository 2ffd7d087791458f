"""Levels over real processes: a caller asks, a registry signs, an auditor finds what was had."""

import http.client
import json
import time
from pathlib import Path
from typing import Any

import pytest

from registry.core.records import inference
from registry.core.records.inference import Completion
from tests.cli.conftest import Place, Shell
from tests.cli.test_shim import Proxy, arguments, shim, until, upstream, version
from tests.shim.world import written

__all__ = ["upstream", "version"]

SUMMED = ("calls", "added_us", "evidence_us", "late_us", "proof_bytes", "attached", "missed")
"""What costs are that come from the records of a shim."""


def ask(
    proxy: Proxy, level: str, deadline_ms: int, text: str = "", **members: Any
) -> dict[str, str]:
    """The headers of an answer to whoever asks for this."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    body = json.dumps({"messages": [{"content": text or level}], **members})
    asked = {"x-provreg-level": level, "x-provreg-deadline-ms": str(deadline_ms)}
    connection.request("POST", "/v1/chat/completions", body, asked)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return {name.lower(): value for name, value in answer.getheaders()}


def attached(home: Path) -> dict[int, inference.Attached]:
    """What became of each call that asked for more than a logged record."""
    found = [item for item in written(home / "shim-data") if isinstance(item, inference.Attached)]
    return {item.intent_n: item for item in found}


@pytest.mark.parametrize("mode", ["strict", "stream"])
def test_what_a_caller_asked_for_is_had_attached_or_missed(  # noqa: PLR0917 - fixtures
    place: Place, acme: Shell, home: Path, upstream: str, version: str, mode: str
) -> None:
    with shim(*arguments(place, version, upstream, "--mode", mode)) as proxy:
        signed = ask(proxy, "signed", 20_000)
        late = ask(proxy, "signed", 0)
        attested = ask(proxy, "attested", 20_000)
        recomputed = ask(proxy, "recomputed", 20_000)
        until(lambda: len(attached(home)) == 4)
    assert signed["x-provreg-level-reached"] == "signed"
    assert late["x-provreg-level-reached"] == "logged"
    assert attested["x-provreg-level-missed"] == "UNATTESTED"
    # Nobody compares what was said; it is known at once.
    assert recomputed["x-provreg-level-missed"] == "NOT_REPLAYABLE"
    told = attached(home)
    numbers = [
        int(each["x-receipt-id"].partition("/")[2]) for each in (signed, late, attested, recomputed)
    ]
    assert [told[n].missed for n in numbers] == ["", "", "UNATTESTED", "NOT_REPLAYABLE"]
    assert (told[numbers[0]].late_us, told[numbers[1]].late_us > 0) == (0, True)
    said = acme("audit", "gaps", "--receipt", late["x-receipt-id"])
    assert (said.status, "attached" in said.out) == (0, True)
    shim_id = late["x-receipt-id"].partition("/")[0]
    assert acme("audit", "gaps", "--shim", shim_id).status == 0


@pytest.mark.parametrize(
    ("level", "deadline_ms", "shown"),
    [
        ("signed", 0, "s late, by sha256:"),
        ("signed", 20_000, "in time, by sha256:"),
        ("attested", 20_000, "attested MISSED(UNATTESTED)"),
        ("recomputed", 20_000, "recomputed MISSED(NOT_REPLAYABLE)"),
    ],
    ids=["attached late", "in time", "unattested", "not replayable"],
)
def test_a_capsule_shows_offline_what_became_of_the_level(  # noqa: PLR0917 - fixtures
    place: Place,
    acme: Shell,
    home: Path,
    upstream: str,
    version: str,
    level: str,
    deadline_ms: int,
    shown: str,
) -> None:
    more = ("--files", "files", "--quantization", "Q4_K_M", "--tokenizer", "files/config.json")
    (home / "files" / "config.json").write_bytes(b"{}")
    with shim(*arguments(place, version, upstream, *more)) as proxy:
        asked = ask(proxy, level, deadline_ms, f"{level} of {version}, {deadline_ms}")
        until(lambda: len(attached(home)) == 1)
    output = f"sha256:{asked['x-output-sha256']}"
    said = acme("trace", output, "--capsule", "kept.capsule")
    assert (said.status, shown in said.out) == (0, True), said.out
    said = acme("--log-key", place.vkey, "verify", "kept.capsule")
    assert said.status == 0
    for part in (shown, "level L2, artifact_verified, 1 file compared", "Q4_K_M"):
        assert part in said.out, said.out
    facts = json.loads(acme("--log-key", place.vkey, "verify", "kept.capsule", "--json").out)[
        "facts"
    ]
    assert facts["setup"]["tokenizer"].startswith("sha256:")
    [told] = facts["attached"]
    assert told["level"] == level
    assert told["proven_by"] == ("batch" if level == "signed" else "")


def test_what_it_cost_is_the_sum_of_what_the_receipts_say(
    place: Place, acme: Shell, home: Path, upstream: str, version: str
) -> None:
    began = time.monotonic()
    with shim(*arguments(place, version, upstream)) as proxy:
        for level in ("logged", "signed", "signed", "attested", "recomputed"):
            ask(proxy, level, 20_000)
        until(lambda: len(attached(home)) == 4)
    took_us = (time.monotonic() - began) * 1_000_000
    calls = [item for item in written(home / "shim-data") if isinstance(item, Completion)]
    expected: dict[str, dict[str, int]] = {}
    for call in calls:
        assert isinstance(call.course, inference.Course)
        assert isinstance(call.asked, str)
        # What the receipt says was measured: something, and not more than there was time for.
        assert 0 < call.course.added_us <= call.course.total_us < took_us
        sums = expected.setdefault(call.asked, dict.fromkeys(SUMMED, 0))
        sums["calls"] += 1
        sums["added_us"] += call.course.added_us
    for item in attached(home).values():
        assert item.evidence_us < took_us
        sums = expected[item.level]
        for name in ("evidence_us", "late_us", "proof_bytes"):
            sums[name] += getattr(item, name)
        sums["missed" if item.missed else "attached"] += 1
    # The registry says when a batch is in the log: that takes a while.
    assert expected["signed"]["evidence_us"] > 0
    assert expected["signed"]["proof_bytes"] > 0
    rows = acme("costs", "--model", version, "--json").value["costs"]
    assert {row["day"] for row in rows} <= {call.at[:10] for call in calls}
    assert {row["level"]: {name: row[name] for name in SUMMED} for row in rows} == expected
    assert {(row["model"], row["untimed"], row["replays"]) for row in rows} == {(version, 0, 0)}
    # And the same again, out of records that are proven one by one.
    again = acme("costs", "--model", version, "--recompute", "--json").value["costs"]
    assert again == rows


def test_a_receipt_shows_times_parameters_and_what_was_asked_for(
    place: Place, acme: Shell, home: Path, upstream: str, version: str
) -> None:
    with shim(*arguments(place, version, upstream)) as proxy:
        told = ask(proxy, "signed", 0, f"what {version} says", seed=7, temperature=0.25)
        until(lambda: len(attached(home)) == 1)
    [late] = attached(home).values()
    shown = acme("receipt", "show", told["x-receipt-id"]).out
    for part in (
        *("parameters    seed 7, temperature 0.25", "asked for     signed, within 0 ms"),
        *("of which the shim's own", f"{late.evidence_us} µs after the answer"),
        f"{late.late_us} µs late",
    ):
        assert part in shown, shown
    digest = f"sha256:{told['x-output-sha256']}"
    assert acme("trace", digest, "--capsule", "kept.capsule").status == 0
    offline = acme("--log-key", place.vkey, "verify", "kept.capsule").out
    for part in ("seed 7", "temperature 0.25", "shim added"):
        assert part in offline, offline
