"""The rows of the public event logs: what is in the index, as values."""

import re
from dataclasses import dataclass

from tests.core.evidence.intel.sets import FOLDER

LOGS = FOLDER / "eventlog"


@dataclass(frozen=True)
class Row:
    """One log.

    Attributes:
        file: Where it is, below :data:`LOGS`.
        quote: The quote that it must lead to, below :data:`LOGS`; empty if it is in the file, or
            if there is none.
        verdict: ``valid``, ``invalid`` or ``parse only``.
        events: How many it has after its header.
        match: For each register ``y`` or ``n``; what they begin with, if there is no quote.
        reason: Why it is refused, as we name it; empty if it is not.
    """

    file: str
    quote: str
    verdict: str
    events: int
    match: str
    reason: str


def rows() -> list[Row]:
    """The table of the index."""
    index = LOGS / "INDEX.md"
    if not index.is_file():
        return []
    lines = [line for line in index.read_text(encoding="utf-8").splitlines() if "| `" in line]
    return [_row([cell.strip() for cell in line.strip("|").split("|")]) for line in lines]


def _row(cells: list[str]) -> Row:
    file, _, quote, verdict, findings = cells[:5]
    count = re.search(r"(\d+) events", findings)
    match = re.search(r"RTMR0\.\.3 match: ([yn]{4})", findings)
    starts = re.search(r"replay RTMR0\.\.3 = (.*)", findings)
    reason = "NO_SHA384" if "no SHA-384" in findings else ""
    return Row(
        file=file.strip("`"),
        quote=quote.strip("`") if quote.startswith("`../") else "",
        verdict=verdict.strip("*"),
        events=int(count[1]) if count else 0,
        match=match[1] if match else starts[1].split(";")[0].strip() if starts else "",
        reason="RTMR_MISMATCH" if match and "n" in match[1] else reason,
    )
