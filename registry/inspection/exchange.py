"""What the sandbox and its worker say to each other: one request, one answer, both JSON."""

from typing import Literal, TypeAlias

from registry.core.encoding import Count, Value
from registry.core.formats.structure import Structure
from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError

MAX_REQUEST_BYTES = 128 * 1024 * 1024
"""Room for the paths and sizes of a manifest of the largest size."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Room for the largest safetensors header, written as a structure."""

MAX_REFUSAL_CHARACTERS = 1000
"""Characters of each part of a refusal."""

Format: TypeAlias = Literal["onnx", "safetensors"]
"""A format that can be described."""


class NeighbourFile(Value, frozen=True):
    """One file of the manifest that the inspected file may refer to."""

    path: str
    size: Count


class Request(Value, frozen=True):
    """Describe the file that is open as ``descriptor``; it is ``file_name`` in the manifest.

    The file is handed over open, so that the worker needs no right to open anything.
    """

    descriptor: Count
    file_name: str
    format: Format
    files: tuple[NeighbourFile, ...]


class Refusal(Value, frozen=True):
    """A :class:`RegistryError`, on its way from one process to the other."""

    reason: Reason
    what: str
    where: str = ""
    expected: str = ""
    actual: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: RegistryError) -> "Refusal":
        """Put ``error`` into words of bounded length."""
        limit = MAX_REFUSAL_CHARACTERS
        return cls(
            reason=error.reason,
            what=error.what[:limit],
            where=error.where[:limit],
            expected=error.expected[:limit],
            actual=error.actual[:limit],
            hint=error.hint[:limit],
        )

    def to_error(self) -> RegistryError:
        """The error that the worker meant: beyond a limit, or malformed."""
        is_limit = self.reason is Reason.INSPECTION_LIMIT
        return (LimitExceededError if is_limit else MalformedError)(
            self.reason,
            self.what,
            where=self.where,
            expected=self.expected,
            actual=self.actual,
            hint=self.hint,
        )


class Answer(Value, frozen=True):
    """Either what the file is, or why it is refused."""

    structure: Structure | None = None
    refusal: Refusal | None = None
