"""Manifests: path → digest, and the one digest that names a model version.

::

    {"files":[{"digest":{"sha256":…,"sha512":…},"path":"config.json","size":1234},…],
     "schema":"https://provreg.dev/model-manifest/v1"}

The version id is the SHA-256 of exactly these RFC 8785 bytes. Nothing that can change while the
bytes stay equal is inside, so anybody gets the same id from the files alone. Files are an array in
strictly increasing order of UTF-8 path bytes, because RFC 8785 would sort keys by UTF-16.
"""

import unicodedata
from collections.abc import Iterable
from typing import Annotated, Final, Literal, Self

import msgspec

from registry.core import encoding
from registry.core.digest import DigestSet
from registry.core.encoding import Count, Value
from registry.core.tlog import merkle
from registry.errors import LimitExceededError, MalformedError, Reason

SCHEMA: Final = "https://provreg.dev/model-manifest/v1"
"""The schema of a model manifest."""

MAX_FILES = 100_000
"""Files in one manifest."""

MAX_MANIFEST_BYTES = 64 * 1024 * 1024
"""Bytes of a manifest: room for ``MAX_FILES`` entries with long paths."""

MAX_COMPONENT_BYTES = 255
"""UTF-8 bytes of one path component: what file systems take."""

MAX_PATH_BYTES = 4096
"""UTF-8 bytes of a path."""


class File(Value, frozen=True):
    """One file of a model version."""

    path: str
    size: Count
    digest: DigestSet


class Manifest(Value, frozen=True):
    """The files of a model version, sorted by path."""

    files: Annotated[tuple[File, ...], msgspec.Meta(max_length=MAX_FILES)]
    schema: Literal["https://provreg.dev/model-manifest/v1"]

    @classmethod
    def build(cls, files: Iterable[File]) -> Self:
        """Sort ``files`` and check them.

        Raises:
            MalformedError: As :meth:`parse`.
            LimitExceededError: ``TOO_MANY_FILES``.
        """
        ordered = tuple(sorted(files, key=lambda file: file.path.encode()))
        if len(ordered) > MAX_FILES:
            raise LimitExceededError(
                Reason.TOO_MANY_FILES,
                "this folder has too many files",
                expected=f"at most {MAX_FILES}",
                actual=str(len(ordered)),
            )
        manifest = cls(files=ordered, schema=SCHEMA)
        manifest.validate()
        return manifest

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a manifest exactly.

        Raises:
            MalformedError: ``MALFORMED_JSON``, ``NOT_CANONICAL``, ``EMPTY_MODEL``, ``UNSAFE_PATH``,
                ``PATH_NOT_NFC``, ``PATH_COLLISION`` or ``PATH_ORDER``.
        """
        manifest = encoding.read_json(data, cls, what="model manifest")
        manifest.validate()
        return manifest

    def validate(self) -> None:
        """Check the rules that types cannot express; see :meth:`parse`."""
        if not self.files:
            raise MalformedError(
                Reason.EMPTY_MODEL, "a model version has at least one file", actual="no files"
            )
        check_paths([file.path for file in self.files])

    def to_bytes(self) -> bytes:
        """The bytes whose SHA-256 is the version id."""
        return encoding.write_json(self)

    @property
    def files_root(self) -> bytes:
        """RFC 6962 root over each file's RFC 8785 bytes, so that one file is provable alone."""
        return merkle.root([merkle.leaf_hash(encoding.write_json(file)) for file in self.files])


def check_path(path: str) -> None:
    """Refuse a path that could name anything outside the folder, or two things.

    Raises:
        MalformedError: ``UNSAFE_PATH`` or ``PATH_NOT_NFC``.
    """

    def unsafe(why: str) -> MalformedError:
        return MalformedError(
            Reason.UNSAFE_PATH,
            f"this path {why}",
            where=repr(path[:200]),
            expected="a relative path with '/' between plain names",
        )

    try:
        raw = path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise unsafe("is not valid UTF-8") from error
    if not raw or len(raw) > MAX_PATH_BYTES:
        raise unsafe(f"is empty or longer than {MAX_PATH_BYTES} bytes")
    if path.startswith("/"):
        raise unsafe("is absolute")
    if "\\" in path or any(ord(c) < 0x20 or ord(c) == 0x7F for c in path):  # noqa: PLR2004
        raise unsafe("holds a backslash, NUL or control character")
    for component in path.split("/"):
        if component in ("", ".", ".."):
            raise unsafe("has an empty, '.' or '..' component")
        if len(component.encode()) > MAX_COMPONENT_BYTES:
            raise unsafe(f"has a component longer than {MAX_COMPONENT_BYTES} bytes")
    if unicodedata.normalize("NFC", path) != path:
        raise MalformedError(
            Reason.PATH_NOT_NFC,
            "this path is not in Unicode normal form C",
            where=repr(path[:200]),
            hint="rename the file: some file systems would store it under another name",
        )


def check_paths(paths: list[str]) -> None:
    """Check each path, their order, and that no two collide where case does not count.

    Raises:
        MalformedError: ``UNSAFE_PATH``, ``PATH_NOT_NFC``, ``PATH_ORDER`` or ``PATH_COLLISION``.
    """
    folded: dict[str, str] = {}
    previous = b""
    for path in paths:
        check_path(path)
        raw = path.encode()
        if raw <= previous:
            raise MalformedError(
                Reason.PATH_ORDER,
                "paths are strictly increasing by their UTF-8 bytes",
                where=repr(path[:200]),
            )
        previous = raw
        # A folder and a file of one name collide as well: "a" and "A/b".
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            prefix = "/".join(parts[:end])
            is_file = end == len(parts)
            spelled = prefix if is_file else prefix + "/"
            known = folded.setdefault(prefix.casefold(), spelled)
            if known != spelled:
                raise MalformedError(
                    Reason.PATH_COLLISION,
                    "two paths are the same where upper and lower case do not count",
                    where=repr(path[:200]),
                    actual=repr(known[:200]),
                    hint="rename one of them",
                )
