"""Identity tokens: who somebody is, if a configured OpenID Connect issuer says so.

Everything about a token is in doubt until its signature holds, and even then only one issuer, one
audience and one span of time are believed. The time is an argument; the clock of the library that
checks signatures is never asked.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

import jwt

from registry.config import OIDCIssuer
from registry.core import encoding
from registry.core.access import Principal
from registry.core.attestation.identity import Identity
from registry.core.encoding import Number
from registry.errors import (
    MalformedError,
    Reason,
    RegistryError,
    UnauthenticatedError,
    UnavailableError,
)
from registry.remote import oidc
from registry.remote.http import HTTPClient, check_private
from registry.remote.oidc import TokenKey

MAX_TOKEN_CHARACTERS = 16 * 1024
"""Characters of an identity token."""

MAX_NAME_CHARACTERS = 1024
"""Characters of an identity; an e-mail address has at most 254."""

LEEWAY = timedelta(seconds=5)
"""How far an issuer's clock may be from ours."""

REFETCH_AFTER = timedelta(seconds=60)
"""The least time between two requests for the keys of one issuer, whatever tokens come."""

KEYS_LIVE = timedelta(hours=1)
"""How long keys are used before the issuer is asked again: a withdrawn key ends with them."""

ALGORITHMS: Final = frozenset({"RS256", "ES256", "ES384", "ES512", "EdDSA"})
"""Every algorithm that a token may be signed with; which one, its key decides."""

_SEGMENTS = 3
_SEGMENT = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
# RFC 5321 dot-atoms; quoted local parts name nobody that an issuer ever verified.
_EMAIL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?",
    re.ASCII,
)
_MAX_EMAIL = 254
# RFC 3986: a scheme and what follows, in the characters that a URI may have.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Somebody whose token holds.

    Attributes:
        challenges: What such a client signs to show that it holds its key: its subject, or the
            name that the certificate will have.
        principal: Who that is here, if it showed a bearer token of this registry.
    """

    identity: Identity
    challenges: tuple[str, ...]
    principal: Principal | None = None


class Issuers:
    """Judges tokens of the configured issuers. Any number of threads may ask."""

    def __init__(self, issuers: Sequence[OIDCIssuer], client: HTTPClient) -> None:
        """Take the list.

        Raises:
            MalformedError: ``BAD_SETTING`` for two lines about one issuer, or one without TLS.
        """
        self._known: dict[str, _Keys] = {}
        for issuer in issuers:
            if issuer.url in self._known:
                raise MalformedError(
                    Reason.BAD_SETTING, "an issuer is configured twice", where=issuer.url
                )
            if issuer.key_file is None:
                check_private(issuer.url)
            self._known[issuer.url] = _Keys(issuer, client)

    def __contains__(self, url: str) -> bool:
        return url in self._known

    def authenticate(self, token: str, at: datetime) -> Authenticated:
        """Whom the token names, if it holds at the time ``at``.

        Raises:
            UnauthenticatedError: ``MALFORMED_IDENTITY_TOKEN``, ``TOKEN_ALGORITHM``,
                ``UNKNOWN_ISSUER``, ``UNKNOWN_TOKEN_KEY``, ``TOKEN_SIGNATURE``,
                ``WRONG_AUDIENCE``, ``TOKEN_EXPIRED``, ``TOKEN_NOT_YET_VALID``,
                ``EMAIL_NOT_VERIFIED`` or ``UNUSABLE_IDENTITY``.
            UnavailableError, MalformedError, LimitExceededError: The issuer's keys cannot be had.
        """
        header, claims = _read(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            _refuse(
                Reason.TOKEN_ALGORITHM, "this token is not signed in an accepted way", algorithm
            )
        if "crit" in header:
            _refuse(Reason.MALFORMED_IDENTITY_TOKEN, "this token has critical extensions")
        keys = self._known.get(_text(claims, "iss"))
        if keys is None:
            _refuse(Reason.UNKNOWN_ISSUER, "no such issuer is configured here", claims["iss"])
        name = header.get("kid")
        if not isinstance(name, str):
            _refuse(Reason.UNKNOWN_TOKEN_KEY, "the token does not name its key")
        key = keys.key(name, at)
        # The key decides, not the token (RFC 8725 §3.1).
        if algorithm != key.algorithm:
            _refuse(
                Reason.TOKEN_ALGORITHM,
                "this token claims another algorithm than its key has",
                algorithm,
            )
        _verify(token, key)
        _check_claims(claims, keys.issuer, at)
        return _identify(claims)


class _Keys:
    """The keys of one issuer, fetched when needed and not too often."""

    def __init__(self, issuer: OIDCIssuer, client: HTTPClient) -> None:
        self.issuer = issuer
        self._client = client
        self._lock = threading.Lock()
        self._keys: Mapping[str, TokenKey] = {}
        self._asked_at: datetime | None = None
        self._had_at: datetime | None = None
        self._failure: RegistryError | None = None

    def key(self, name: str, at: datetime) -> TokenKey:
        # One request at a time: the others wait for its answer instead of asking as well.
        with self._lock:
            fresh = self._had_at is not None and at - self._had_at < KEYS_LIVE
            if not (fresh and name in self._keys) and self._may_ask(at):
                self._ask(at)
            elif not fresh:
                # Asked a moment ago, in vain. Old keys are not good enough.
                failed = self._failure
                raise UnavailableError(
                    # Why, as whoever asked first was told; whatever it was, it may pass.
                    Reason.UNREACHABLE if failed is None else failed.reason,
                    "the keys of this issuer cannot be had at present",
                    where=self.issuer.url,
                    actual="" if failed is None else str(failed),
                    hint="try again in a minute",
                )
            found = self._keys.get(name)
        if found is None:
            _refuse(Reason.UNKNOWN_TOKEN_KEY, "the issuer has no such key", name)
        return found

    def _ask(self, at: datetime) -> None:
        self._asked_at = at
        try:
            self._keys = self._fetch()
        except RegistryError as error:
            self._failure = error
            raise
        self._had_at = at

    def _may_ask(self, at: datetime) -> bool:
        return self._asked_at is None or abs(at - self._asked_at) >= REFETCH_AFTER

    def _fetch(self) -> Mapping[str, TokenKey]:
        if self.issuer.key_file is not None:
            return oidc.load_keys(self.issuer.key_file)
        return oidc.fetch_keys(self._client, self.issuer.url)


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, not yet believed. A second spelling of either is refused."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        _refuse(Reason.MALFORMED_IDENTITY_TOKEN, "this token is too long")
    segments = token.split(".")
    if len(segments) != _SEGMENTS:
        _refuse(Reason.MALFORMED_IDENTITY_TOKEN, "this is not a signed identity token")
    header, claims, _ = (_decode(segment) for segment in segments)
    return _members(header), _members(claims)


def _decode(segment: str) -> bytes:
    if not _SEGMENT.fullmatch(segment):
        _refuse(Reason.MALFORMED_IDENTITY_TOKEN, "a part of this token is not base64url")
    padded = segment.replace("-", "+").replace("_", "/") + "=" * (-len(segment) % 4)
    try:
        return encoding.base64_bytes(padded)
    except MalformedError:
        _refuse(Reason.MALFORMED_IDENTITY_TOKEN, "a part of this token is not base64url")


def _members(data: bytes) -> dict[str, Any]:
    try:
        value = encoding.read_foreign_numbers(data, what="part of a token")
    except MalformedError as error:
        _refuse(Reason.MALFORMED_IDENTITY_TOKEN, "a part of this token is not JSON", error.actual)
    if not isinstance(value, dict):
        _refuse(Reason.MALFORMED_IDENTITY_TOKEN, "a part of this token is not an object")
    return value


def _verify(token: str, key: TokenKey) -> None:
    try:
        jwt.PyJWS().decode(token, key.public, algorithms=[key.algorithm])
    except jwt.PyJWTError as error:
        raise UnauthenticatedError(
            Reason.TOKEN_SIGNATURE,
            "the signature of this token does not verify",
            actual=type(error).__name__,
        ) from error


def _check_claims(claims: Mapping[str, Any], issuer: OIDCIssuer, at: datetime) -> None:
    audience = claims.get("aud")
    # A token that is good elsewhere too could be replayed here by whoever got it there.
    if audience not in (issuer.audience, [issuer.audience]):
        raise UnauthenticatedError(
            Reason.WRONG_AUDIENCE,
            "this token was not made for this registry alone",
            expected=issuer.audience,
            actual=ascii(audience)[:200],
        )
    now, leeway = at.timestamp(), LEEWAY.total_seconds()
    if now >= _seconds(claims, "exp") + leeway:
        _refuse(Reason.TOKEN_EXPIRED, "this token has expired")
    begins = [_seconds(claims, name) for name in ("iat", "nbf") if name == "iat" or name in claims]
    if now < max(begins) - leeway:
        _refuse(Reason.TOKEN_NOT_YET_VALID, "this token is not valid yet")


def _identify(claims: Mapping[str, Any]) -> Authenticated:
    issuer, subject = _text(claims, "iss"), _text(claims, "sub")
    if not issuer.isascii():
        _refuse(Reason.UNUSABLE_IDENTITY, "this issuer's name does not fit into a certificate")
    if "email" not in claims:
        if not _URI.fullmatch(subject) or len(subject) > MAX_NAME_CHARACTERS:
            raise UnauthenticatedError(
                Reason.UNUSABLE_IDENTITY,
                "the subject of this token does not fit into a certificate",
                expected="a URI, or a verified e-mail address",
                actual=ascii(subject[:100]),
            )
        return Authenticated(Identity(issuer, subject), (subject,))
    if claims.get("email_verified") is not True:
        _refuse(
            Reason.EMAIL_NOT_VERIFIED,
            "the issuer does not say that it verified this e-mail address",
        )
    email = _text(claims, "email")
    if not _EMAIL.fullmatch(email) or len(email) > _MAX_EMAIL:
        _refuse(
            Reason.UNUSABLE_IDENTITY, "this e-mail address does not fit into a certificate", email
        )
    return Authenticated(Identity(issuer, email), (subject, email))


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or isinstance(value, Number) or not value:
        _refuse(Reason.MALFORMED_IDENTITY_TOKEN, f"this token has no {name}")
    return value


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, Number):
        _refuse(Reason.MALFORMED_IDENTITY_TOKEN, f"this token has no {name}")
    try:
        return encoding.decimal(value)
    except MalformedError:
        _refuse(Reason.MALFORMED_IDENTITY_TOKEN, f"this token's {name} is not a time", value)


def _refuse(reason: Reason, what: str, actual: object = "") -> NoReturn:
    raise UnauthenticatedError(reason, what, actual=ascii(actual)[:200] if actual else "")
