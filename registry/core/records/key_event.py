"""Key events: which key speaks for whom, from which entry of the log on, until which.

The registry's operator signs them. The operator's own key is admitted by entry 0 of the log, signed
by itself: whoever pins the log's key thereby pins the operator's.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from registry.core import encoding
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject, check_subject
from registry.core.encoding import Text, Time, Value
from registry.core.keys import PublicKey
from registry.core.records import NAMESPACE
from registry.core.records.names import check_namespace, check_principal
from registry.errors import MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "key-event/v1"
"""The predicate type of a key event."""

_EPHEMERAL = "ephemeral until "
_NOTE = re.compile(
    rf"{_EPHEMERAL}([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}Z)"
    r", certificate sha256:[0-9a-f]{64}",
    re.ASCII,
)

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


def statement(
    action: str,
    key: PublicKey,
    principal: str,
    *,
    roles: Sequence[str],
    namespaces: Sequence[str],
    issued_at: datetime,
    note: str = "",
    compromised_since: datetime | None = None,
) -> Statement[KeyEvent]:
    """The statement that admits or ends a key.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    members: dict[str, object] = {
        "action": action,
        "key": encoding.base64_text(key.der),
        "principal": principal,
        "roles": list(roles),
        "namespaces": list(namespaces),
        "issued_at": encoding.time_text(issued_at),
        "note": note,
    }
    if compromised_since is not None:
        members["compromised_since"] = encoding.time_text(compromised_since)
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=encoding.convert(members, KeyEvent),
        predicate_type=PREDICATE_TYPE,
        subject=(Subject.named(principal, bytes.fromhex(key.key_id)),),
    )


def ephemeral_note(until: datetime, certificate_sha256: bytes) -> str:
    """What the operator notes of a key that a certificate admits: until when, and which one."""
    return f"{_EPHEMERAL}{encoding.time_text(until)}, certificate sha256:{certificate_sha256.hex()}"


def ephemeral_until(event: KeyEvent) -> datetime | None:
    """When a key ends that a certificate admitted; None for a key that stays."""
    match = _NOTE.fullmatch(event.note)
    return None if match is None else datetime.fromisoformat(match[1])


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
