"""The registry in memory, for a shim in another process that may be killed at any moment."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import msgspec

from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.receipt import Receipt
from registry.errors import Reason, RegistryError, UnavailableError
from tests.shim.world import Head, MemoryRegistry


class Question(msgspec.Struct):
    """One call: a method of the port, and its arguments as bytes."""

    method: str
    arguments: list[bytes]


class Reply(msgspec.Struct):
    """The result as bytes, or the reason of a refusal."""

    result: list[bytes] = []
    refused: str = ""


class RemoteRegistry:
    """The port of the shim, spoken over a socket."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: Connection | None = None

    def register_batch(self, envelope: bytes, records: Sequence[bytes]) -> Receipt:
        [receipt] = self._ask("register_batch", [envelope, *records])
        return Receipt.parse(receipt)

    def shim_head(self, shim_id: bytes) -> Head:
        next_n, last_batch, last_leaf = self._ask("shim_head", [shim_id])
        return Head(int.from_bytes(next_n), last_batch, last_leaf)

    def consistency(self, before: Checkpoint) -> SignedCheckpoint:
        [note] = self._ask("consistency", [str(before).encode()])
        return SignedCheckpoint.parse(note)

    def _ask(self, method: str, arguments: list[bytes]) -> list[bytes]:
        try:
            if self._connection is None:
                self._connection = Client(self._address)
            self._connection.send_bytes(msgspec.msgpack.encode(Question(method, arguments)))
            data = self._connection.recv_bytes()
        except (OSError, EOFError) as error:
            self._connection = None
            raise UnavailableError(Reason.UNREACHABLE, "the connection broke") from error
        reply = msgspec.msgpack.decode(data, type=Reply)
        if reply.refused:
            raise RegistryError(Reason(reply.refused), "the registry refuses")
        return reply.result


@contextlib.contextmanager
def served(registry: MemoryRegistry, address: Path) -> Iterator[None]:
    """Answer for ``registry`` at a socket while the block runs."""
    listener = Listener(str(address))
    stopping = threading.Event()

    def accept() -> None:
        while not stopping.is_set():
            connection = listener.accept()
            threading.Thread(target=_talk, args=(registry, connection), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        Client(str(address)).close()
        thread.join()
        listener.close()


def _talk(registry: MemoryRegistry, connection: Connection) -> None:
    with connection, contextlib.suppress(OSError, EOFError):
        while True:
            question = msgspec.msgpack.decode(connection.recv_bytes(), type=Question)
            try:
                reply = Reply(_answer(registry, question))
            except RegistryError as error:
                reply = Reply(refused=str(error.reason))
            connection.send_bytes(msgspec.msgpack.encode(reply))


def _answer(registry: MemoryRegistry, question: Question) -> list[bytes]:
    arguments = question.arguments
    match question.method:
        case "register_batch":
            return [registry.register_batch(arguments[0], arguments[1:]).to_bytes()]
        case "shim_head":
            head = registry.shim_head(arguments[0])
            return [head.next_n.to_bytes(8), head.last_batch, head.last_leaf]
        case "consistency":
            return [registry.consistency(Checkpoint.parse(arguments[0].decode())).note]
        case method:
            raise AssertionError(method)
