"""What the services of vendors answer: something, nothing of that name, or something else."""

from datetime import UTC, datetime
from typing import Final

from registry.core.evidence import crl
from registry.core.evidence.checks import CheckError
from registry.errors import MalformedError, NotFoundError, Reason
from registry.remote.http import Answer

MAX_CRL_BYTES: Final = crl.MAX_CRL_BYTES
"""Bytes of a revocation list that are read."""

# The store in which AWS publishes says 403 of what is not there.
_NOTHING: Final = (403, 404, 410)


def found(answer: Answer) -> Answer:
    """The answer, if there is something in it.

    Raises:
        NotFoundError: ``NO_ENDORSEMENT``.
        UnavailableError: ``REMOTE_STATUS``.
    """
    if answer.status in _NOTHING:
        raise NotFoundError(
            Reason.NO_ENDORSEMENT,
            "the vendor has nothing of that name",
            where=answer.url,
            actual=f"status {answer.status}",
        )
    return answer.expect()


def crl_until(answer: Answer) -> datetime:
    """The last second of the revocation list that came.

    Raises:
        MalformedError: ``VENDOR_ANSWER``.
    """
    try:
        window = crl.read(answer.body).window
    except CheckError as error:
        raise wrong(answer, "a revocation list, as DER", error.detail()) from error
    return datetime.fromtimestamp(window.end, UTC)


def wrong(answer: Answer, expected: str, actual: str) -> MalformedError:
    """The refusal of an answer that is something else."""
    return MalformedError(
        Reason.VENDOR_ANSWER,
        "a vendor's answer is not what it should be",
        where=answer.url,
        expected=expected,
        actual=ascii(actual[:200]),
    )
