"""What a replay says of the record that was replayed, compared with the record itself."""

from registry.core import encoding
from registry.core.records import inference
from registry.core.records.replay import Replay
from registry.core.tlog.merkle import leaf_hash
from registry.errors import NotFoundError, Reason, RefusedError
from registry.services.journals import Journals


def check_replayed(journals: Journals, said: Replay) -> None:
    """Check that a replay is about a record that is registered here, and tells it as it is.

    Raises:
        RefusedError: ``UNKNOWN_REFERENCE`` or ``REPLAY_SUBJECT``.
    """
    receipt = said.receipt
    where = f"{receipt.shim_id}/{receipt.intent_n}"
    try:
        data = journals.record(bytes.fromhex(receipt.shim_id), receipt.n).data
    except NotFoundError as error:
        raise RefusedError(
            Reason.UNKNOWN_REFERENCE,
            "the replay names a record that is not registered here",
            where=where,
            hint="replay against the registry that has the receipt",
        ) from error
    record = inference.parse(data)
    if not isinstance(record, inference.Completion):
        raise RefusedError(
            Reason.REPLAY_SUBJECT,
            "only an output can be replayed, and this record is about none",
            where=where,
            actual=type(record).__name__.lower(),
        )
    for what, expected, actual in (
        ("leaf", leaf_hash(data).hex(), receipt.leaf),
        ("intent", str(record.intent_n), str(receipt.intent_n)),
        ("model", record.model, said.model),
        ("runtime", record.runtime, said.recorded),
        ("output", record.response.content_digest, said.recorded_output),
    ):
        if expected != actual:
            raise RefusedError(
                Reason.REPLAY_SUBJECT,
                "the replay tells the record otherwise than it is",
                where=f"{where}, {what}",
                expected=_shown(expected),
                actual=_shown(actual),
            )


def _shown(value: object) -> str:
    return value if isinstance(value, str) else encoding.write_json(value).decode()[:400]
