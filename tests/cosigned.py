"""A registry that is opened again and again, beside witnesses in this process."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from registry.core.tlog.policy import Policy
from registry.signing.file import LogSigner
from tests.contracts.registry_under_test import UnderTest, opened
from tests.mint import dataset_statement
from tests.watched import Watching, watching

SECONDS = 20
"""How long anything may take."""


class Place:
    """A registry that is opened again and again, and the witnesses beside it."""

    def __init__(self, folder: Path, url: str, resources: ExitStack) -> None:
        self.folder = folder
        self.url = url
        self.keys: dict[str, object] = {}
        self.policy = folder / "policy"
        self._resources = resources
        with self.open():
            pass
        self.signer = LogSigner.load(
            (folder / "data" / "origin").read_text().strip(), folder / "data" / "keys" / "log.pem"
        )

    def witness(
        self,
        name: str = "w1",
        *,
        post_quantum: bool = False,
        tls: tuple[Path, Path] | None = None,
    ) -> Watching:
        made = watching(self.folder, self.signer.key, name=name, post_quantum=post_quantum, tls=tls)
        return self._resources.enter_context(made)

    def trust(self, quorum: str, *witnesses: Watching, groups: str = "") -> Policy:
        lines = "".join(witness.line for witness in witnesses)
        text = f"log {self.signer.key}\n{lines}{groups}quorum {quorum}\n"
        self.policy.write_text(text)
        return Policy.parse(text.encode())

    @contextmanager
    def open(self, **settings: object) -> Iterator[UnderTest]:
        if self.policy.exists():
            settings.setdefault("witness_policy", self.policy)
        keys: dict[str, object] = self.keys
        with opened(self.folder / "data", self.url, keys, **settings) as registry:  # type: ignore[arg-type]
            yield registry


def eventually(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.01)


def said(number: int = 0) -> object:
    return dataset_statement(name=f"acme/data-{number}")


def cosigned_size(registry: UnderTest) -> int:
    head = registry.services.sequencer.heads.cosigned
    return 0 if head is None else head.checkpoint.size


def has_quorum(registry: UnderTest) -> bool:
    return cosigned_size(registry) == registry.size


def register(registry: UnderTest, number: int) -> int:
    return registry.register(said(number)).index  # type: ignore[arg-type]
