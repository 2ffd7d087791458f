"""The privacy policy of a shim: which fields to commit to, and what to keep, for which class."""

from typing import Annotated, Final, Literal

import msgspec

from registry.core.encoding import Value
from registry.core.records.field_commitments import MAX_FIELDS, Path
from registry.errors import MalformedError, Reason

SCHEMA: Final = "privacy-policy/v1"
"""Names the form of a policy."""

RetentionClass = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?\Z")]
"""Names what is erased together: lowercase letters, digits and hyphens, at most 64 characters."""

_SIDES = ("/request/", "/response/")


class PrivacyPolicy(Value, frozen=True):
    """What a shim does with content that no record shows.

    Attributes:
        retention_class: Whose key wraps what is kept.
        fields: JSON Pointers below ``/request/`` and ``/response/``; what a call lacks is left out.
        keep: Whether whole requests and answers are kept, sealed.
        output: ``committed`` puts salted commitments where records have the digests of an output:
            short outputs can be guessed from a plain digest. The output is then found by its
            commitment, which whoever runs the shim can tell.
    """

    schema: Literal["privacy-policy/v1"]
    retention_class: RetentionClass
    fields: Annotated[tuple[Path, ...], msgspec.Meta(max_length=MAX_FIELDS)] = ()
    keep: bool = False
    output: Literal["plain", "committed"] = "plain"

    def check(self) -> None:
        """Check what types cannot say.

        Raises:
            MalformedError: ``MALFORMED_POLICY``.
        """
        if len(set(self.fields)) != len(self.fields):
            raise _malformed("a field is named twice", "different paths", " ".join(self.fields))
        for path in self.fields:
            if not path.startswith(_SIDES):
                raise _malformed("this path is of no call", " or ".join(_SIDES) + "…", path)
        if not self.fields and not self.keep and self.output == "plain":
            raise _malformed("this policy asks for nothing", "fields, keep or output", "none")


def _malformed(what: str, expected: str, actual: str) -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_POLICY, what, where="privacy policy", expected=expected, actual=actual
    )
