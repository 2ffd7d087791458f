"""Valid examples of everything, the same in every run: fixed keys, deterministic signatures."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry.core.digest import sha256
from registry.core.tlog import entry
from registry.core.tlog.receipt import Receipt
from registry.signing.file import LogSigner, StatementSigner
from tests.mint import ORIGIN, Logged, World, tell

_CURVE: Final = ec.SECP256R1()


def statement_signer(number: int) -> StatementSigner:
    """The same key for the same number."""
    return StatementSigner(ec.derive_private_key(number, _CURVE))


def log_signer(origin: str) -> LogSigner:
    """The same key for the same log."""
    return LogSigner(origin, Ed25519PrivateKey.from_private_bytes(sha256(origin.encode())))


class FixedWorld(World):
    """A world that comes out the same every time."""

    def __init__(self) -> None:
        self.log = log_signer(ORIGIN)
        self.operator = statement_signer(1)
        self.keys = {
            "operator": self.operator,
            "acme": statement_signer(2),
            "node-1": statement_signer(3),
        }
        self.leaves = []
        self.key_events = []
        self.key_event("operator", roles=["operator"])


WORLD: Final = FixedWorld()
TOLD: Final = tell(WORLD)
HEAD: Final = WORLD.head()
CAPSULE: Final = WORLD.capsule(TOLD)


def body(logged: Logged, principal: str) -> bytes:
    """The entry of a statement by ``principal``."""
    key = WORLD.keys[principal].public_key
    return entry.write(logged.envelope.record_id, logged.envelope.signature, key.der)


def receipt(logged: Logged) -> Receipt:
    """The proof of a statement's entry."""
    proved = WORLD.proved(logged)
    return Receipt(proved.index, proved.proof, HEAD)
