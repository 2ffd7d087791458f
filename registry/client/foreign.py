"""Proofs of other systems: kept at a registry as they came, found by their output, checked again.

What an importer says of a proof is signed and logged, and not believed: whoever finds it fetches
the bytes that it names and reads them again, here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from registry.client.registry import RegistryClient
from registry.client.statements import LoggedStatement
from registry.core import digest
from registry.core.evidence.distrust import Entry
from registry.core.evidence.endorsements import MAX_ENDORSEMENTS
from registry.core.evidence.policy import NamedRoot
from registry.core.foreign.captured import MAX_PART_BYTES, MAX_PARTS
from registry.core.foreign.proof import ForeignProof
from registry.core.foreign.systems import Examined, redo
from registry.core.records import foreign_proof, predicate
from registry.core.tlog.receipt import Receipt
from registry.core.verdict import Verdict
from registry.errors import (
    LimitExceededError,
    NotFoundError,
    Reason,
    RegistryError,
    UnavailableError,
    UnsupportedError,
)
from registry.signing.signer import Signer

MAX_FOUND: Final = 64
"""Proofs of one output that are looked at; the newest count."""

_MAX_RAW: Final = MAX_PARTS + MAX_ENDORSEMENTS + 1


@dataclass(frozen=True, slots=True)
class Imported:
    """A proof that is in the log.

    Attributes:
        record_id: How other statements name it.
        receipt: Its place in the log, verified.
        sent: How many blobs the registry did not have.
    """

    record_id: str
    receipt: Receipt
    sent: int


def import_proof(
    client: RegistryClient,
    examined: Examined,
    parts: Sequence[bytes],
    signer: Signer,
) -> Imported:
    """Keep the bytes that a proof rests on, then register what was made of it.

    The bytes come first: what is logged can always be checked again. Importing again what is
    imported already changes nothing.

    Args:
        client: The registry.
        examined: What was made of the proof.
        parts: All bytes that it names; those that are withheld stay here.
        signer: The importer.

    Raises:
        RegistryError: Why the registry refuses, or cannot be reached.
    """
    envelope = signer.sign(foreign_proof.build(examined.proof, examined.outputs))
    # What a registry would refuse to read is refused before anything is sent.
    predicate.parse(envelope.payload)
    kept = set(examined.proof.kept)
    held = {name: data for data in parts if (name := digest.sha256(data)) in kept}
    missing = client.find_missing(sorted(held))
    for name in missing:
        client.upload_bytes(held[name])
    receipt = client.register(envelope, signer.public_key)
    return Imported(digest.text(envelope.record_id), receipt, len(missing))


@dataclass(frozen=True, slots=True)
class Found:
    """A proof that was found, and what reading it again came to.

    Attributes:
        logged: The importer's statement.
        verdict: What is to be made of it here.
        here: What reading it again came to; None if it could not be read again.
        reason: Why it could not, or why it is not what the importer says; empty if neither.
        detail: The same in plain words.
        then: What was to be made of it, whatever is no longer believed.
    """

    logged: LoggedStatement
    verdict: Verdict
    here: ForeignProof | None = None
    reason: str = ""
    detail: str = ""
    then: Verdict = Verdict.INDETERMINATE

    @property
    def proof(self) -> ForeignProof:
        """What the importer says."""
        said: ForeignProof = self.logged.statement.predicate
        return said


def find_proofs(
    client: RegistryClient,
    outputs: Iterable[bytes],
    own: Sequence[bytes] = (),
    roots: tuple[NamedRoot, ...] = (),
    distrusted: Callable[[], Iterable[Entry]] = tuple,
) -> tuple[Found, ...]:
    """Proofs of an output, the newest first, each read again here.

    Args:
        client: The registry.
        outputs: Digests that may name the output.
        own: Bytes that the caller has, should an importer have withheld them.
        roots: Roots of no vendor that count here, whatever counts for the importer.
        distrusted: Tells what is believed no longer; asked if there is a proof.

    Raises:
        RegistryError: What is wrong with an answer, or why the registry cannot be reached.
    """
    logged: dict[int, LoggedStatement] = {}
    for name in dict.fromkeys(outputs):
        for item in client.list_statements(foreign_proof.PREDICATE_TYPE, name.hex()):
            logged[item.index] = item
    newest = sorted(logged.values(), key=lambda item: -item.index)[:MAX_FOUND]
    held = {digest.sha256(data): data for data in own}
    refused = tuple(distrusted()) if newest else ()
    return tuple(_again(client, item, held, roots, refused) for item in newest)


def best(found: Iterable[Found]) -> Verdict:
    """The verdict on an output: one proof that holds is enough, whatever others import of it."""
    verdicts = [item.verdict for item in found]
    for verdict in (Verdict.VALID, Verdict.INDETERMINATE):
        if verdict in verdicts:
            return verdict
    return Verdict.INVALID


def _again(
    client: RegistryClient,
    logged: LoggedStatement,
    held: Mapping[bytes, bytes],
    roots: tuple[NamedRoot, ...],
    distrusted: tuple[Entry, ...],
) -> Found:
    said: ForeignProof = logged.statement.predicate
    try:
        parts = [(item.role, _part(client, item.sha256, held)) for item in said.raw[:_MAX_RAW]]
        here = then = redo(said, parts, roots)
        if distrusted:
            here = redo(said, parts, roots, distrusted)
    except (NotFoundError, UnsupportedError, UnavailableError) as error:
        if isinstance(error, UnavailableError) and error.reason is not Reason.MISSING_EXTRA:
            raise
        # Neither proved nor refuted here: bytes, a library or an older parser are missing.
        return _unread(logged, _open(said.verdict), error)
    except LimitExceededError as error:
        return _unread(logged, _open(said.verdict), error)
    except RegistryError as error:
        return _unread(logged, Verdict.INVALID, error)
    return Found(logged, here.verdict, here, then=then.verdict)


def _unread(logged: LoggedStatement, verdict: Verdict, error: RegistryError) -> Found:
    return Found(logged, verdict, reason=error.reason, detail=str(error), then=verdict)


def _open(said: Verdict) -> Verdict:
    return Verdict.INDETERMINATE if said is Verdict.VALID else said


def _part(client: RegistryClient, sha256: str, held: Mapping[bytes, bytes]) -> bytes:
    name = bytes.fromhex(sha256)
    return held[name] if name in held else client.read_blob(name, MAX_PART_BYTES)
