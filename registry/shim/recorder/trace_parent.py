"""The caller's trace: what ``traceparent`` says, or nothing (W3C Trace Context, §3.2).

What it says is in a record for ever, and in spans. So only its two ids and its flags are taken, and
nothing that is no such header: whoever asks could put anything there. What goes on to the model
server is the header as it came; ``tracestate`` goes on, too, and is read by nobody here.
"""

import re
from typing import Final

_SIZE: Final = 55
"""Characters of version, trace id, parent id and flags with what stands between them."""

_FORM: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"(?P<more>-.*)?",
    re.ASCII | re.DOTALL,
)


def trace_parent(text: str) -> str:
    """The 55 characters of ``traceparent`` that are known of every version; empty if it is none.

    A header that is sent twice is none: its values are joined by a comma, which it cannot hold.
    """
    found = _FORM.fullmatch(text)
    if found is None or (found["version"] == "00" and found["more"]):
        return ""
    return text[:_SIZE]
