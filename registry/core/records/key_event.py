"""Key events: which key speaks for whom, from which entry of the log on, until which.

The registry's operator signs them. The operator's own key is admitted by entry 0 of the log, signed
by itself: whoever pins the log's key thereby pins the operator's.
"""

from typing import Annotated, Literal

import msgspec

from registry.core import encoding
from registry.core.attestation.statement import Subject, check_subject
from registry.core.encoding import Text, Time, Value
from registry.core.keys import PublicKey
from registry.core.records import NAMESPACE
from registry.core.records.names import check_namespace, check_principal
from registry.errors import MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "key-event/v1"
"""The predicate type of a key event."""

Role = Literal["publisher", "node", "auditor", "admin", "operator"]
"""What a principal may do."""


class KeyEvent(Value, frozen=True):
    """The operator says: this key is (or no longer is) a key of this principal.

    Attributes:
        action: ``add`` admits the key, ``retire`` ends it in good order, ``compromise`` says that
            somebody else may have had it.
        key: Base64 of the canonical DER SubjectPublicKeyInfo; its SHA-256 is the subject.
        roles: What the principal may do with it.
        namespaces: Which names the principal may publish under, such as ``acme/*``.
        compromised_since: Signatures logged before this claimed time stay believable.
    """

    action: Literal["add", "retire", "compromise"]
    key: Annotated[str, msgspec.Meta(max_length=1024)]
    principal: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    roles: tuple[Role, ...]
    namespaces: Annotated[tuple[str, ...], msgspec.Meta(max_length=256)]
    issued_at: Time
    compromised_since: Time | msgspec.UnsetType = msgspec.UNSET
    note: Text = ""


def public_key(event: KeyEvent) -> PublicKey:
    """The key that the event is about.

    Raises:
        MalformedError: ``MALFORMED_BASE64``, ``MALFORMED_KEY`` or ``KEY_ALGORITHM``.
    """
    return PublicKey.parse(encoding.base64_bytes(event.key))


def validate(subject: tuple[Subject, ...], event: KeyEvent) -> None:
    """Check what types cannot express: names, the key, and that it is the subject.

    Raises:
        MalformedError: ``MALFORMED_NAME``, ``SUBJECT_MISMATCH``, or what is wrong with the key.
    """
    check_principal(event.principal)
    for pattern in event.namespaces:
        check_namespace(pattern)
    check_subject(subject, event.principal)
    key = public_key(event)
    if subject[0].digest.sha256 != key.key_id:
        raise MalformedError(
            Reason.SUBJECT_MISMATCH,
            "the subject is not the key of this event",
            expected=key.key_id,
            actual=subject[0].digest.sha256,
        )
