"""Blobs ↔ protobuf."""

from registry.api.v1 import artifact_pb2


def blob_to_proto(sha256: bytes, sha512: bytes, size: int) -> artifact_pb2.Blob:
    """Write what is known of a blob."""
    return artifact_pb2.Blob(sha256=sha256, sha512=sha512, size=size)
