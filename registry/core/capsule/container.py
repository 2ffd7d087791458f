"""Capsules as bytes: an index, and the parts that it names by digest.

::

    provreg-capsule/v1 <hexadecimal SHA-256 of the next line, its newline included>
    {"log":"<verifier key>","parts":[{"name":…,"sha256":…,"size":…},…],"schema":…}
    <the bytes of the parts, one after another>

Every byte is covered by a digest and has one spelling. Parts stand in this order:

=====================  ==========================================================================
``checkpoint``         the signed note to which every proof in the capsule leads
``stamped``            the smallest checkpoint with the batch that an authority stamped, a signed
                       note; absent if none was yet
``stamped.proof``      its size, and the proof that ``checkpoint`` extends it
``timestamp/<i>``      SHA-256 of an authority's chain, and its RFC 3161 token over ``stamped``;
                       in the order of these digests
``record``             leaf data of the inference record
``record.path``        its way up to the root of its batch
``operator``           entry 0 of the log: the key event that admits the operator's key
``batch``              the batch statement
``release``            the release that answered; absent if the registry does not have it
``manifest``           its manifest; absent if it is too large, or the release is absent
``key-event/<i>``      all other key events, in log order
``attribution/<i>``    attributions of the release, in log order
``dataset/<i>``        datasets that release or attributions name, in log order
``verification/<i>``   the operator's verifications of Sigstore bundles, in log order
``bundle/<i>``         the bundle that ``verification/<i>`` is about
``trusted-root/<i>``   trusted roots by which they were verified, in the order of their digests
=====================  ==========================================================================

A statement is a DSSE envelope and is followed by its proof, ``<name>.proof``. A path or proof is
the position as a 64-bit big-endian number, then hashes of 32 bytes, from the leaf's sibling up.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

import msgspec

from registry.core import encoding
from registry.core.digest import SHA256_SIZE, sha256
from registry.core.encoding import Count, Hex32, Value
from registry.core.tlog.merkle import MAX_PROOF_HASHES
from registry.core.tlog.note import VerifierKey
from registry.errors import MalformedError, Reason, RegistryError, VerificationError

SCHEMA: Final = "https://provreg.dev/capsule/v1"
"""The schema of a capsule's index; a literal, because its type is one."""

MAX_CAPSULE_BYTES = 32 * 1024 * 1024
"""Bytes of a capsule; one with a handful of files and datasets takes about 20,000."""

MAX_PARTS = 2048
"""Parts of a capsule. Each statement takes two."""

MAX_TIMESTAMPS = 4
"""Authorities whose tokens a capsule carries."""

MAX_INDEX_BYTES = 512 * 1024
"""Bytes of the index line: room for ``MAX_PARTS`` parts."""

_HEADER = b"provreg-capsule/v1 "
_HEADER_BYTES = len(_HEADER) + 2 * SHA256_SIZE + 1
_POSITION = struct.Struct(">Q")
_MAX_PATH_BYTES = _POSITION.size + MAX_PROOF_HASHES * SHA256_SIZE
_PROOF = ".proof"
_STAMPED = "stamped"


class _Part(Value, frozen=True):
    name: Annotated[str, msgspec.Meta(max_length=64)]
    sha256: Hex32
    size: Count


class _Index(Value, frozen=True):
    log: Annotated[str, msgspec.Meta(max_length=1024)]
    parts: Annotated[tuple[_Part, ...], msgspec.Meta(max_length=MAX_PARTS)]
    schema: Literal["https://provreg.dev/capsule/v1"]


@dataclass(frozen=True, slots=True)
class LoggedEnvelope:
    """The bytes of an envelope, its index in the log, and its inclusion proof."""

    envelope: bytes
    index: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What the operator says that it verified, and the Sigstore bundle."""

    said: LoggedEnvelope
    bundle: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """An RFC 3161 token in DER, and the SHA-256 of the chain of the authority that made it."""

    authority: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class Stamped:
    """A checkpoint that authorities stamped.

    Attributes:
        note: The signed note, byte for byte what the tokens are over.
        size: Its entries.
        proof: The consistency proof from its tree to that of the capsule's checkpoint.
        tokens: One for each authority, in the order of their digests.
    """

    note: bytes
    size: int
    proof: tuple[bytes, ...]
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Capsule:
    """What a capsule holds, not judged yet; see :func:`registry.core.capsule.walk.appraise`.

    Attributes:
        log: The key of the log, as the capsule says; only a pinned key proves anything.
        checkpoint: The signed note.
        record: Leaf data of the inference record.
        position: Where the record stands in its batch.
        path: The record's inclusion proof in the batch.
        stamped: Until when at latest the batch existed; None if the registry could not say so.
    """

    log: VerifierKey
    checkpoint: bytes
    record: bytes
    position: int
    path: tuple[bytes, ...]
    operator: LoggedEnvelope
    batch: LoggedEnvelope
    release: LoggedEnvelope | None = None
    manifest: bytes | None = None
    key_events: tuple[LoggedEnvelope, ...] = ()
    attributions: tuple[LoggedEnvelope, ...] = ()
    datasets: tuple[LoggedEnvelope, ...] = ()
    stamped: Stamped | None = None
    verifications: tuple[Verified, ...] = ()
    trusted_roots: tuple[bytes, ...] = ()

    def statements(self) -> Iterator[tuple[str, LoggedEnvelope]]:
        """The statements that may occur more than once, with their names, in their order."""
        for kind, items in (
            ("key-event", self.key_events),
            ("attribution", self.attributions),
            ("dataset", self.datasets),
            ("verification", tuple(item.said for item in self.verifications)),
        ):
            for number, item in enumerate(items):
                yield f"{kind}/{number}", item

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Every part with its name, in the order of the file."""
        yield "checkpoint", self.checkpoint
        if self.stamped is not None:
            yield _STAMPED, self.stamped.note
            yield _STAMPED + _PROOF, _write_path(self.stamped.size, self.stamped.proof)
            for number, stamp in enumerate(self.stamped.tokens):
                yield f"timestamp/{number}", stamp.authority + stamp.token
        yield "record", self.record
        yield "record.path", _write_path(self.position, self.path)
        single = [("operator", self.operator), ("batch", self.batch)]
        if self.release is not None:
            single.append(("release", self.release))
        for name, item in single:
            yield name, item.envelope
            yield name + _PROOF, _write_path(item.index, item.proof)
        if self.manifest is not None:
            yield "manifest", self.manifest
        for name, item in self.statements():
            yield name, item.envelope
            yield name + _PROOF, _write_path(item.index, item.proof)
        for number, verified in enumerate(self.verifications):
            yield f"bundle/{number}", verified.bundle
        for number, root in enumerate(self.trusted_roots):
            yield f"trusted-root/{number}", root

    def to_bytes(self) -> bytes:
        """The capsule file."""
        parts = list(self.parts())
        index = encoding.write_json(
            _Index(
                log=str(self.log),
                parts=tuple(
                    _Part(name=name, sha256=sha256(data).hex(), size=len(data))
                    for name, data in parts
                ),
                schema=SCHEMA,
            )
        )
        line = index + b"\n"
        header = _HEADER + sha256(line).hex().encode() + b"\n"
        return b"".join([header, line, *(data for _, data in parts)])

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a capsule exactly, without judging what its parts say.

        Raises:
            MalformedError: ``MALFORMED_CAPSULE``.
            VerificationError: ``CAPSULE_PART`` if index or a part is not what its digest names.
        """
        index, start = _read_index(data)
        parts: dict[str, bytes] = {}
        for part in index.parts:
            content = data[start : start + part.size]
            start += part.size
            _check_digest(f"part {part.name!r}", part.sha256, content)
            parts[part.name] = content
        if start != len(data):
            raise _malformed(
                why="the parts are not as long as the index says",
                expected=f"{start} bytes",
                actual=f"{len(data)} bytes",
            )
        try:
            log = VerifierKey.parse(index.log)
        except MalformedError as error:
            raise _malformed(why="the index names no log key", actual=str(error)) from error
        try:
            capsule = cls._from_parts(log, parts)
        except KeyError as error:
            raise _malformed(
                why="a part is missing", expected=str(error.args[0]), actual=", ".join(parts)
            ) from error
        expected = [name for name, _ in capsule.parts()]
        actual = [part.name for part in index.parts]
        if actual != expected:
            raise _malformed(
                why="these are not the parts of a capsule, in their order",
                expected=", ".join(expected),
                actual=", ".join(actual),
            )
        return capsule

    @classmethod
    def _from_parts(cls, log: VerifierKey, parts: dict[str, bytes]) -> Self:
        def logged(name: str) -> LoggedEnvelope:
            return LoggedEnvelope(parts[name], *_read_path(name + _PROOF, parts[name + _PROOF]))

        def numbered(kind: str) -> tuple[LoggedEnvelope, ...]:
            items: list[LoggedEnvelope] = []
            while (name := f"{kind}/{len(items)}") in parts:
                items.append(logged(name))
                if len(items) > 1 and items[-1].index <= items[-2].index:
                    raise _malformed(why="these statements are not in log order", where=name)
            return tuple(items)

        position, path = _read_path("record.path", parts["record.path"])
        return cls(
            log=log,
            checkpoint=parts["checkpoint"],
            record=parts["record"],
            position=position,
            path=path,
            operator=logged("operator"),
            batch=logged("batch"),
            release=logged("release") if "release" in parts else None,
            manifest=parts.get("manifest") if "release" in parts else None,
            key_events=numbered("key-event"),
            attributions=numbered("attribution"),
            datasets=numbered("dataset"),
            stamped=_read_stamped(parts) if _STAMPED in parts else None,
            verifications=tuple(
                Verified(item, parts[f"bundle/{number}"])
                for number, item in enumerate(numbered("verification"))
            ),
            trusted_roots=_read_roots(parts),
        )


def _read_stamped(parts: dict[str, bytes]) -> Stamped:
    size, proof = _read_path(_STAMPED + _PROOF, parts[_STAMPED + _PROOF])
    tokens: list[Token] = []
    while (name := f"timestamp/{len(tokens)}") in parts and len(tokens) <= MAX_TIMESTAMPS:
        data = parts[name]
        tokens.append(Token(data[:SHA256_SIZE], data[SHA256_SIZE:]))
    names = [item.authority for item in tokens]
    if not 0 < len(tokens) <= MAX_TIMESTAMPS or names != sorted(set(names)):
        raise _malformed(
            why="these are not timestamps of different authorities, in the order of their digests",
            expected=f"1 to {MAX_TIMESTAMPS}",
            actual=str(len(tokens)),
        )
    if any(not item.token for item in tokens):
        raise _malformed(why="a timestamp is empty")
    return Stamped(parts[_STAMPED], size, proof, tuple(tokens))


def _read_roots(parts: dict[str, bytes]) -> tuple[bytes, ...]:
    roots: list[bytes] = []
    while (name := f"trusted-root/{len(roots)}") in parts:
        roots.append(parts[name])
    names = [sha256(item) for item in roots]
    if names != sorted(set(names)):
        raise _malformed(why="the trusted roots are not in the order of their digests")
    return tuple(roots)


def _read_index(data: bytes) -> tuple[_Index, int]:
    if len(data) > MAX_CAPSULE_BYTES:
        raise _malformed(
            why="this is too large",
            expected=f"at most {MAX_CAPSULE_BYTES} bytes",
            actual=f"{len(data)} bytes",
        )
    if not data.startswith(_HEADER) or data[_HEADER_BYTES - 1 : _HEADER_BYTES] != b"\n":
        raise _malformed(
            why="the first line is another",
            expected="provreg-capsule/v1 <64 hexadecimal digits>",
            actual=repr(data[:24]),
        )
    end = data.find(b"\n", _HEADER_BYTES, _HEADER_BYTES + MAX_INDEX_BYTES) + 1
    if not end:
        raise _malformed(
            why="the index does not end", expected=f"a line of at most {MAX_INDEX_BYTES} bytes"
        )
    expected = data[len(_HEADER) : _HEADER_BYTES - 1].decode("latin-1")
    _check_digest("index", expected, data[_HEADER_BYTES:end])
    try:
        return encoding.read_json(data[_HEADER_BYTES : end - 1], _Index, what="capsule index"), end
    except MalformedError as error:
        raise _malformed(why="the index is not one", actual=str(error)) from error


def _check_digest(where: str, expected: str, content: bytes) -> None:
    actual = sha256(content).hex()
    if actual != expected:
        raise VerificationError(
            Reason.CAPSULE_PART,
            "a part of this capsule is not what its digest names",
            where=where,
            expected=expected,
            actual=actual,
            hint="the file was changed or damaged; get another copy",
        )


def _write_path(position: int, path: Sequence[bytes]) -> bytes:
    return _POSITION.pack(position) + b"".join(path)


def _read_path(name: str, data: bytes) -> tuple[int, tuple[bytes, ...]]:
    hashes = data[_POSITION.size :]
    if not _POSITION.size <= len(data) <= _MAX_PATH_BYTES or len(hashes) % SHA256_SIZE:
        raise _malformed(
            why="this is not a path",
            expected=f"8 bytes and at most {MAX_PROOF_HASHES} hashes",
            actual=f"{len(data)} bytes",
            where=name,
        )
    (position,) = _POSITION.unpack_from(data)
    return position, tuple(hashes[i : i + SHA256_SIZE] for i in range(0, len(hashes), SHA256_SIZE))


def _malformed(*, why: str, expected: str = "", actual: str = "", where: str = "") -> RegistryError:
    return MalformedError(
        Reason.MALFORMED_CAPSULE,
        f"this is not a capsule: {why}",
        where=where,
        expected=expected[:400],
        actual=actual[:400],
    )
