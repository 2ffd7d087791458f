"""Windows of validity in whole seconds of UTC, and where they overlap."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from registry.errors import MalformedError, Reason

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No evidence is older; a clock that says so is not set."""

LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""What X.509 writes for "does not end" (RFC 5280 §4.1.2.5)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def seconds(moment: datetime) -> int:
    """Whole Unix seconds of an aware ``moment``; a fraction is cut off."""
    return (moment - _EPOCH) // _SECOND


def appraised_at(moment: datetime) -> int:
    """The moment that counts in an examination, in Unix seconds.

    Raises:
        MalformedError: ``BAD_TIME`` if it has no time zone or no set clock says so.
    """
    if moment.tzinfo is None or not EARLIEST <= moment <= LATEST:
        raise MalformedError(
            Reason.BAD_TIME,
            "this is not a moment at which evidence can be judged",
            expected=f"a time with a zone from {EARLIEST.isoformat()} to {LATEST.isoformat()}",
            actual=moment.isoformat(),
        )
    return seconds(moment)


@dataclass(frozen=True, slots=True)
class Validity:
    """A window, closed at both ends.

    Attributes:
        start: Its first second, Unix time.
        end: Its last second, Unix time.
    """

    start: int
    end: int

    @classmethod
    def closed(cls, start: datetime, end: datetime) -> Self:
        """Both ends count: certificates (RFC 5280 §4.1.2.5), TCB info, QE identity."""
        return cls(seconds(start), seconds(end))

    @classmethod
    def until_next(cls, this_update: datetime, next_update: datetime) -> Self:
        """The end no longer counts: CRLs and OCSP answers, which a next one follows."""
        return cls(seconds(this_update), seconds(next_update) - 1)

    def overlap(self, other: Self) -> Self:
        """The seconds in both; ends before it starts if there are none."""
        return type(self)(max(self.start, other.start), min(self.end, other.end))

    def __contains__(self, at: int) -> bool:
        return self.start <= at <= self.end

    def __str__(self) -> str:
        return f"{self.text(self.start)} to {self.text(self.end)}"

    @staticmethod
    def text(at: int) -> str:
        """RFC 3339 in UTC; a second beyond the calendar as a number."""
        try:
            return (_EPOCH + at * _SECOND).strftime("%Y-%m-%dT%H:%M:%SZ")
        except OverflowError:
            return f"second {at}"
