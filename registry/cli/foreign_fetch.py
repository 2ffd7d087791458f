"""``provreg import --fetch``: what proves an answer, from the system itself while it has it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from registry.cli.input_file import read_input
from registry.config import VendorSettings
from registry.core.digest import sha256
from registry.core.evidence.endorsements import Role
from registry.core.foreign.captured import Captured, PartRole
from registry.core.foreign.devices import evidence_of
from registry.core.foreign.proof import System
from registry.errors import MalformedError, Reason, RegistryError
from registry.remote.endorser import VendorEndorser
from registry.remote.http import HTTPClient
from registry.remote.proofs import NONCE_BYTES, REQUEST_TIMEOUT, ProofService
from registry.storage.durable import make_folder, write_new

MAX_TOKEN_BYTES = 8192
"""Bytes of what a system lets somebody in by."""

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_OPTIONS = (
    click.option(
        "--fetch",
        "url",
        metavar="URL",
        help="Ask the system there for what proves the answer; https, or this machine.",
    ),
    click.option(
        "--fetch-id", "answer_id", metavar="ID", help="Its id; that in the response else."
    ),
    click.option(
        "--fetch-token-file",
        "token_file",
        type=_FILE,
        help="What you asked the question with; told to that host only.",
    ),
    click.option(
        "--fetch-ca-file",
        "ca_file",
        type=_FILE,
        help="PEM authorities to believe of it, instead of the system's.",
    ),
    click.option(
        "--fetch-endorsements",
        "endorse",
        is_flag=True,
        help="Ask the vendors of the hardware for what judging its evidence takes.",
    ),
    click.option(
        "--save",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        help="Keep what is fetched in files here; give them again as they are.",
    ),
)


@dataclass(frozen=True, slots=True)
class Fetching:
    """What is to be fetched, and where it is kept.

    Attributes:
        url: Where the system is; None if it is not to be asked.
        answer_id: Names the answer; None for the id in the response.
        token_file: Holds what the question was asked with.
        ca_file: Whom to believe that the system is what it says.
        endorse: Whether vendors are to be asked, too.
        folder: Where what is fetched is kept.
    """

    url: str | None
    answer_id: str | None
    token_file: Path | None
    ca_file: Path | None
    endorse: bool
    folder: Path | None


@dataclass(slots=True)
class Caught:
    """What is at hand after fetching.

    Attributes:
        nonce: What was sent, or what the user says that it was.
        came: Role and bytes of everything that was fetched.
        missed: What could not be had, and why.
    """

    captured: Captured
    nonce: bytes | None
    came: list[tuple[PartRole | Role, bytes]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def value(self) -> dict[str, Any]:
        """What was fetched, for JSON."""
        if not self.came and not self.missed:
            return {}
        told = [{"role": role, "sha256": sha256(data).hex()} for role, data in self.came]
        nonce = "" if self.nonce is None else self.nonce.hex()
        return {"fetched": told, "missed": self.missed, "nonce": nonce}

    def lines(self) -> list[str]:
        """What was fetched, for a person."""
        told = [f"  fetched      {role}, {len(data)} bytes" for role, data in self.came]
        told += [f"  NOT FETCHED  {item}" for item in self.missed]
        if told and self.nonce is not None:
            told.append(f"  nonce        {self.nonce.hex()}, to be told with these files again")
        return told


def fetch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--fetch`` and what belongs to it."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def gather(
    system: System,
    captured: Captured,
    nonce: bytes | None,
    fetching: Fetching,
    now: datetime,
) -> Caught:
    """Fetch what is asked for; it is in files before anything is made of it.

    Raises:
        MalformedError: ``BAD_SETTING``, ``FOREIGN_PART``.
        UnavailableError: Why nothing was handed out.
        LimitExceededError: ``FOREIGN_SIZE`` or ``ENDORSEMENT_SIZE``.
    """
    caught = Caught(captured, nonce)
    if fetching.url is None and (fetching.answer_id or fetching.token_file or fetching.ca_file):
        raise MalformedError(
            Reason.BAD_SETTING, "nobody is asked without an address", expected="--fetch URL"
        )
    if fetching.url is not None:
        _fetch(system, fetching, fetching.url, caught)
        _save(fetching.folder, caught.came)
    if fetching.endorse:
        before = len(caught.came)
        _endorse(system, caught, now)
        _save(fetching.folder, caught.came[before:])
    return caught


def _fetch(system: System, fetching: Fetching, url: str, caught: Caught) -> None:
    nonce = caught.nonce or secrets.token_bytes(NONCE_BYTES.get(system, 32))
    with HTTPClient(timeout=REQUEST_TIMEOUT, ca_file=fetching.ca_file) as http:
        service = ProofService(http, url, _token(fetching.token_file))
        fetched = service.fetch(system, caught.captured, nonce, fetching.answer_id or "")
    caught.nonce = nonce
    caught.came += fetched.parts
    caught.missed += fetched.missed
    parts = [(role, data) for role, items in caught.captured.parts.items() for data in items]
    caught.captured = Captured.of([*parts, *fetched.parts], caught.captured.endorsements)


def _endorse(system: System, caught: Caught, now: datetime) -> None:
    endorser = VendorEndorser.open(VendorSettings.read(), lambda: now)
    captured = caught.captured
    came: dict[tuple[Role, bytes], None] = {}
    failures: list[str] = []
    try:
        for family, evidence in evidence_of(system, captured):
            try:
                came.update(dict.fromkeys(endorser.endorse(family, evidence, now)))
            except RegistryError as error:
                failures.append(f"endorsements of {family}: {error.reason} {error.what}")
    finally:
        endorser.close()
    # What is at hand of a kind stays alone: it may be older on purpose.
    new = [item for item in came if not captured.endorsements.all(item[0])]
    caught.came += new
    # Evidence of one kind that another vendor cannot read is no failure if one of them can.
    caught.missed += [] if came else failures
    parts = [(role, data) for role, items in captured.parts.items() for data in items]
    caught.captured = Captured.of(parts, captured.endorsements.with_(new))


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    token = read_input(path, MAX_TOKEN_BYTES, "token").strip()
    if not token.isascii() or not token.decode("ascii").isprintable():
        raise MalformedError(
            Reason.BAD_SETTING, "this is no token", where=str(path), expected="one line of ASCII"
        )
    return token.decode("ascii")


def _save(folder: Path | None, came: list[tuple[PartRole | Role, bytes]]) -> None:
    """Write everything into files that are called by what they are; what is there stays."""
    if folder is None or not came:
        return
    make_folder(folder)
    for role, data in came:
        path = folder / f"{role}.{sha256(data).hex()[:16]}"
        if not path.exists():
            write_new(path, data)
