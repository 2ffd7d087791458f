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
``replay/<i>``         what auditors say who ran the call again, in log order
``foreign/<i>``        what importers say of proofs of other systems, in log order
``other-batch/<i>``    batches of the same shim with the records below, if those are not in
                       ``batch``, in log order
``verification/<i>``   the operator's verifications of Sigstore bundles, in log order
``bundle/<i>``         the bundle that ``verification/<i>`` is about
``trusted-root/<i>``   trusted roots by which they were verified, in the order of their digests
``foreign-part/<i>``   what these proofs rest on, in the order of its digests
``setup``              leaf data of the record that tells what ran, which the outcome names
``setup.path``         its way up to the root of its batch
``attached/<i>``       leaf data of what became of the level that the caller asked for
``attached/<i>.path``  its way up to the root of its batch
``attestation/<i>``    attestation results for the node's key, its GPUs, and what was made of the
                       same evidence later, in log order; absent if the output is unattested
``policy/<i>``         the appraisal policies that they name, in log order
``distrust/<i>``       distrust entries that apply to them, or may, in log order
``evidence/<i>``       the evidence that they are about, in the order of its digests
``endorsement/<i>``    the endorsements that they name, with their roles, by digest; in its order
=====================  ==========================================================================

A statement is a DSSE envelope and is followed by its proof, ``<name>.proof``. A path or proof is
the position as a 64-bit big-endian number, then hashes of 32 bytes, from the leaf's sibling up.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, Self

import msgspec

from registry.core import encoding
from registry.core.capsule.parts import (
    MAX_ATTACHED,
    MAX_FOREIGN,
    MAX_OTHER_BATCHES,
    MAX_REPLAYS,
    PATH,
    PROOF,
    Attested,
    Beside,
    LoggedEnvelope,
    Stamped,
    Verified,
    malformed,
    read_blobs,
    read_path,
    read_statement,
    read_statements,
    write_path,
)
from registry.core.digest import SHA256_SIZE, sha256
from registry.core.encoding import Count, Hex32, Value
from registry.core.foreign.captured import MAX_PART_BYTES
from registry.core.tlog.note import VerifierKey
from registry.errors import MalformedError, Reason, VerificationError

SCHEMA: Final = "https://provreg.dev/capsule/v1"
"""The schema of a capsule's index; a literal, because its type is one."""

MAX_CAPSULE_BYTES = 32 * 1024 * 1024
"""Bytes of a capsule; one with a handful of files and datasets takes about 20,000."""

MAX_PARTS = 2048
"""Parts of a capsule. Each statement takes two."""

MAX_INDEX_BYTES = 512 * 1024
"""Bytes of the index line: room for ``MAX_PARTS`` parts."""

_HEADER = b"provreg-capsule/v1 "
_HEADER_BYTES = len(_HEADER) + 2 * SHA256_SIZE + 1


class _Part(Value, frozen=True):
    name: Annotated[str, msgspec.Meta(max_length=64)]
    sha256: Hex32
    size: Count


class _Index(Value, frozen=True):
    log: Annotated[str, msgspec.Meta(max_length=1024)]
    parts: Annotated[tuple[_Part, ...], msgspec.Meta(max_length=MAX_PARTS)]
    schema: Literal["https://provreg.dev/capsule/v1"]


@dataclass(frozen=True, slots=True)
class Capsule:
    """What a capsule holds, not judged yet; see :func:`registry.core.capsule.walk.appraise`.

    Attributes:
        log: The key of the log, as the capsule says; only a pinned key proves anything.
        checkpoint: The signed note.
        record: Leaf data of the inference record.
        position: Where the record stands in its batch.
        path: The record's inclusion proof in the batch.
        foreign_parts: What the proofs of other systems rest on, as far as there was room.
        stamped: Until when at latest the batch existed; None if the registry could not say so.
        other_batches: Batches of the same shim that hold what stands beside the outcome.
        setup: What ran, as the shim wrote it down before; None if the registry does not have it.
        attached: What became of the level that the caller asked for.
        attested: In what environment the node held its key, if that is known.
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
    replays: tuple[LoggedEnvelope, ...] = ()
    foreign: tuple[LoggedEnvelope, ...] = ()
    foreign_parts: tuple[bytes, ...] = ()
    stamped: Stamped | None = None
    verifications: tuple[Verified, ...] = ()
    trusted_roots: tuple[bytes, ...] = ()
    other_batches: tuple[LoggedEnvelope, ...] = ()
    setup: Beside | None = None
    attached: tuple[Beside, ...] = ()
    attested: Attested = field(default_factory=Attested)

    def statements(self) -> Iterator[tuple[str, LoggedEnvelope]]:
        """The statements that may occur more than once, with their names."""
        yield from self._numbered()
        yield from self.attested.statements()

    def _numbered(self) -> Iterator[tuple[str, LoggedEnvelope]]:
        for kind, items in (
            ("key-event", self.key_events),
            ("attribution", self.attributions),
            ("dataset", self.datasets),
            ("replay", self.replays),
            ("foreign", self.foreign),
            ("other-batch", self.other_batches),
            ("verification", tuple(item.said for item in self.verifications)),
        ):
            for number, item in enumerate(items):
                yield f"{kind}/{number}", item

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Every part with its name, in the order of the file."""
        yield "checkpoint", self.checkpoint
        if self.stamped is not None:
            yield from self.stamped.parts()
        yield "record", self.record
        yield "record" + PATH, write_path(self.position, self.path)
        single = [("operator", self.operator), ("batch", self.batch)]
        if self.release is not None:
            single.append(("release", self.release))
        for name, item in single:
            yield name, item.envelope
            yield name + PROOF, write_path(item.index, item.proof)
        if self.manifest is not None:
            yield "manifest", self.manifest
        for name, item in self._numbered():
            yield name, item.envelope
            yield name + PROOF, write_path(item.index, item.proof)
        for number, verified in enumerate(self.verifications):
            yield f"bundle/{number}", verified.bundle
        for number, root in enumerate(self.trusted_roots):
            yield f"trusted-root/{number}", root
        for number, part in enumerate(self.foreign_parts):
            yield f"foreign-part/{number}", part
        yield from self._beside()
        yield from self.attested.parts()

    def _beside(self) -> Iterator[tuple[str, bytes]]:
        if self.setup is not None:
            yield from self.setup.parts("setup")
        for number, item in enumerate(self.attached):
            yield from item.parts(f"attached/{number}")

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
            raise malformed(
                why="the parts are not as long as the index says",
                expected=f"{start} bytes",
                actual=f"{len(data)} bytes",
            )
        try:
            log = VerifierKey.parse(index.log)
        except MalformedError as error:
            raise malformed(why="the index names no log key", actual=str(error)) from error
        try:
            capsule = cls._from_parts(log, parts)
        except KeyError as error:
            raise malformed(
                why="a part is missing", expected=str(error.args[0]), actual=", ".join(parts)
            ) from error
        expected = [name for name, _ in capsule.parts()]
        actual = [part.name for part in index.parts]
        if actual != expected:
            raise malformed(
                why="these are not the parts of a capsule, in their order",
                expected=", ".join(expected),
                actual=", ".join(actual),
            )
        return capsule

    @classmethod
    def _from_parts(cls, log: VerifierKey, parts: dict[str, bytes]) -> Self:
        position, path = read_path("record" + PATH, parts["record" + PATH])
        return cls(
            log=log,
            checkpoint=parts["checkpoint"],
            record=parts["record"],
            position=position,
            path=path,
            operator=read_statement("operator", parts),
            batch=read_statement("batch", parts),
            release=read_statement("release", parts) if "release" in parts else None,
            manifest=parts.get("manifest") if "release" in parts else None,
            key_events=read_statements("key-event", parts),
            attributions=read_statements("attribution", parts),
            datasets=read_statements("dataset", parts),
            replays=read_statements("replay", parts, MAX_REPLAYS),
            foreign=read_statements("foreign", parts, MAX_FOREIGN),
            foreign_parts=read_blobs("foreign-part", parts, None, MAX_PART_BYTES),
            stamped=Stamped.read(parts),
            verifications=tuple(
                Verified(item, parts[f"bundle/{number}"])
                for number, item in enumerate(read_statements("verification", parts))
            ),
            trusted_roots=read_blobs("trusted-root", parts),
            other_batches=read_statements("other-batch", parts, MAX_OTHER_BATCHES),
            setup=Beside.read("setup", parts) if "setup" in parts else None,
            attached=_attached(parts),
            attested=Attested.read(parts),
        )


def _attached(parts: dict[str, bytes]) -> tuple[Beside, ...]:
    found: list[Beside] = []
    while (name := f"attached/{len(found)}") in parts:
        found.append(Beside.read(name, parts))
        if len(found) > MAX_ATTACHED:
            raise malformed(
                why="too many of one kind", expected=f"at most {MAX_ATTACHED}", where=name
            )
    return tuple(found)


def _read_index(data: bytes) -> tuple[_Index, int]:
    if len(data) > MAX_CAPSULE_BYTES:
        raise malformed(
            why="this is too large",
            expected=f"at most {MAX_CAPSULE_BYTES} bytes",
            actual=f"{len(data)} bytes",
        )
    if not data.startswith(_HEADER) or data[_HEADER_BYTES - 1 : _HEADER_BYTES] != b"\n":
        raise malformed(
            why="the first line is another",
            expected="provreg-capsule/v1 <64 hexadecimal digits>",
            actual=repr(data[:24]),
        )
    end = data.find(b"\n", _HEADER_BYTES, _HEADER_BYTES + MAX_INDEX_BYTES) + 1
    if not end:
        raise malformed(
            why="the index does not end", expected=f"a line of at most {MAX_INDEX_BYTES} bytes"
        )
    expected = data[len(_HEADER) : _HEADER_BYTES - 1].decode("latin-1")
    _check_digest("index", expected, data[_HEADER_BYTES:end])
    try:
        return encoding.read_json(data[_HEADER_BYTES : end - 1], _Index, what="capsule index"), end
    except MalformedError as error:
        raise malformed(why="the index is not one", actual=str(error)) from error


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
