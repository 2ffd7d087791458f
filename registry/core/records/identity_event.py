"""Identity events: which certified names speak for whom, from which entry of the log on.

A principal may sign without a lasting key, by short-lived certificates (Sigstore): then the log
says which name, vouched for by which issuer, speaks for it. The registry's operator signs that, as
it signs key events.
"""

from typing import Annotated, Literal

import msgspec

from registry.core import encoding
from registry.core.attestation.identity import Identity
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject, check_subject
from registry.core.digest import sha256
from registry.core.encoding import Time, Value
from registry.core.records import NAMESPACE
from registry.core.records.key_event import Role
from registry.core.records.names import check_namespace, check_principal
from registry.errors import MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "identity-event/v1"
"""The predicate type of an identity event."""

IdentityText = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
"""An issuer's URL, or a name that it vouches for: at most 2048 characters."""


class IdentityEvent(Value, frozen=True):
    """The operator says: this name does (or no longer does) speak for this principal.

    Attributes:
        action: ``add`` admits the name, ``retire`` ends that.
        issuer: The OIDC issuer that vouches for the name.
        subject_name: The URI, e-mail address or other name in the certificate, letter for letter.
        roles: What the principal may do with it.
        namespaces: Which names the principal may publish under, such as ``acme/*``.
    """

    action: Literal["add", "retire"]
    issuer: IdentityText
    subject_name: IdentityText
    principal: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    roles: tuple[Role, ...]
    namespaces: Annotated[tuple[str, ...], msgspec.Meta(max_length=256)]
    issued_at: Time

    @property
    def identity(self) -> Identity:
        """The name, with who vouches for it."""
        return Identity(self.issuer, self.subject_name)


def identity_digest(identity: Identity) -> bytes:
    """The SHA-256 that names an identity as a subject: over its RFC 8785 JSON."""
    return sha256(encoding.write_json({"issuer": identity.issuer, "name": identity.name}))


def build(
    action: str,
    identity: Identity,
    principal: str,
    *,
    roles: tuple[str, ...],
    namespaces: tuple[str, ...],
    issued_at: str,
) -> Statement[IdentityEvent]:
    """The statement about one identity.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    event = encoding.convert(
        {
            "action": action,
            "issuer": identity.issuer,
            "subject_name": identity.name,
            "principal": principal,
            "roles": list(roles),
            "namespaces": list(namespaces),
            "issued_at": issued_at,
        },
        IdentityEvent,
    )
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=event,
        predicate_type=PREDICATE_TYPE,
        subject=(Subject.named(principal, identity_digest(identity)),),
    )


def validate(subject: tuple[Subject, ...], event: IdentityEvent) -> None:
    """Check what types cannot express: names, and that the identity is the subject.

    Raises:
        MalformedError: ``MALFORMED_NAME`` or ``SUBJECT_MISMATCH``.
    """
    check_principal(event.principal)
    for pattern in event.namespaces:
        check_namespace(pattern)
    check_subject(subject, event.principal)
    expected = identity_digest(event.identity).hex()
    if subject[0].digest.sha256 != expected:
        raise MalformedError(
            Reason.SUBJECT_MISMATCH,
            "the subject is not the identity of this event",
            expected=expected,
            actual=subject[0].digest.sha256,
        )
