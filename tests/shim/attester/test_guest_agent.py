"""A guest agent over loopback and over a Unix socket, played by the fake vendor."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

import pytest

from registry.core.encoding import base64_text
from registry.core.evidence.binding import Binding
from registry.core.evidence.checks import Finding
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import rules_of
from registry.core.evidence.validity import seconds
from registry.errors import MalformedError, Reason, UnavailableError, UnsupportedError
from registry.remote.endorser import VendorEndorser
from registry.shim.attester.choice import open_attester
from registry.shim.attester.guest_agent import GuestAgent
from tools.fake_vendor.guest_agent import (
    MINTS,
    Agent,
    nitro_mint,
    publishing_mint,
    roots_of,
)
from tools.fake_vendor.nitro import NOON
from tools.fake_vendor.services import Services

NONCE = b"\x11" * 32
BINDING = Binding(nonce=NONCE, session_key=b"key")


@pytest.fixture(params=["loopback", "socket"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Agent]:
    path = tmp_path / "agent.sock" if request.param == "socket" else None
    with Agent(nitro_mint(lambda: NOON), socket=path) as running:
        yield running


def test_an_agent_is_asked_for_what_the_device_shall_commit_to(agent: Agent) -> None:
    attester = open_attester(f"agent:{agent.address}")
    collected = attester.evidence(BINDING.report_data(), NONCE, b"key")
    assert [item.report_data for item in agent.asked] == [base64_text(BINDING.report_data())]
    rules = rules_of(collected.family)
    examination = rules.examine(
        collected.evidence,
        Endorsements.of(collected.endorsements),
        NOON,
        roots_of(Family.AWS_NITRO),
    )
    assert {item.outcome for item in examination.checks if item.check == "N9"} == {"pass"}
    assert examination.claims["user_data"] == BINDING.report_data()
    assert examination.claims["public_key"] == b"key"


@pytest.mark.parametrize("family", MINTS)
def test_every_family_of_the_agent_is_minted_and_examined(family: Family) -> None:
    with Agent(MINTS[family](lambda: NOON)) as agent:
        collected = GuestAgent(agent.address).evidence(BINDING.report_data(), NONCE, b"key")
    rules = rules_of(collected.family)
    given = Endorsements.of(collected.endorsements)
    examination = rules.examine(collected.evidence, given, NOON, roots_of(family))
    assert [item for item in examination.checks if item.outcome == "fail"] == []
    assert examination.at == seconds(NOON)


@pytest.mark.parametrize(
    "edit",
    [
        lambda _: b"{}",
        lambda _: b"no",
        lambda answer: answer + b" ",
        lambda answer: answer.replace(b"aws-nitro", b"aws-nitre"),
        lambda answer: answer.replace(b'"evidence":"', b'"evidence":"!'),
        lambda answer: answer.replace(b"nitro-crl", b"other-crl"),
    ],
    ids=["empty", "text", "another spelling", "family", "base64", "role"],
)
def test_an_answer_that_is_none_is_a_failure(agent: Agent, edit: object) -> None:
    agent.edit = edit  # type: ignore[assignment]  # a function
    with pytest.raises(UnavailableError) as caught:
        GuestAgent(agent.address).evidence(BINDING.report_data(), NONCE, b"key")
    assert caught.value.reason is Reason.ATTESTER_FAILED


def test_an_agent_that_refuses_is_a_failure(agent: Agent) -> None:
    agent.status = 503
    with pytest.raises(UnavailableError) as caught:
        GuestAgent(agent.address).evidence(BINDING.report_data(), NONCE, b"key")
    assert caught.value.reason is Reason.ATTESTER_FAILED


def test_an_agent_that_is_silent_is_left_in_time(tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    with socket(AF_UNIX, SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        agent = GuestAgent(f"unix:{path}", timeout=timedelta(seconds=0.1))
        with pytest.raises(UnavailableError) as caught:
            agent.evidence(bytes(64), NONCE, b"key")
        assert caught.value.reason is Reason.ATTESTER_FAILED


def test_an_agent_that_dribbles_is_left_in_time(tmp_path: Path) -> None:
    path = tmp_path / "slow.sock"
    over = threading.Event()
    with socket(AF_UNIX, SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def dribble() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not over.wait(0.02):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=dribble)
        thread.start()
        agent = GuestAgent(f"unix:{path}", timeout=timedelta(seconds=0.3))
        with pytest.raises(UnavailableError) as caught:
            agent.evidence(bytes(64), NONCE, b"key")
        over.set()
        thread.join()
        assert caught.value.reason is Reason.ATTESTER_FAILED


def test_nobody_there_is_no_device(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        GuestAgent(f"unix:{tmp_path}/none").evidence(bytes(64), NONCE, b"key")
    assert caught.value.reason is Reason.ATTESTER_ABSENT
    with Agent(nitro_mint(lambda: NOON)) as agent:
        address = agent.address
    with pytest.raises(UnavailableError) as failed:
        GuestAgent(address).evidence(bytes(64), NONCE, b"key")
    assert failed.value.reason is Reason.ATTESTER_FAILED


@pytest.mark.parametrize("address", ["http://example.com", "ftp://127.0.0.1", "", "unix"])
def test_an_agent_is_on_this_machine(address: str) -> None:
    with pytest.raises(MalformedError) as caught:
        GuestAgent(address)
    assert caught.value.reason is Reason.BAD_SETTING


@pytest.mark.parametrize("family", MINTS)
def test_bare_evidence_finds_its_endorsements_where_the_vendor_publishes(family: Family) -> None:
    with (
        Services() as services,
        Agent(publishing_mint(family, lambda: NOON, services)) as agent,
    ):
        collected = GuestAgent(agent.address).evidence(BINDING.report_data(), NONCE, b"key")
        assert collected.endorsements == ()
        endorser = VendorEndorser.open(services.settings(), lambda: NOON)
        given = Endorsements.of(endorser.endorse(family, collected.evidence, NOON))
    examination = rules_of(family).examine(collected.evidence, given, NOON, roots_of(family))
    assert [item for item in examination.checks if item.outcome == "fail"] == []
    missing = {item.check for item in examination.checks if item.finding == Finding.MISSING}
    # An event log is the machine's, not the vendor's.
    assert missing <= {"I24"}
