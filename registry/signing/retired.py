"""The name under which the public half of a retired key is kept: what it was, and until when.

::

    ca-chain.pem.until-20260301T120000Z
"""

from datetime import UTC, datetime
from typing import Final

from registry.errors import MalformedError, Reason

FOLDER: Final = "retired"
"""Where they are, inside a registry's folder of keys."""

_UNTIL: Final = ".until-"
_FORMAT: Final = "%Y%m%dT%H%M%SZ"


def retired_name(public: str, end: datetime) -> str:
    """The name for the file ``public``, in use until ``end``, to the second."""
    return f"{public}{_UNTIL}{end.astimezone(UTC).strftime(_FORMAT)}"


def read_retired_name(name: str) -> tuple[str, datetime]:
    """What :func:`retired_name` was given.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    public, _, text = name.partition(_UNTIL)
    try:
        end = datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        end = None
    if end is None or retired_name(public, end) != name:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this is not the name of a retired key",
            where=name[:200],
            expected=f"a name such as ca-chain.pem{_UNTIL}20260301T120000Z",
        )
    return public, end
