"""The link that says whether others saw the log as the capsule shows it, by the reader's policy."""

from typing import Final

from registry.core import verdict
from registry.core.capsule.container import Capsule
from registry.core.tlog.note import Note
from registry.core.tlog.policy import Policy
from registry.core.verdict import Check
from registry.errors import Reason, RegistryError

WITNESSES: Final = "witnesses"
"""The link that says whether the checkpoint is cosigned as the reader's policy asks."""


def judge_witnesses(capsule: Capsule, policy: Policy) -> Check:
    """Judge the capsule's checkpoint by ``policy``.

    Too few cosignatures refute nothing: the same capsule asked for later may have them. A wrong
    line of a known witness does, and so does a log that the policy does not name.
    """
    try:
        policy.verify(capsule.checkpoint)
        return verdict.valid(WITNESSES, str(policy.standing(Note.parse(capsule.checkpoint))))
    except RegistryError as error:
        if error.reason is Reason.QUORUM:
            return verdict.indeterminate(WITNESSES, Reason.QUORUM, error.actual)
        return verdict.invalid(WITNESSES, error)
