"""Evidence on its way to be judged: as somebody submits it, and what is asked of the pool."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from registry.core.evidence.binding import Binding
from registry.core.evidence.endorsements import Role
from registry.core.evidence.result import Verifier
from registry.errors import ConflictError
from registry.inspection.appraisal_exchange import Task

DEVELOPER = "provreg"
"""Who makes this verifier, as results say."""

AT_ONCE_BYTES = 48 * 1024
"""Bytes of evidence and endorsements of which so much is done at once, in whatever thread asks."""


@dataclass(frozen=True, slots=True)
class Presented:
    """Evidence as somebody submits it.

    Attributes:
        family: The kind of evidence, by name.
        evidence: As the device made it.
        endorsements: What the submitter brings, each with its role.
        stated: What the device committed to, says the submitter.
        policy: Record id (``sha256:…``) or name of the appraisal policy.
    """

    family: str
    evidence: bytes
    endorsements: Sequence[tuple[Role, bytes]]
    stated: Binding
    policy: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A submission against which nothing speaks before it is judged.

    Attributes:
        principal: Who submits it.
        nonce: That of the challenge.
        used: Why the challenge cannot be used, which what came with it may explain.
        task: What is to be judged.
    """

    presented: Presented
    principal: str
    nonce: bytes
    used: ConflictError | None
    task: Task


@cache
def verifier() -> Verifier:
    """This verifier, as results name it."""
    return Verifier(build=f"provreg {importlib.metadata.version('provreg')}", developer=DEVELOPER)
