"""What runs behind a proxy, and how far it is known at each moment."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from registry.core.records import inference
from registry.errors import MalformedError, Reason
from registry.shim import deployment as room
from registry.shim.app import Shim
from registry.shim.attestation import Attested, KeyAttestation
from registry.shim.deployment import Description, Engine, Standing
from tests.shim.world import NOON, RELEASE, MemoryRegistry, running, written

HERE = "http://127.0.0.1:8000"
KNOWN = Description.of(RELEASE, Engine("vllm", "1"), upstream=HERE, files_verified=2)
ATTESTED = Attested(b"\x0e" * 32, 7, NOON, NOON + timedelta(hours=1), measured=True)


@pytest.mark.parametrize(
    ("description", "attested", "level"),
    [
        (KNOWN, ATTESTED, 3),
        (replace(KNOWN, upstream=""), ATTESTED, 3),
        (replace(KNOWN, upstream="grpc://[::1]:8001"), ATTESTED, 3),
        (KNOWN, None, 2),
        (KNOWN, replace(ATTESTED, measured=False), 2),
        (KNOWN, replace(ATTESTED, configured_roots=("ab" * 32,)), 2),
        (replace(KNOWN, upstream="http://10.0.0.5:8000"), ATTESTED, 2),
        (replace(KNOWN, upstream="http://localhost.example:8000"), ATTESTED, 2),
        (replace(KNOWN, files_verified=0), ATTESTED, 1),
        (replace(KNOWN, files_verified=0), None, 1),
    ],
    ids=[
        "all of it",
        "in this process",
        "IPv6",
        "unattested",
        "software that nobody compared",
        "a root of no vendor",
        "another machine",
        "a name like ours",
        "no files",
        "nothing",
    ],
)
def test_a_level_is_claimed_only_where_everything_for_it_is_there(
    description: Description, attested: Attested | None, level: int
) -> None:
    assert description.level(attested) == level


@dataclass
class Told:
    """An attestation whose results a test makes."""

    at: datetime = NOON
    listeners: list[Callable[[Attested], None]] = field(default_factory=list)

    def follow(self, listener: Callable[[Attested], None]) -> None:
        self.listeners.append(listener)

    def holds(self, attested: Attested) -> bool:
        return attested.holds(self.at)

    def tell(self, attested: Attested) -> None:
        for listener in self.listeners:
            listener(attested)


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    with running(tmp_path / "shim", MemoryRegistry.build()) as shim:
        yield shim


def setups(folder: Path) -> list[inference.Setup]:
    return [item for item in written(folder) if isinstance(item, inference.Setup)]


def test_completions_name_the_evidence_that_was_in_force_when_their_call_began(
    shim: Shim, tmp_path: Path
) -> None:
    attestation = Told()
    standing = Standing(shim.recorder, KNOWN, cast("KeyAttestation", attestation))
    bare = standing()
    attestation.tell(ATTESTED)
    first = standing()
    later = replace(ATTESTED, evidence_id=b"\x0f" * 32, issued_at=NOON + timedelta(minutes=30))
    attestation.tell(later)
    # Not yet, by the clock of this host; the one before it still is.
    assert standing() == first
    attestation.at = later.issued_at
    second = standing()
    attestation.at = ATTESTED.expires_at
    assert standing() == bare
    by_n = {item.sequence.n: item for item in setups(tmp_path / "shim")}
    told = [by_n[item.setup_n or -1] for item in (bare, first, second)]
    assert [item.evidence for item in told[1:]] == ["0e" * 32, "0f" * 32]
    assert told[0].evidence not in ("0e" * 32, "0f" * 32)
    assert [item.level for item in told] == [2, 3, 3]


def test_what_runs_unattested_is_written_again_before_auditors_forget_it(
    shim: Shim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "BARE_AGAIN", 2)
    attestation = Told(at=ATTESTED.expires_at)
    standing = Standing(shim.recorder, KNOWN, cast("KeyAttestation", attestation))
    first = standing().setup_n
    attestation.tell(ATTESTED)
    assert standing().setup_n == first
    attestation.tell(ATTESTED)
    assert (standing().setup_n or 0) > (first or 0) + 1


def test_files_on_top_of_the_model_are_named_by_their_digest(shim: Shim, tmp_path: Path) -> None:
    adapter = tmp_path / "lora"
    adapter.write_bytes(b"abc")
    engine = Engine(adapters=(adapter,), tokenizer=adapter)
    Standing(shim.recorder, Description.of(RELEASE, engine, upstream=HERE, files_verified=0))
    [setup] = setups(tmp_path / "shim")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (setup.adapters, setup.tokenizer) == ((digest,), digest)
    assert setup.binding == "name_only"


def test_a_file_that_cannot_be_read_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(MalformedError) as caught:
        Description.of(
            RELEASE, Engine(chat_template=tmp_path / "none"), upstream=HERE, files_verified=0
        )
    assert caught.value.reason is Reason.BAD_SETTING
