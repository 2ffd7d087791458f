"""Judging by when an output existed, offline, with authorities that the reader pins."""

from pathlib import Path

import pytest

from registry.core.capsule.parts import Stamped, Token
from tests.authorities import Authority, leaf, root
from tests.cli.conftest import Shell
from tests.mint import World, tell

ONE = Authority(recipes=(leaf("one", 21), root("one's root", 22)))
TWO = Authority(recipes=(leaf("two", 23), root("two's root", 24)))


@pytest.fixture
def arguments(home: Path) -> tuple[object, ...]:
    """A capsule that one authority stamped, both authorities' chains, and the log's key."""
    world = World()
    told = tell(world)
    head = world.head()
    tokens = (Token(ONE.pinned().chain_digest, ONE.token(head.note)),)
    stamped = Stamped(head.note, head.checkpoint.size, (), tokens)
    (home / "answer.capsule").write_bytes(world.capsule(told, stamped=stamped).to_bytes())
    (home / "one.pem").write_bytes(ONE.pinned().pem)
    (home / "two.pem").write_bytes(TWO.pinned().pem)
    (home / "none.pem").write_bytes(b"nothing")
    return "verify", "answer.capsule", "--log-key", world.log.key


def test_a_pinned_authority_says_by_when(shell: Shell, arguments: tuple[object, ...]) -> None:
    said = shell(*arguments, "--tsa-chain", "one.pem")
    assert said.status == 0
    assert "time: VALID - existed at latest at 2026-06-01T12:00:00Z" in said.out
    assert "existed by     2026-06-01T12:00:00Z, by CN=one,O=tests" in said.out


def test_several_authorities_may_be_pinned(shell: Shell, arguments: tuple[object, ...]) -> None:
    said = shell(*arguments, "--tsa-chain", "two.pem", "--tsa-chain", "one.pem", "--json")
    assert said.status == 0
    assert said.value["facts"]["time"] == {
        "at": "2026-06-01T12:00:00Z",
        "authorities": ["CN=one,O=tests"],
        "size": 7,
    }


def test_who_pins_no_authority_is_told_that_it_could_be(
    shell: Shell, arguments: tuple[object, ...]
) -> None:
    said = shell(*arguments)
    assert (said.status, "time:" in said.out) == (0, False)
    assert "--tsa-chain" in said.err


def test_an_authority_that_is_not_pinned_leaves_it_open(
    shell: Shell, arguments: tuple[object, ...]
) -> None:
    said = shell(*arguments, "--tsa-chain", "two.pem")
    assert said.status == 4
    assert "time: INDETERMINATE(AUTHORITY_NOT_PINNED)" in said.out
    assert ONE.pinned().chain_digest.hex() in said.out


def test_the_environment_may_pin_authorities(
    shell: Shell, arguments: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVREG_TSA_CHAIN", "two.pem:one.pem")
    assert shell(*arguments).status == 0


def test_a_file_without_a_chain_is_refused(shell: Shell, arguments: tuple[object, ...]) -> None:
    said = shell(*arguments, "--tsa-chain", "none.pem")
    assert said.status == 1
    assert "TIMESTAMP_AUTHORITY" in said.err
