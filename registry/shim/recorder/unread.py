"""What a request says beside its content, read only when somebody wants to know it.

Nobody needs the parameters of a call before it is forwarded, and reading them takes as long as
anything else that happens before.
"""

from collections.abc import Callable, Iterator, Mapping


class Unread(Mapping[str, str]):
    """Parameters of a request, read as soon as anybody wants to know one."""

    __slots__ = ("_params", "_read")

    def __init__(self, read: Callable[[], dict[str, str]]) -> None:
        self._read = read
        self._params: dict[str, str] | None = None

    def _known(self) -> dict[str, str]:
        if self._params is None:
            self._params = self._read()
        return self._params

    def __getitem__(self, name: str) -> str:
        return self._known()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())
