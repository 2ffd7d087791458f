"""Logged statements ↔ protobuf."""

from registry.api.v1 import statement_pb2
from registry.core.tlog.receipt import Receipt
from registry.wire import log


def logged_to_proto(
    envelope: bytes, receipt: Receipt, predicate_type: str, principal: str
) -> statement_pb2.LoggedStatement:
    """Write a statement with its receipt."""
    return statement_pb2.LoggedStatement(
        envelope=envelope,
        receipt=log.receipt_to_proto(receipt),
        predicate_type=predicate_type,
        principal=principal,
    )


def logged_from_proto(message: statement_pb2.LoggedStatement) -> tuple[bytes, Receipt]:
    """Read envelope and receipt, without judging them; the conveniences are left out.

    Raises:
        MalformedError: What is wrong with the checkpoint.
    """
    return message.envelope, log.receipt_from_proto(message.receipt)
