"""The parts of a capsule: what each holds before anything is judged, and how it is written.

A part that the file format knows has one spelling. What it says is judged elsewhere.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from registry.core.digest import SHA256_SIZE, sha256
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES
from registry.core.evidence.endorsements import MAX_ENDORSEMENT_BYTES
from registry.core.tlog.merkle import MAX_PROOF_HASHES
from registry.errors import MalformedError, Reason, RegistryError

MAX_TIMESTAMPS = 4
"""Authorities whose tokens a capsule carries."""

MAX_RESULTS = 16
"""Attestation results that a capsule carries, each with its policy and its evidence."""

MAX_DISTRUST = 64
"""Distrust entries that a capsule carries."""

MAX_REPLAYS = 16
"""Replays that a capsule carries."""

MAX_FOREIGN = 8
"""Proofs of other systems that a capsule carries."""

MAX_ATTACHED = 4
"""Records that a capsule carries of what was attached to a call; a shim writes one."""

MAX_OTHER_BATCHES = MAX_ATTACHED + 1
"""Batches that a capsule carries beside that of the outcome."""

PATH = ".path"
"""What is added to a record's name for that of its way up to the root of its batch."""

PROOF = ".proof"
"""What is added to a statement's name for that of its proof."""

STAMPED = "stamped"
"""The name of the stamped checkpoint."""

_POSITION = struct.Struct(">Q")
_MAX_PATH_BYTES = _POSITION.size + MAX_PROOF_HASHES * SHA256_SIZE


@dataclass(frozen=True, slots=True)
class LoggedEnvelope:
    """The bytes of an envelope, its index in the log, and its inclusion proof."""

    envelope: bytes
    index: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """Leaf data of another record of the same shim, and its way up to the root of its batch."""

    record: bytes
    position: int
    path: tuple[bytes, ...]

    def parts(self, name: str) -> Iterator[tuple[str, bytes]]:
        """Its parts, in the order of the file."""
        yield name, self.record
        yield name + PATH, write_path(self.position, self.path)

    @classmethod
    def read(cls, name: str, parts: Mapping[str, bytes]) -> Self:
        """The record of this name.

        Raises:
            KeyError: It, or its path, is missing.
            MalformedError: ``MALFORMED_CAPSULE``.
        """
        return cls(parts[name], *read_path(name + PATH, parts[name + PATH]))


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

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Its parts, in the order of the file."""
        yield STAMPED, self.note
        yield STAMPED + PROOF, write_path(self.size, self.proof)
        for number, stamp in enumerate(self.tokens):
            yield f"timestamp/{number}", stamp.authority + stamp.token

    @classmethod
    def read(cls, parts: Mapping[str, bytes]) -> Self | None:
        """The one among ``parts``; None if there is none.

        Raises:
            KeyError: The proof is missing.
            MalformedError: ``MALFORMED_CAPSULE``.
        """
        if STAMPED not in parts:
            return None
        size, proof = read_path(STAMPED + PROOF, parts[STAMPED + PROOF])
        tokens: list[Token] = []
        while (name := f"timestamp/{len(tokens)}") in parts and len(tokens) <= MAX_TIMESTAMPS:
            data = parts[name]
            tokens.append(Token(data[:SHA256_SIZE], data[SHA256_SIZE:]))
        names = [item.authority for item in tokens]
        if not 0 < len(tokens) <= MAX_TIMESTAMPS or names != sorted(set(names)):
            raise malformed(
                why="these are not timestamps of different authorities, in the order of their "
                "digests",
                expected=f"1 to {MAX_TIMESTAMPS}",
                actual=str(len(tokens)),
            )
        if any(not item.token for item in tokens):
            raise malformed(why="a timestamp is empty")
        return cls(parts[STAMPED], size, proof, tuple(tokens))


@dataclass(frozen=True, slots=True)
class Attested:
    """What is known of the environment in which the node held its key.

    Attributes:
        results: Attestation results: the one by which the key was attested when it signed, those
            of its GPUs, and what was made of the same evidence later; in log order.
        policies: The appraisal policies that they name, in log order.
        distrust: Distrust entries, in log order.
        evidence: The evidence that they are about, in the order of its digests.
        endorsements: What the vendors say, in the order of their digests; for what each is, the
            results say.
    """

    results: tuple[LoggedEnvelope, ...] = ()
    policies: tuple[LoggedEnvelope, ...] = ()
    distrust: tuple[LoggedEnvelope, ...] = ()
    evidence: tuple[bytes, ...] = ()
    endorsements: tuple[bytes, ...] = ()

    def statements(self) -> Iterator[tuple[str, LoggedEnvelope]]:
        """The statements with their names, in the order of the file."""
        for kind, items in (
            ("attestation", self.results),
            ("policy", self.policies),
            ("distrust", self.distrust),
        ):
            for number, item in enumerate(items):
                yield f"{kind}/{number}", item

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Its parts, in the order of the file."""
        for name, item in self.statements():
            yield name, item.envelope
            yield name + PROOF, write_path(item.index, item.proof)
        for kind, blobs in (("evidence", self.evidence), ("endorsement", self.endorsements)):
            for number, data in enumerate(blobs):
                yield f"{kind}/{number}", data

    @classmethod
    def read(cls, parts: Mapping[str, bytes]) -> Self:
        """What is among ``parts``; may be nothing.

        Raises:
            KeyError: A proof is missing.
            MalformedError: ``MALFORMED_CAPSULE``.
        """
        return cls(
            results=read_statements("attestation", parts, MAX_RESULTS),
            policies=read_statements("policy", parts, MAX_RESULTS),
            distrust=read_statements("distrust", parts, MAX_DISTRUST),
            evidence=read_blobs("evidence", parts, MAX_RESULTS, MAX_EVIDENCE_BYTES),
            endorsements=read_blobs("endorsement", parts, None, MAX_ENDORSEMENT_BYTES),
        )


def read_statements(
    kind: str, parts: Mapping[str, bytes], most: int | None = None
) -> tuple[LoggedEnvelope, ...]:
    """All statements of one kind.

    Raises:
        KeyError: A proof is missing.
        MalformedError: ``MALFORMED_CAPSULE`` if they are not in log order or too many.
    """
    items: list[LoggedEnvelope] = []
    while (name := f"{kind}/{len(items)}") in parts:
        items.append(read_statement(name, parts))
        if len(items) > 1 and items[-1].index <= items[-2].index:
            raise malformed(why="these statements are not in log order", where=name)
        if most is not None and len(items) > most:
            raise malformed(why="too many of one kind", expected=f"at most {most}", where=name)
    return tuple(items)


def read_statement(name: str, parts: Mapping[str, bytes]) -> LoggedEnvelope:
    """The statement of this name.

    Raises:
        KeyError: It, or its proof, is missing.
        MalformedError: ``MALFORMED_CAPSULE``.
    """
    return LoggedEnvelope(parts[name], *read_path(name + PROOF, parts[name + PROOF]))


def read_blobs(
    kind: str, parts: Mapping[str, bytes], most: int | None = None, most_bytes: int | None = None
) -> tuple[bytes, ...]:
    """All blobs of one kind.

    Raises:
        MalformedError: ``MALFORMED_CAPSULE`` if they are not in the order of their digests, each
            once, or too many or too large.
    """
    blobs: list[bytes] = []
    while (name := f"{kind}/{len(blobs)}") in parts:
        blobs.append(parts[name])
        if most is not None and len(blobs) > most:
            raise malformed(why="too many of one kind", expected=f"at most {most}", where=name)
        if most_bytes is not None and len(blobs[-1]) > most_bytes:
            raise malformed(
                why="a part is too large", expected=f"at most {most_bytes} bytes", where=name
            )
    names = [sha256(item) for item in blobs]
    if names != sorted(set(names)):
        raise malformed(why=f"parts are not in the order of their digests: {kind}")
    return tuple(blobs)


def write_path(position: int, path: Sequence[bytes]) -> bytes:
    """A position and the hashes from there up."""
    return _POSITION.pack(position) + b"".join(path)


def read_path(name: str, data: bytes) -> tuple[int, tuple[bytes, ...]]:
    """A position and the hashes from there up.

    Raises:
        MalformedError: ``MALFORMED_CAPSULE``.
    """
    hashes = data[_POSITION.size :]
    if not _POSITION.size <= len(data) <= _MAX_PATH_BYTES or len(hashes) % SHA256_SIZE:
        raise malformed(
            why="this is not a path",
            expected=f"8 bytes and at most {MAX_PROOF_HASHES} hashes",
            actual=f"{len(data)} bytes",
            where=name,
        )
    (position,) = _POSITION.unpack_from(data)
    return position, tuple(hashes[i : i + SHA256_SIZE] for i in range(0, len(hashes), SHA256_SIZE))


def malformed(*, why: str, expected: str = "", actual: str = "", where: str = "") -> RegistryError:
    """The refusal of a file that is no capsule."""
    return MalformedError(
        Reason.MALFORMED_CAPSULE,
        f"this is not a capsule: {why}",
        where=where,
        expected=expected[:400],
        actual=actual[:400],
    )
