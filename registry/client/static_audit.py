"""Re-derives a whole static log from its entries, over HTTP: nothing of it is taken on trust."""

from collections.abc import Callable

from registry.client.tiled_log import TiledLog
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.tile import TILE_WIDTH
from registry.core.tlog.verified_tiles import bundles
from registry.errors import (
    LimitExceededError,
    MalformedError,
    RegistryError,
    UnavailableError,
    VerificationError,
)

MAX_FAULTS = 1000
"""Faults that are listed before the rest of the log is left alone."""

Progress = Callable[[str, int], None]
"""Told what is being done, and how many are done."""

_FAULTS = (VerificationError, MalformedError, UnavailableError, LimitExceededError)


def check_static(
    log: TiledLog, key: VerifierKey, progress: Progress
) -> tuple[SignedCheckpoint, list[RegistryError]]:
    """Check every entry, hence every tile above it, against the newest checkpoint.

    A piece that does not verify, or is not there, is a fault, and the next one is looked at.

    Raises:
        VerificationError: ``WRONG_LOG`` or ``LOG_SIGNATURE``: there is no checkpoint to go by.
        MalformedError, UnavailableError, LimitExceededError: As for that.
    """
    head = SignedCheckpoint.open(log.newest(), key)
    size = head.checkpoint.size
    faults: list[RegistryError] = []
    for index, width in bundles(0, size):
        end = index * TILE_WIDTH + width
        try:
            for _ in log.entries(index * TILE_WIDTH, head, end):
                pass
        except _FAULTS as error:
            error.where = error.where or f"entries {index * TILE_WIDTH} to {end - 1}"
            faults.append(error)
            if len(faults) >= MAX_FAULTS:
                break
        progress("entries", end)
    return head, faults
