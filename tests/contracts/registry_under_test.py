"""A registry without gRPC, on any database, and principals who may speak to it."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry.config import ServerSettings
from registry.core.access import Principal
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import Statement
from registry.core.tlog import entry
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.receipt import Receipt
from registry.server.app import Services, open_services
from registry.services.registration import submission
from registry.services.submission import Submission
from registry.signing.file import StatementSigner
from registry.storage.sql import log
from tests.mint import sign_bytes

SECONDS = 30
"""How long an answer may take."""


class UnderTest:
    """An open registry, with a publisher ``acme`` and the nodes ``node-1`` and ``node-2``."""

    def __init__(self, services: Services, keys: dict[str, StatementSigner]) -> None:
        self.services = services
        self.keys = keys
        self._bare = 0
        self.callers = {
            "acme": Principal("acme", ("publisher",), ("acme/*",)),
            "node-1": Principal("node-1", ("node",)),
            "node-2": Principal("node-2", ("node",)),
        }
        for name, caller in self.callers.items():
            if not services.access.exists(name):
                keys[name] = StatementSigner.generate()
                public = keys[name].public_key
                services.access.add(name, caller.roles, caller.namespaces, [public], None)

    @property
    def size(self) -> int:
        """How many entries the log has, by its newest checkpoint."""
        head = self.services.sequencer.head
        return 0 if head is None else head.checkpoint.size

    def stored(self) -> int:
        """How many entries the log has, by its rows."""
        with self.services.database.read() as connection:
            return log.size(connection)

    def ask(self, said: Statement[Any], signer: str = "acme") -> "Future[Receipt]":
        """Register a statement; the answer comes later."""
        data = self.keys[signer].sign(said).to_bytes()
        return self.services.registration.register(data, self.callers[signer])

    def register(self, said: Statement[Any], signer: str = "acme") -> Receipt:
        """Register a statement and wait for the answer."""
        return self.ask(said, signer).result(SECONDS)

    def register_batch(
        self, said: Statement[Any], records: list[bytes], signer: str = "node-1"
    ) -> Receipt:
        """Register a batch and wait for the answer."""
        data = self.keys[signer].sign(said).to_bytes()
        asked = self.services.registration.register_batch(data, records, self.callers[signer])
        return asked.result(SECONDS)

    def submission(self, said: Statement[Any], signer: str = "acme") -> Submission:
        """What the sequencer is given for a statement."""
        data = self.keys[signer].sign(said).to_bytes()
        return submission(self.services.registration.open(data, self.callers[signer]))

    def grow(self, count: int) -> None:
        """Append bare entries: signatures over digests of messages that nobody has."""
        asked = []
        for _ in range(count):
            self._bare += 1
            asked.append(self.services.sequencer.submit(bare(self.keys["acme"], self._bare)))
        for answer in asked:
            answer.result(SECONDS)

    def body(self, said: Statement[Any], signer: str = "acme") -> bytes:
        """The log entry of a statement."""
        key = self.keys[signer]
        envelope: Envelope = key.sign(said)
        return entry.write(envelope.record_id, envelope.signature, key.public_key.der)

    def verify(self, receipt: Receipt, said: Statement[Any], signer: str = "acme") -> None:
        """Check a receipt as anybody would."""
        receipt.verify(self.body(said, signer), self.services.signer.key)


def bare(signer: StatementSigner, number: int) -> Submission:
    """The signature of message ``number``, without the message."""
    envelope = sign_bytes(signer, b"message %d" % number)
    body = entry.write(envelope.record_id, envelope.signature, signer.public_key.der)
    return Submission(
        record_id=envelope.record_id,
        leaf_hash=leaf_hash(body),
        body=body,
        envelope=b"",
        predicate_type="",
        name="",
        version="",
        key_id=signer.public_key.key_id,
        principal="acme",
    )


@contextmanager
def opened(
    folder: Path, url: str, keys: dict[str, StatementSigner] | None = None, **settings: Any
) -> Iterator[UnderTest]:
    """Open the registry in ``folder``."""
    with open_services(ServerSettings(folder, database=url, **settings)) as (services, _):
        yield UnderTest(services, {} if keys is None else keys)
