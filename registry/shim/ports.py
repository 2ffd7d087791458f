"""What the shim needs of a registry.

:class:`registry.client.registry.RegistryClient` has what batches need, and
:class:`registry.client.evidence.EvidenceCalls` what evidence needs.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from registry.core.attestation.statement import Statement
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Role
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


class Challenge(Protocol):
    """What evidence must commit to, to be known as fresh."""

    @property
    def nonce(self) -> bytes:
        """32 bytes, good once."""


class LoggedResult(Protocol):
    """An attestation result, signed by the operator, whose place in the log is proven."""

    @property
    def statement(self) -> Statement[Any]:
        """Its predicate is the result."""

    @property
    def index(self) -> int:
        """Its index in the log."""


class EvidenceRegistry(Protocol):
    """What judges the evidence of the host. A call may take long; it raises and never hangs.

    Whoever controls it can refuse to admit a key, or admit one that no device holds: what it says
    is its word, until somebody judges the archived evidence again.
    """

    def challenge(self, session_key: bytes | None = None) -> Challenge:
        """A nonce for evidence that is bound to this DER key.

        Raises:
            UnavailableError: Not now.
            RegistryError: The registry refuses.
        """

    def submit(
        self,
        family: Family,
        evidence: bytes,
        binding: Binding,
        policy: str,
        endorsements: Iterable[tuple[Role, bytes]] = (),
    ) -> LoggedResult:
        """Have evidence judged; the result is in the log, and about just this evidence and binding.

        Raises:
            UnavailableError: Not now; the result may or may not be in the log.
            RegistryError: The registry does not take it.
        """
