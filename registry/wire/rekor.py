"""Sigstore's Rekor v2 messages ↔ requests and entries of the log."""

from registry.api.sigstore import common_pb2, rekor_v1_pb2, rekor_v2_pb2
from registry.core.tlog.entry_request import EntryRequest
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.errors import MalformedError, Reason


def request_from_proto(message: rekor_v2_pb2.CreateEntryRequest) -> EntryRequest:
    """Read a request.

    Raises:
        MalformedError: ``MALFORMED_FIELD`` if it has fields that are not known here.
    """
    record = message.hashed_rekord_request_v002
    signature = record.signature
    verifier = signature.verifier
    known = rekor_v2_pb2.CreateEntryRequest()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if known.ByteSize() != message.ByteSize():
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "the request has a field that this log does not know",
            expected="a hashedRekordRequestV002 and nothing else",
        )
    try:
        details = common_pb2.PublicKeyDetails.Name(verifier.key_details)
    except ValueError:
        details = str(int(verifier.key_details))
    return EntryRequest(
        record.digest,
        signature.content,
        details,
        verifier.public_key.raw_bytes,
        verifier.x509_certificate.raw_bytes,
    )


def entry_to_proto(entry: TransparencyLogEntry) -> rekor_v1_pb2.TransparencyLogEntry:
    """Write an entry with its proof."""
    return rekor_v1_pb2.TransparencyLogEntry(
        log_index=entry.index,
        log_id=common_pb2.LogId(key_id=entry.log_id),
        kind_version=rekor_v1_pb2.KindVersion(kind=entry.kind, version=entry.version),
        integrated_time=entry.integrated_time,
        inclusion_proof=rekor_v1_pb2.InclusionProof(
            log_index=entry.leaf_index,
            root_hash=entry.root,
            tree_size=entry.size,
            hashes=entry.proof,
            checkpoint=rekor_v1_pb2.Checkpoint(envelope=entry.checkpoint.decode()),
        ),
        canonicalized_body=entry.body,
    )
