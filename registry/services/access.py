"""Who is calling, and adding or ending principals. Deny by default.

Tokens are 32 random bytes; only their SHA-256 is stored, and looked up in memory. Every change of a
key is a key event in the log, signed by the operator's key, so that an auditor can check it later.
"""

import hashlib
import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from registry.core import encoding
from registry.core.access import ROLES, Principal
from registry.core.attestation.identity import Identity
from registry.core.attestation.statement import Statement
from registry.core.keys import PublicKey
from registry.core.records import identity_event, key_event
from registry.core.records.identity_event import IdentityEvent
from registry.core.records.names import check_namespace, check_principal
from registry.core.tlog.receipt import Receipt
from registry.errors import (
    ConflictError,
    ForbiddenError,
    MalformedError,
    NotFoundError,
    Reason,
    UnauthenticatedError,
)
from registry.services.keyring import Keyring
from registry.services.operator import OPERATOR, Operator
from registry.services.sequencing import Sequencer
from registry.services.vouched import Vouched
from registry.signing.file import StatementSigner
from registry.storage.sql import access
from registry.storage.sql.access import StoredPrincipal, StoredToken
from registry.storage.sql.engine import Database

TOKEN_PREFIX = "provreg_"  # noqa: S105 - what tokens start with, so that scanners find leaks
"""What every token starts with."""

TOKEN_BYTES = 32
"""Random bytes in a token."""

MAX_TOKEN_CHARACTERS = 128
"""Characters of a token that are looked at."""

Clock = Callable[[], datetime]
"""Gives the time, in UTC."""


def _from_seconds(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


class Access:
    """Principals, their tokens and their keys."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        sequencer: Sequencer,
        operator: StatementSigner,
        clock: Clock,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._operator = Operator(operator, keyring, sequencer)
        self.vouched = Vouched()
        self.vouched.load(database)
        self._clock = clock
        self._lock = threading.Lock()
        with database.read() as connection:
            self._principals = {item.name: item for item in access.principals(connection)}
            self._tokens = {item.token_hash: item for item in access.tokens(connection)}

    def authenticate(self, token: str | None) -> Principal:
        """Who holds this token.

        Raises:
            UnauthenticatedError: ``NO_TOKEN``, ``UNKNOWN_TOKEN``, ``TOKEN_EXPIRED`` or
                ``TOKEN_REVOKED``.
        """
        if not token:
            raise UnauthenticatedError(
                Reason.NO_TOKEN,
                "this call needs a token",
                hint="set PROVREG_TOKEN, or use --token-file",
            )
        # The lookup compares hashes of the token, so its timing tells nothing about stored tokens.
        stored = self._tokens.get(_hash(token[:MAX_TOKEN_CHARACTERS]))
        if stored is None:
            raise UnauthenticatedError(
                Reason.UNKNOWN_TOKEN, "this token is not known here", hint="ask the operator"
            )
        if stored.revoked_at is not None:
            raise UnauthenticatedError(Reason.TOKEN_REVOKED, "this token was revoked")
        if stored.expires_at is not None and self._clock().timestamp() >= stored.expires_at:
            raise UnauthenticatedError(
                Reason.TOKEN_EXPIRED, "this token has expired", hint="ask the operator for another"
            )
        principal = self._principals[stored.principal]
        return Principal(principal.name, principal.roles, principal.namespaces)

    def current(self, name: str) -> Principal:
        """A principal that was authenticated a moment ago.

        Raises:
            UnauthenticatedError: ``TOKEN_REVOKED`` if it was revoked since.
        """
        principal = self._principals[name]
        if principal.revoked_at is not None:
            raise UnauthenticatedError(Reason.TOKEN_REVOKED, "this principal was revoked")
        return Principal(principal.name, principal.roles, principal.namespaces)

    def introduce_operator(self) -> None:
        """Make entry 0 of an empty log: the operator's key, admitted by itself."""
        self._log_key("add", self._operator.public_key, OPERATOR, ("operator",), (), genesis=True)

    def add(
        self,
        name: str,
        roles: Sequence[str],
        namespaces: Sequence[str],
        keys: Sequence[PublicKey],
        expires_at: datetime | None,
        *,
        identities: Sequence[Identity] = (),
        token: str | None = None,
    ) -> tuple[str, Principal, list[Receipt]]:
        """Add a principal; its token is returned once and never again.

        ``token`` is for the first administrator, whose token is on the disk before it works.

        Raises:
            MalformedError: ``MALFORMED_NAME``, or ``MALFORMED_FIELD`` for roles and identities.
            ConflictError: ``PRINCIPAL_EXISTS``, ``KEY_KNOWN`` or ``IDENTITY_KNOWN``.
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        check_principal(name)
        for pattern in namespaces:
            check_namespace(pattern)
        if not roles or any(role not in ROLES for role in roles) or name == OPERATOR:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "a principal has a name of its own and at least one role",
                expected=", ".join(ROLES),
                actual=", ".join(roles) or "no role",
            )
        with self._lock:
            if name in self._principals:
                raise ConflictError(
                    Reason.PRINCIPAL_EXISTS,
                    "there is or was a principal of this name",
                    where=name,
                    hint="names are never given twice, so that old records stay clear",
                )
            self._require_fresh(keys)
            identities = tuple(dict.fromkeys(identities))
            for identity in identities:
                self.vouched.require_free(identity, self._principals)
            token = token or new_token()
            principal = StoredPrincipal(
                name, tuple(dict.fromkeys(roles)), tuple(dict.fromkeys(namespaces))
            )
            stored = StoredToken(
                _hash(token),
                name,
                None if expires_at is None else int(expires_at.timestamp()),
                None,
            )
            # Before anything is logged, so that a name that is none leaves nothing behind.
            vouched = [self._vouch("add", item, principal) for item in identities]
            # Keys first: if we die in between, the operator runs the command again under another
            # name; a principal whose token works but whose keys do not would be harder to see.
            receipts = [
                self._log_key("add", key, name, principal.roles, principal.namespaces)
                for key in keys
            ]
            receipts += [self._log_identity(item) for item in vouched]
            with self._database.write() as connection:
                access.add_principal(connection, principal)
                access.add_token(connection, stored)
            self._principals[name] = principal
            self._tokens[stored.token_hash] = stored
        return token, self.describe(name), receipts

    def revoke(
        self, name: str, *, compromised: bool, compromised_since: datetime | None = None
    ) -> tuple[Principal, list[Receipt]]:
        """End a principal: its tokens at once, its keys by an entry in the log.

        ``compromised_since`` is when somebody else may first have had the keys, to the second.

        Raises:
            NotFoundError: ``UNKNOWN_PRINCIPAL``.
            MalformedError: ``MALFORMED_FIELD`` for a time that is to come, or without compromise.
            ForbiddenError: ``ROLE`` for the last administrator.
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        now = self._clock()
        if compromised_since is not None and (not compromised or compromised_since > now):
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "a key is compromised since a time that has been, if it is compromised",
                expected=f"at most {encoding.time_text(now)}",
                actual=encoding.time_text(compromised_since),
            )
        with self._lock:
            principal = self._principals.get(name)
            if principal is None:
                raise NotFoundError(
                    Reason.UNKNOWN_PRINCIPAL,
                    "there is no principal of this name",
                    where=name[:80],
                    hint="run: provreg principal list",
                )
            admins = [
                item.name
                for item in self._principals.values()
                if "admin" in item.roles and item.revoked_at is None
            ]
            if admins == [name]:
                raise ForbiddenError(
                    Reason.ROLE,
                    "this is the last administrator",
                    where=name,
                    hint="add another one first",
                )
            at = int(now.timestamp())
            # Tokens first: what they could do ends now, whatever happens to the log.
            with self._database.write() as connection:
                access.revoke(connection, name, at)
                stored = access.tokens(connection)
            self._tokens = {item.token_hash: item for item in stored}
            self._principals[name] = StoredPrincipal(
                name, principal.roles, principal.namespaces, principal.revoked_at or at
            )
            # A key that ended in good order may be found to have been stolen before.
            keys = (self._keyring.unharmed_keys_of if compromised else self._keyring.keys_of)(name)
            action = "compromise" if compromised else "retire"
            receipts = [
                self._log_key(
                    action,
                    key,
                    name,
                    principal.roles,
                    principal.namespaces,
                    compromised_since=compromised_since,
                )
                for key in keys
            ]
            receipts += [
                self._log_identity(self._vouch("retire", item, principal))
                for item in self.vouched.identities_of(name)
            ]
        return self.describe(name), receipts

    def exists(self, name: str) -> bool:
        """Whether there is, or was, a principal of this name."""
        return name in self._principals

    def describe(self, name: str) -> Principal:
        """What is known of one principal."""
        principal = self._principals[name]
        expiries = [item.expires_at for item in self._tokens.values() if item.principal == name]
        finite = [item for item in expiries if item is not None]
        return Principal(
            name,
            principal.roles,
            principal.namespaces,
            tuple(key.key_id for key in self._keyring.keys_of(name)),
            _from_seconds(max(finite)) if finite and len(finite) == len(expiries) else None,
            _from_seconds(principal.revoked_at),
            tuple((item.issuer, item.name) for item in self.vouched.identities_of(name)),
        )

    def list(self) -> "list[Principal]":
        """All principals, by name."""
        return [self.describe(name) for name in sorted(self._principals)]

    def _vouch(
        self, action: str, identity: Identity, principal: StoredPrincipal
    ) -> Statement[IdentityEvent]:
        return identity_event.build(
            action,
            identity,
            principal.name,
            roles=principal.roles,
            namespaces=principal.namespaces,
            issued_at=encoding.time_text(self._clock()),
        )

    def _log_identity(self, statement: Statement[IdentityEvent]) -> Receipt:
        receipt = self._operator.say(statement)
        self.vouched.note(statement.predicate)
        return receipt

    def _require_fresh(self, keys: Sequence[PublicKey]) -> None:
        for key in keys:
            if self._keyring.events(key.key_id):
                raise ConflictError(
                    Reason.KEY_KNOWN,
                    "this key was admitted here before",
                    where=key.key_id,
                    hint="make a new one with: provreg key generate",
                )

    def _log_key(
        self,
        action: str,
        key: PublicKey,
        name: str,
        roles: Sequence[str],
        namespaces: Sequence[str],
        *,
        genesis: bool = False,
        compromised_since: datetime | None = None,
    ) -> Receipt:
        statement = key_event.statement(
            action,
            key,
            name,
            roles=roles,
            namespaces=namespaces,
            issued_at=self._clock(),
            compromised_since=compromised_since,
        )
        return self._operator.say(statement, genesis=genesis)


def new_token() -> str:
    """A fresh random token."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
