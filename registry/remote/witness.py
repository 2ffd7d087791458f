"""Asks a witness to cosign a checkpoint (https://c2sp.org/tlog-witness, v1.0.0)."""

from collections.abc import Callable

from registry.core.tlog import policy
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import MAX_NOTE_BYTES, SignatureLine
from registry.core.tlog.witnessing import (
    MAX_ANSWER_BYTES,
    SIZE_TYPE,
    AddCheckpoint,
    log_id,
    read_answer,
    read_size,
)
from registry.errors import (
    ConflictError,
    Reason,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.remote.http import Answer, HTTPClient

TRIES = 3
"""Requests for one checkpoint: the second one knows what the witness cosigned last."""

_NOT_FOUND, _CONFLICT, _UNPROCESSABLE = 404, 409, 422

Prover = Callable[[int], tuple[bytes, ...]]
"""Size → the proof that the checkpoint extends the tree of that size."""


class WitnessClient:
    """One witness. What it says it cosigned last is only a hint: nobody has signed it."""

    def __init__(self, http: HTTPClient, witness: policy.Witness) -> None:
        """Make a client.

        Raises:
            UnavailableError: ``BAD_SETTING`` if the policy does not say where the witness is.
        """
        if witness.url is None:
            raise UnavailableError(
                Reason.BAD_SETTING,
                "the policy does not say where this witness is",
                where=witness.name,
                expected="witness <name> <vkey> <url>",
            )
        self.witness = witness
        self._http = http
        self._url = witness.url.rstrip("/")
        self._last = 0

    def add_checkpoint(self, head: SignedCheckpoint, prove: Prover) -> tuple[SignatureLine, ...]:
        """The witness's cosignatures of ``head``, checked.

        Raises:
            ConflictError: ``WITNESS_AHEAD`` if it says that it cosigned a larger tree.
            VerificationError: ``CONSISTENCY_PROOF`` if it says that ours is another one, or
                ``COSIGNATURE`` if its answer does not verify.
            MalformedError: The answer is none.
            UnavailableError: ``UNREACHABLE``, ``DEADLINE`` or ``REMOTE_STATUS``.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
        """
        size = head.checkpoint.size
        old = self._last if self._last <= size else 0
        for _ in range(TRIES):
            proof = prove(old) if 0 < old < size else ()
            answer = self._post(AddCheckpoint(old, proof, head.note))
            if answer.status == _CONFLICT and answer.content_type == SIZE_TYPE:
                cosigned = read_size(answer.body)
                if cosigned > size:
                    raise self._ahead(size, cosigned)
                if cosigned == old:
                    # It holds another root of this size.
                    raise self._inconsistent(old, size, answer)
                old = self._last = cosigned
                continue
            if answer.status in (_CONFLICT, _UNPROCESSABLE):
                raise self._inconsistent(old, size, answer)
            lines = read_answer(answer.expect().body, head, [self.witness.key])
            self._last = size
            return lines
        raise UnavailableError(
            Reason.REMOTE_STATUS,
            "a witness names another size each time that it is asked",
            where=self.witness.name,
            hint="does another process ask it for cosignatures of this log?",
        )

    def _ahead(self, size: int, cosigned: int) -> ConflictError:
        return ConflictError(
            Reason.WITNESS_AHEAD,
            "a witness says that it cosigned a larger tree than this",
            where=self.witness.name,
            expected=f"at most {size} entries",
            actual=f"{cosigned} entries",
        )

    def _inconsistent(self, old: int, size: int, answer: Answer) -> VerificationError:
        return VerificationError(
            Reason.CONSISTENCY_PROOF,
            "a witness does not see that our tree extends the one it cosigned",
            where=f"{self.witness.name}, {old} to {size} entries",
            actual=f"status {answer.status}",
        )

    def cosigned_last(self, origin: str) -> bytes | None:
        """The note that the witness shows as cosigned last; None if it shows none.

        Raises:
            RegistryError: As :meth:`add_checkpoint`.
        """
        url = f"{self._url}/{log_id(origin)}/checkpoint"
        answer = self._http.get(url, max_bytes=MAX_NOTE_BYTES)
        return None if answer.status == _NOT_FOUND else answer.expect().body

    def _post(self, asked: AddCheckpoint) -> Answer:
        return self._http.post(
            f"{self._url}/add-checkpoint",
            asked.to_bytes(),
            content_type="text/plain; charset=utf-8",
            max_bytes=MAX_ANSWER_BYTES,
        )


def is_alarming(error: RegistryError) -> bool:
    """Whether an answer hints at another history of our log, which is then to be looked at."""
    return error.reason in (Reason.WITNESS_AHEAD, Reason.CONSISTENCY_PROOF)
