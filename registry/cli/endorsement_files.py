"""Endorsements in files: the name of a file says what it is for.

A file is called by its role, alone or with something behind it: ``amd-vek.der``,
``intel-tcb-info.json``, ``nvidia-rim-driver.xml``, ``nvidia-rim.2.xml``. A folder is all its files;
one with another name in it is refused, so that a misspelled CRL is not taken for a missing one.
``ROLE=FILE`` names the role of a file with another name.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from registry.core.evidence.endorsements import MAX_ENDORSEMENT_BYTES, Endorsements, Role
from registry.errors import MalformedError, Reason

endorsements_option = click.option(
    "--endorsements",
    "endorsements",
    multiple=True,
    metavar="DIR|FILE|ROLE=FILE",
    help="What the vendor says; a file is named by its role, such as intel-tcb-info.json.",
)
"""``--endorsements``, on commands that take some."""


def read_endorsements(given: tuple[str, ...]) -> Endorsements:
    """All endorsements in these files and folders.

    Raises:
        MalformedError: ``BAD_SETTING`` for a name that says no role.
        LimitExceededError: ``ENDORSEMENT_SIZE``.
        OSError: A file cannot be read.
    """
    return Endorsements.of(item for text in given for item in _read(text))


def _read(text: str) -> Iterator[tuple[Role, bytes]]:
    name, equals, rest = text.partition("=")
    if equals and name in set(Role):
        yield Role(name), _data(Path(rest))
        return
    path = Path(text)
    if not path.exists():
        raise MalformedError(
            Reason.BAD_SETTING,
            "there is no such file or folder",
            where=text,
            expected="a folder, a file named by its role, or ROLE=FILE",
        )
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        yield role_of(file), _data(file)


def role_of(path: Path) -> Role:
    """The role that the name of a file says: the longest that it begins with.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    fitting = [
        role
        for role in Role
        if path.name == role or (path.name.startswith(role) and path.name[len(role)] in ".-_")
    ]
    if not fitting:
        raise MalformedError(
            Reason.BAD_SETTING,
            "the name of this file does not say what it is for",
            where=str(path),
            expected=", ".join(Role),
            hint="call it by its role, or say ROLE=FILE",
        )
    return max(fitting, key=len)


def _data(path: Path) -> bytes:
    with path.open("rb") as file:
        # One byte more than allowed, so that a file that is too long is refused, not cut.
        return file.read(MAX_ENDORSEMENT_BYTES + 1)
