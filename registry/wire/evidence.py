"""Evidence, endorsements and bindings ↔ protobuf."""

from collections.abc import Iterable

from registry.api.v1 import evidence_pb2
from registry.core.evidence.binding import Binding
from registry.core.evidence.endorsements import Role
from registry.errors import MalformedError, Reason


def endorsements_to_proto(
    items: Iterable[tuple[Role, bytes]],
) -> list[evidence_pb2.Endorsement]:
    """Write endorsements."""
    return [evidence_pb2.Endorsement(role=role.value, data=data) for role, data in items]


def endorsements_from_proto(
    messages: Iterable[evidence_pb2.Endorsement],
) -> list[tuple[Role, bytes]]:
    """Read endorsements.

    Raises:
        MalformedError: ``MALFORMED_FIELD`` for an unknown role.
    """
    return [(role_of(item.role), item.data) for item in messages]


def role_of(name: str) -> Role:
    """The role of this name.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    try:
        return Role(name)
    except ValueError as error:
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "this is not a role of an endorsement",
            expected=", ".join(Role),
            actual=name[:80],
        ) from error


def binding_to_proto(binding: Binding) -> evidence_pb2.EvidenceBinding:
    """Write a binding; what is not claimed stays empty."""
    return evidence_pb2.EvidenceBinding(
        nonce=binding.nonce or b"",
        session_key=binding.session_key or b"",
        model=binding.model or b"",
        gpu=binding.gpu or b"",
        context=binding.context or b"",
    )


def binding_from_proto(message: evidence_pb2.EvidenceBinding) -> Binding:
    """Read a binding; what is empty is not claimed."""
    return Binding(
        nonce=message.nonce or None,
        session_key=message.session_key or None,
        model=message.model or None,
        gpu=message.gpu or None,
        context=message.context or None,
    )
