"""What watchers want and are told ↔ protobuf."""

from collections.abc import Iterable

from registry.api.v1 import log_service_pb2 as pb
from registry.core.digest import SHA256_SIZE
from registry.core.encoding import hex_bytes
from registry.core.records.wanted import Said, Wanted
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.receipt import Receipt
from registry.core.tlog.selection import Selection
from registry.errors import MalformedError, Reason
from registry.wire import log


def wanted_from_proto(message: pb.WatchRequest) -> Wanted:
    """Read what is wanted.

    Raises:
        MalformedError: ``MALFORMED_FIELD`` or ``MALFORMED_HEX`` for what is no digest.
        LimitExceededError: ``SELECTION``.
    """
    return Wanted(
        Selection(
            frozenset(message.identities),
            frozenset(message.issuers),
            frozenset(hex_bytes(item, SHA256_SIZE).hex() for item in message.key_ids),
            frozenset(_digests(message.digests)),
        ),
        frozenset(message.predicate_types),
        frozenset(message.names),
        frozenset(item.hex() for item in _digests(message.subjects)),
    )


def wanted_to_proto(wanted: Wanted, start: int, *, until_newest: bool) -> pb.WatchRequest:
    """Ask for what is wanted."""
    selection = wanted.selection
    return pb.WatchRequest(
        start=start,
        until_newest=until_newest,
        identities=sorted(selection.identities),
        issuers=sorted(selection.issuers),
        key_ids=sorted(selection.key_ids),
        digests=sorted(selection.digests),
        predicate_types=sorted(wanted.predicate_types),
        names=sorted(wanted.names),
        subjects=[bytes.fromhex(item) for item in sorted(wanted.subjects)],
    )


def entry_to_proto(body: bytes, receipt: Receipt, envelope: bytes, said: Said) -> pb.WatchResponse:
    """Tell of an entry."""
    return pb.WatchResponse(
        entry=pb.WatchedEntry(
            body=body,
            receipt=log.receipt_to_proto(receipt),
            envelope=envelope,
            predicate_type=said.predicate_type,
            name=said.name,
            version=said.version,
        )
    )


def progress_to_proto(index: int, head: SignedCheckpoint) -> pb.WatchResponse:
    """Tell how far the stream is complete."""
    return pb.WatchResponse(progress=pb.WatchProgress(next=index, checkpoint=head.note))


def _digests(values: Iterable[bytes]) -> Iterable[bytes]:
    for item in values:
        if len(item) != SHA256_SIZE:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "a digest has 32 bytes",
                actual=f"{len(item)} bytes",
            )
        yield item
