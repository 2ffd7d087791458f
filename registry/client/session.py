"""What the calls of one session share: a connection, the pinned log key, the checkpoints seen."""

from types import TracebackType
from typing import Self

from registry.client.channel import Connection
from registry.client.heads import Heads
from registry.core.tlog.note import VerifierKey
from registry.errors import Reason, VerificationError


class Session:
    """Talks to one registry, whose log must have the key ``log_key``."""

    def __init__(self, connection: Connection, log_key: VerifierKey) -> None:
        self.connection = connection
        self.log_key = log_key
        self.heads = Heads(log_key)

    def close(self) -> None:
        """Let go of the connection."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def require(holds: bool, what: str, where: str = "") -> None:  # noqa: FBT001 - reads as a sentence
    """Refuse an answer to another question.

    Raises:
        VerificationError: ``SUBJECT_MISMATCH``.
    """
    if not holds:
        raise VerificationError(
            Reason.SUBJECT_MISMATCH,
            f"the registry answered with another {what} than was asked for",
            where=where,
        )
