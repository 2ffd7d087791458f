"""What the operator says: statements that the registry itself signs and puts into the log."""

from typing import Any

from registry.core.attestation.statement import Statement
from registry.core.tlog.receipt import Receipt
from registry.errors import Reason, VerificationError
from registry.services.challenges import Claim
from registry.services.keyring import Keyring
from registry.services.registration import Opened, submission
from registry.services.sequencing import Sequencer
from registry.services.submission import Submission
from registry.signing.file import StatementSigner
from registry.storage.blobs.port import BlobWriter
from registry.storage.sql.log import StoredEntry

OPERATOR = "operator"
"""The principal that the operator's key speaks for."""


class Operator:
    """Signs with the operator's key; what is signed is in the log when a method returns."""

    def __init__(self, signer: StatementSigner, keyring: Keyring, sequencer: Sequencer) -> None:
        self._signer = signer
        self._keyring = keyring
        self._sequencer = sequencer
        self.public_key = signer.public_key

    def say(self, statement: Statement[Any], *, genesis: bool = False) -> Receipt:
        """Sign and log a statement. Only entry 0, the ``genesis``, admits the key by itself.

        Raises:
            VerificationError: ``UNKNOWN_SIGNER`` if another operator's key started the log.
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        if not genesis:
            self._check_granted()
        return self._sequencer.submit(self._signed(statement)).result()

    def enter(
        self,
        statement: Statement[Any],
        *,
        blobs: tuple[BlobWriter, ...] = (),
        claim: Claim | None = None,
    ) -> StoredEntry:
        """Sign and log a statement; gives the entry that it became.

        Args:
            statement: What is said.
            blobs: What becomes visible with it, or not at all; they are the log's from here on.
            claim: What it uses up.

        Raises:
            RegistryError: What it claims cannot be used any more.
            VerificationError: ``UNKNOWN_SIGNER`` if another operator's key started the log.
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        self._check_granted()
        said = self._signed(statement, blobs, claim)
        index = self._sequencer.submit(said).result().index
        return StoredEntry(index, said.leaf_hash, said.record_id, said.body, said.envelope)

    def _check_granted(self) -> None:
        if self._keyring.grant(self.public_key.key_id).principal != OPERATOR:
            raise VerificationError(
                Reason.UNKNOWN_SIGNER, "the log was started by another operator's key"
            )

    def _signed(
        self,
        statement: Statement[Any],
        blobs: tuple[BlobWriter, ...] = (),
        claim: Claim | None = None,
    ) -> Submission:
        envelope = self._signer.sign(statement)
        opened = Opened(envelope.to_bytes(), envelope, statement, self.public_key, OPERATOR)
        return submission(opened, blobs=blobs, claim=claim)
