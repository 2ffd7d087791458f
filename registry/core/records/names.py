"""Names of models and datasets (``acme/x``), versions, and the namespaces that cover them."""

import re
from typing import Annotated

import msgspec

from registry.errors import MalformedError, Reason

_SEGMENT = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
_NAME = re.compile(rf"{_SEGMENT}/{_SEGMENT}", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.+_-]{0,126}[A-Za-z0-9])?", re.ASCII)
_PATTERN = re.compile(rf"\*|{_SEGMENT}/(?:\*|{_SEGMENT})", re.ASCII)
_PRINCIPAL = re.compile(_SEGMENT, re.ASCII)

Name = Annotated[str, msgspec.Meta(pattern=rf"\A{_SEGMENT}/{_SEGMENT}\Z")]
"""``namespace/name``: lowercase letters, digits, ``.``, ``_``, ``-``; 1 to 64 characters each."""

Version = Annotated[
    str, msgspec.Meta(pattern=r"\A[A-Za-z0-9](?:[A-Za-z0-9.+_-]{0,126}[A-Za-z0-9])?\Z")
]
"""Letters, digits, ``.``, ``+``, ``_``, ``-``; 1 to 128 of them. Any scheme, compared exactly."""


def check_name(name: str) -> None:
    """Refuse what is not ``namespace/name``.

    Raises:
        MalformedError: ``MALFORMED_NAME``.
    """
    if not _NAME.fullmatch(name):
        raise MalformedError(
            Reason.MALFORMED_NAME,
            "this is not a name",
            expected="namespace/name in lowercase letters, digits, '.', '_' and '-'",
            actual=repr(name[:140]),
        )


def check_version(version: str) -> None:
    """Refuse what is not a version.

    Raises:
        MalformedError: ``MALFORMED_NAME``.
    """
    if not _VERSION.fullmatch(version):
        raise MalformedError(
            Reason.MALFORMED_NAME,
            "this is not a version",
            expected="letters, digits, '.', '+', '_' and '-', such as 1.2.0",
            actual=repr(version[:140]),
        )


def check_principal(name: str) -> None:
    """Refuse what is not the name of a principal.

    Raises:
        MalformedError: ``MALFORMED_NAME``.
    """
    if not _PRINCIPAL.fullmatch(name):
        raise MalformedError(
            Reason.MALFORMED_NAME,
            "this is not a principal's name",
            expected="lowercase letters, digits, '.', '_' and '-'",
            actual=repr(name[:80]),
        )


def check_namespace(pattern: str) -> None:
    """Refuse what is neither ``*``, ``namespace/*`` nor ``namespace/name``.

    Raises:
        MalformedError: ``MALFORMED_NAME``.
    """
    if not _PATTERN.fullmatch(pattern):
        raise MalformedError(
            Reason.MALFORMED_NAME,
            "this is not a namespace pattern",
            expected="acme/*, acme/name or *",
            actual=repr(pattern[:140]),
        )


def covers(pattern: str, name: str) -> bool:
    """Whether the namespace ``pattern`` includes ``name``."""
    if pattern == "*":
        return True
    if pattern.endswith("/*"):
        return name.startswith(pattern[:-1])
    return pattern == name


def split_reference(reference: str) -> tuple[str, str]:
    """Split ``acme/x@1.2.0`` into name and version.

    Raises:
        MalformedError: ``MALFORMED_NAME``.
    """
    name, separator, version = reference.partition("@")
    if not separator or not version:
        raise MalformedError(
            Reason.MALFORMED_NAME,
            "this names no version",
            expected="namespace/name@version, such as acme/x@1.2.0",
            actual=repr(reference[:140]),
            hint="versions of a model: provreg model list; no version stands for the newest one",
        )
    check_name(name)
    check_version(version)
    return name, version
