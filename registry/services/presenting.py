"""What keeps evidence from being taken, beside what is wrong with the evidence itself.

Evidence for another nonce, key, model, GPU or purpose is refused by name, and nothing is stored: it
may be good evidence of somebody else, who still wants to submit it.
"""

import msgspec

from registry.core.access import Principal
from registry.core.digest import SHA256_SIZE
from registry.core.evidence.binding import GPU_FAMILIES, Binding, Mismatch, check_shape
from registry.core.evidence.claims import Family
from registry.core.evidence.result import Environment
from registry.core.keys import PublicKey
from registry.core.verdict import Verdict
from registry.errors import (
    ForbiddenError,
    MalformedError,
    NotFoundError,
    Reason,
    VerificationError,
)
from registry.services.keyring import Keyring
from registry.storage.sql import attestations, challenges
from registry.storage.sql.challenges import StoredChallenge
from registry.storage.sql.engine import Connection

_REASONS: dict[str, Reason] = {
    Mismatch.WRONG_COMMITMENT: Reason.WRONG_COMMITMENT,
    Mismatch.WRONG_NONCE: Reason.WRONG_NONCE,
    Mismatch.WRONG_SESSION_KEY: Reason.WRONG_SESSION_KEY,
    Mismatch.WRONG_MODEL: Reason.WRONG_MODEL,
    Mismatch.WRONG_GPU: Reason.WRONG_GPU,
    Mismatch.WRONG_CONTEXT: Reason.WRONG_CONTEXT,
}


def check_stated(family: Family, stated: Binding) -> None:
    """Check the form of what a submitter states.

    Raises:
        MalformedError: ``MALFORMED_FIELD`` for a digest of another size, or for a GPU that is said
            to commit to more than its nonce; what is wrong with the key.
    """
    if stated.nonce is None or not check_shape(stated):
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "evidence is bound to a nonce, and each digest that it is bound to has its size",
            expected=f"{SHA256_SIZE} bytes each",
        )
    if stated.session_key is not None:
        PublicKey.parse(stated.session_key)
    if family in GPU_FAMILIES and stated != Binding(nonce=stated.nonce):
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "a GPU commits to its nonce alone; the CPU's evidence commits to the rest, and to it",
            where=family,
            hint="submit the GPU's evidence with the nonce only, then the CPU's with its id",
        )


def check_session_key(
    family: Family, stated: Binding, challenge: StoredChallenge, caller: Principal, keyring: Keyring
) -> None:
    """Check that the key is the one that the challenge was for, and nobody else's.

    GPUs answer the challenge of their CPU, whose evidence is then bound to key and GPUs; they
    themselves commit to no key.

    Raises:
        VerificationError: ``WRONG_SESSION_KEY``.
        ForbiddenError: ``KEY_NOT_YOURS``.
    """
    if family in GPU_FAMILIES:
        return
    wanted = challenge.session_key
    if wanted is not None and wanted != stated.session_key:
        said = stated.session_key
        raise VerificationError(
            Reason.WRONG_SESSION_KEY,
            "this challenge is for evidence about another key",
            expected=PublicKey.parse(wanted).key_id,
            actual="no key" if said is None else PublicKey.parse(said).key_id,
        )
    if stated.session_key is None:
        return
    key = PublicKey.parse(stated.session_key)
    events = keyring.events(key.key_id)
    if events and events[-1].event.principal != caller.name:
        raise ForbiddenError(
            Reason.KEY_NOT_YOURS,
            "the evidence is bound to somebody else's key",
            expected=f"a key of {caller.name}",
            actual=f"a key of {events[-1].event.principal}",
        )


def check_gpu(connection: Connection, stated: Binding) -> None:
    """Check that the GPUs to which a CPU's evidence commits answered the same challenge well.

    Raises:
        NotFoundError: ``UNKNOWN_EVIDENCE``.
        VerificationError: ``WRONG_GPU``.
    """
    if stated.gpu is None:
        return
    rows = [
        row
        for row in attestations.about(connection, stated.gpu)
        if row.family in GPU_FAMILIES and row.question == "then" and row.is_authentic
    ]
    if not rows or rows[0].verdict != Verdict.VALID:
        raise NotFoundError(
            Reason.UNKNOWN_EVIDENCE,
            "no valid result about this evidence of GPUs is registered",
            where=stated.gpu.hex(),
            hint="submit the evidence of the GPUs first, with the same nonce",
        )
    challenge = challenges.find(connection, stated.nonce or b"")
    if challenge is None or challenge.gpu_entry != rows[0].index:
        raise VerificationError(
            Reason.WRONG_GPU,
            "these GPUs answered another challenge",
            where=stated.gpu.hex(),
            expected="the evidence of GPUs that was submitted for the same nonce",
            actual=f"entry {rows[0].index}",
        )


def check_readable(environment: Environment) -> None:
    """Refuse bytes that are no evidence of their family.

    Raises:
        MalformedError: ``UNREADABLE_EVIDENCE``.
    """
    if not isinstance(environment.evidence_id, msgspec.UnsetType):
        return
    failed = [item for item in environment.checks if item.outcome == "fail"]
    first = failed[0] if failed else None
    raise MalformedError(
        Reason.UNREADABLE_EVIDENCE,
        "these bytes are no evidence of this family",
        where="" if first is None else f"check {first.check}",
        actual="" if first is None else f"{first.finding}: {first.detail}"[:400],
    )


def misbinding(environment: Environment) -> VerificationError | None:
    """The refusal of evidence about something else than it was submitted for.

    ``WRONG_COMMITMENT``, ``WRONG_NONCE``, ``WRONG_SESSION_KEY``, ``WRONG_MODEL``, ``WRONG_GPU`` or
    ``WRONG_CONTEXT``; None if it is about that.
    """
    for item in environment.checks:
        reason = _REASONS.get(item.finding)
        if item.outcome == "fail" and reason is not None:
            return VerificationError(
                reason,
                "this evidence is about something else than it is submitted for",
                where=f"check {item.check}",
                actual=item.detail[:400],
            )
    return None
