"""Receipts ↔ protobuf."""

from registry.api.v1 import log_pb2
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.receipt import Receipt


def receipt_to_proto(receipt: Receipt) -> log_pb2.Receipt:
    """Write a receipt."""
    return log_pb2.Receipt(index=receipt.index, proof=receipt.proof, checkpoint=receipt.head.note)


def receipt_from_proto(message: log_pb2.Receipt) -> Receipt:
    """Read a receipt, without judging it.

    Raises:
        MalformedError: What is wrong with the checkpoint.
    """
    return Receipt(message.index, tuple(message.proof), SignedCheckpoint.parse(message.checkpoint))
