"""What a shim keeps of calls: sealed, disclosed field by field, checked by anybody, erased."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Place, Shell
from tests.cli.test_shim import arguments, shim, until, upstream, version

__all__ = ["upstream", "version"]

POLICY = {
    "schema": "privacy-policy/v1",
    "retention_class": "loans",
    "fields": [
        "/request/user",
        "/request/seed",
        "/request/messages/0/content",
        "/response/choices/0/message/content",
        "/response/choices/0/content",
    ],
    "keep": True,
    "output": "committed",
}
WORDS = "the applicant earns 1234"


@dataclass(frozen=True)
class Kept:
    """One recorded call of a shim that is not running any more."""

    receipt: str
    answer: bytes


@pytest.fixture
def keep(place: Place, acme: Shell, upstream: str, version: str) -> Callable[[bool], Kept]:
    """Make one call through a shim with a privacy policy, until its record is in the log."""

    def act(stream: bool) -> Kept:
        Path("privacy.json").write_text(json.dumps(POLICY, indent=2))
        with shim(*arguments(place, version, upstream, "--privacy", "privacy.json")) as proxy:
            status, headers, body = proxy.ask(WORDS, user="u-77", seed=7, stream=stream)
            assert status == 200
            made = Kept(headers["x-receipt-id"], body)
        until(lambda: acme("receipt", "show", made.receipt).out.count("completion") == 1)
        return made

    return act


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_what_a_record_hides_is_opened_disclosed_and_checked(
    place: Place,
    acme: Shell,
    keep: Callable[[bool], Kept],
    stream: bool,
) -> None:
    kept = keep(stream)
    _nothing_lies_in_clear(place)
    opened = _opened_whole(kept, acme)
    _a_field_is_disclosed_alone(kept, acme)
    _the_output_is_found_by_its_commitment(kept, acme, opened)


def _nothing_lies_in_clear(place: Place) -> None:
    for folder in (Path("shim-data"), place.running.data):
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert b"applicant" not in data, path
                assert b"u-77" not in data, path


def _opened_whole(kept: Kept, acme: Shell) -> dict[str, Any]:
    words = ("payload", "open", kept.receipt, "--request-out", "q", "--answer-out", "a", "--json")
    said = acme(*words)
    assert said.status == 0, said
    assert json.loads(Path("q").read_bytes())["user"] == "u-77"
    assert Path("a").read_bytes() == kept.answer
    opened: dict[str, Any] = said.value
    fields = opened["fields"]
    assert fields["/request/messages/0/content"] == WORDS
    assert fields["/request/seed"] == "7"
    assert WORDS in (
        fields.get("/response/choices/0/message/content"),
        fields.get("/response/choices/0/content"),
    )
    return opened


def _a_field_is_disclosed_alone(kept: Kept, acme: Shell) -> None:
    words = ("payload", "disclose", kept.receipt, "--field", "/request/user", "--output")
    said = acme(*words, "--out", "user.json")
    assert said.status == 0, said
    assert "applicant" not in Path("user.json").read_text()
    checked = acme("payload", "check", "user.json", "--json")
    assert checked.status == 0, checked
    assert checked.value["verdict"] == "VALID"
    assert checked.value["fields"] == {"/request/user": "u-77"}
    changed = Path("user.json").read_text().replace("u-77", "u-78")
    Path("changed.json").write_text(changed)
    refused = acme("payload", "check", "changed.json", "--json")
    assert (refused.status, refused.error["reason"]) == (1, "FIELD_COMMITMENT")


def _the_output_is_found_by_its_commitment(kept: Kept, acme: Shell, opened: dict[str, Any]) -> None:
    Path("answer").write_bytes(kept.answer)
    assert acme("trace", "answer").status != 0
    said = acme("trace", f"sha256:{opened['record_output']}", "--capsule", "call.capsule")
    assert said.status == 0, said
    acme("payload", "disclose", kept.receipt, "--output", "--out", "output.json")
    checked = acme("payload", "check", "output.json", "--capsule", "call.capsule", "--json")
    assert checked.status == 0, checked
    assert checked.value["content_digest"] == opened["content_digest"]


def test_what_is_erased_is_gone_and_its_record_stands(
    acme: Shell, keep: Callable[[bool], Kept]
) -> None:
    kept = keep(False)
    acme("payload", "disclose", kept.receipt, "--field", "/request/user", "--out", "user.json")
    other = "00" * 16 + "/" + kept.receipt.partition("/")[2]
    for words in (("open", other), ("erase", other, "--yes")):
        said = acme("payload", *words)
        assert said.status == 1
        assert "another shim" in said.err
    assert acme("payload", "open", kept.receipt).status == 0
    assert acme("payload", "erase", kept.receipt, "--yes").status == 0
    assert acme("payload", "open", kept.receipt, "--json").error["reason"] == "ERASED"
    # What was disclosed before stays provable, and so does everything else.
    assert acme("payload", "check", "user.json").status == 0
    assert acme("receipt", "show", kept.receipt).status == 0
    assert acme("payload", "erase", "--class", "loans", "--yes").status == 0
    assert acme("payload", "erase", "--class", "loans", "--yes").status == 1


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("disclose", "x/1", "--out", "f"), 2),
        (("disclose", "00" * 16 + "/1", "--out", "f", "--output"), 1),
        (("erase", "--yes"), 2),
        (("erase", "--class", "../x", "--yes"), 1),
        (("open", "nonsense"), 2),
    ],
    ids=["nothing", "unknown", "neither", "class", "receipt"],
)
def test_what_makes_no_sense_is_refused(acme: Shell, words: tuple[str, ...], status: int) -> None:
    Path("shim-data").mkdir()
    said = acme("payload", *words)
    assert said.status == status, said


def test_a_policy_that_makes_no_sense_is_refused(
    place: Place, acme: Shell, upstream: str, version: str
) -> None:
    Path("privacy.json").write_text(json.dumps({**POLICY, "fields": ["/elsewhere/x"]}))
    said = acme(*arguments(place, version, upstream, "--privacy", "privacy.json"))
    assert said.status == 1
    assert "MALFORMED_POLICY" in said.err
