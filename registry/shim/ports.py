"""What the shim needs of a registry; :class:`registry.client.registry.RegistryClient` has it."""

from collections.abc import Sequence
from typing import Protocol

from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.receipt import Receipt


class ShimHead(Protocol):
    """Where the registry believes the journal of a shim to stand."""

    @property
    def next_n(self) -> int:
        """The number of the next record; 0 if nothing was registered yet."""

    @property
    def last_batch(self) -> bytes | None:
        """The record id of the last batch; empty if there is none."""

    @property
    def last_leaf(self) -> bytes | None:
        """The leaf hash of the last record; empty if there is none."""


class Registry(Protocol):
    """What the shim needs of a registry. A call may take long; it raises and never hangs.

    Whoever controls it can keep the log from growing. It can neither change a record nor claim to
    have one without being found out: receipts are verified here against the pinned log key.
    """

    def register_batch(self, envelope: bytes, records: Sequence[bytes]) -> Receipt:
        """Register a batch and its records; the same batch again gets a receipt again.

        Raises:
            UnavailableError: Not now; the batch may or may not be in the log.
            RegistryError: The registry refuses the batch.
        """

    def shim_head(self, shim_id: bytes) -> ShimHead:
        """Where the journal of a shim stands.

        Raises:
            UnavailableError: Not now.
        """

    def consistency(self, before: Checkpoint) -> SignedCheckpoint:
        """The newest checkpoint, after checking the proof that it extends ``before``.

        Raises:
            UnavailableError: Not now.
            RegistryError: The registry cannot prove it.
        """
