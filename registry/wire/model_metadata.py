"""Model and server metadata of the Open Inference Protocol ↔ what they name."""

from google.protobuf.message import DecodeError

from registry.api.openinference.v2 import messages_pb2
from registry.errors import MalformedError, Reason


def write_question(name: str = "", version: str = "") -> bytes:
    """A ``ModelMetadataRequest``; without a name, a ``ServerMetadataRequest``."""
    return messages_pb2.MetadataRequest(name=name, version=version).SerializeToString()


def read_model(data: bytes) -> tuple[str, tuple[str, ...]]:
    """The name and the versions in a ``ModelMetadataResponse``.

    Raises:
        MalformedError: ``UNREPORTED``.
    """
    message = messages_pb2.ModelMetadata()
    _parse(message, data)
    return message.name, tuple(message.versions)


def read_server(data: bytes) -> tuple[str, str]:
    """The name and the version in a ``ServerMetadataResponse``.

    Raises:
        MalformedError: ``UNREPORTED``.
    """
    message = messages_pb2.ServerMetadata()
    _parse(message, data)
    return message.name, message.version


def _parse(message: messages_pb2.ModelMetadata | messages_pb2.ServerMetadata, data: bytes) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise MalformedError(
            Reason.UNREPORTED, "these are no metadata of the Open Inference Protocol"
        ) from error
