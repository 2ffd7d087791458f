"""Certificates on request, as Fulcio's second API has it: ``/api/v2/signingCert``.

What stock Sigstore clients send is accepted: the token as a bearer token or among the credentials,
the key in a signing request or with a signature over the token's subject. What they do not send is
refused. Certificates come with their embedded SCT, the authority's own certificate last.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from registry.core import encoding
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    UnauthenticatedError,
    UnavailableError,
)
from registry.server.http.routing import JSON, Request, Response, Route, refusal
from registry.services.identity import Certification, Possession

MAX_REQUEST_BYTES = 48 * 1024
"""Bytes of a request: a token of 16 KiB, a signing request of 8 KiB, and their framing."""

MAX_AT_ONCE = 8
"""Requests that are worked on at once; a slow issuer holds up no other part of the registry."""

MAX_WAITING = 64
"""Requests that may be here at once; more are told to come back."""

_CSR = "certificateSigningRequest"
_PROOF = "proofOfPossession"
_ALGORITHMS = (None, "ECDSA", "PUBLIC_KEY_ALGORITHM_UNSPECIFIED")


class CertificateRoutes:
    """Answers requests for certificates."""

    def __init__(self, certification: Certification) -> None:
        self._certification = certification
        self._workers = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="identity")
        self._here = 0

    def routes(self) -> tuple[Route, ...]:
        """What is served where."""
        return (
            Route("POST", "/api/v2/signingCert", self.issue, MAX_REQUEST_BYTES),
            Route("GET", "/api/v2/trustBundle", self.trust_bundle),
        )

    async def issue(self, request: Request) -> Response:
        """Issue a certificate. The status is 200: sigstore-go takes no other."""
        try:
            return await self._issue(request)
        except LimitExceededError as error:
            if error.reason is not Reason.TOO_MANY_CERTIFICATES:
                raise
            return replace(refusal(error), status=HTTPStatus.TOO_MANY_REQUESTS)

    async def _issue(self, request: Request) -> Response:
        token, shown = read_request(request)
        if self._here >= MAX_WAITING:
            raise UnavailableError(
                Reason.LOG_BUSY,
                "too many requests for certificates wait",
                expected=f"at most {MAX_WAITING}",
                hint="try again in a second",
            )
        self._here += 1
        loop = asyncio.get_running_loop()
        try:
            # A caller that goes away leaves its certificate in the log, and nobody with it.
            certified = await loop.run_in_executor(
                self._workers, self._certification.issue, token, shown
            )
        finally:
            self._here -= 1
        return _chains("signedCertificateEmbeddedSct", certified.chain)

    async def trust_bundle(self, _request: Request) -> Response:
        """The authority's own certificate, for clients that ask; others pin it."""
        chain = {"certificates": self._certification.chain}
        return Response(body=encoding.write_json({"chains": [chain]}), media_type=JSON)


def read_request(request: Request) -> tuple[str | None, Possession | bytes]:
    """The token, and what shows that the caller holds its key.

    Raises:
        MalformedError: ``MALFORMED_JSON``, ``MALFORMED_FIELD``, ``MALFORMED_BASE64`` or
            ``KEY_ALGORITHM``.
        UnauthenticatedError: ``MALFORMED_IDENTITY_TOKEN`` for two different tokens.
    """
    body = encoding.read_foreign_json(request.body, what="request for a certificate")
    members = _object(body, "request", "credentials", "publicKeyRequest", _CSR)
    credentials = _object(members.get("credentials", {}), "credentials", "oidcIdentityToken")
    token = _string(credentials, "oidcIdentityToken") if credentials else request.token
    if request.token not in (None, token):
        raise UnauthenticatedError(
            Reason.MALFORMED_IDENTITY_TOKEN, "this request carries two different tokens"
        )
    if (_CSR in members) == ("publicKeyRequest" in members):
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            "a request shows its key in one way",
            expected=f"{_CSR} or publicKeyRequest",
        )
    if _CSR in members:
        return token, encoding.base64_bytes(_string(members, _CSR))
    asked = _object(members["publicKeyRequest"], "publicKeyRequest", "publicKey", _PROOF)
    key = _object(asked.get("publicKey"), "publicKey", "algorithm", "content")
    if key.get("algorithm") not in _ALGORITHMS:
        raise MalformedError(
            Reason.KEY_ALGORITHM,
            "certificates are for P-256 keys only",
            expected="ECDSA",
            actual=ascii(key["algorithm"])[:80],
        )
    content = _string(key, "content").encode("utf-8", "replace")
    return token, Possession(content, encoding.base64_bytes(_string(asked, _PROOF)))


def _object(value: object, name: str, *allowed: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not set(value) <= set(allowed):
        raise MalformedError(
            Reason.MALFORMED_FIELD,
            f"this is not a {name}",
            expected="an object with " + ", ".join(allowed),
            actual=ascii(sorted(value))[:200] if isinstance(value, dict) else "",
        )
    return value


def _string(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise MalformedError(Reason.MALFORMED_FIELD, f"{name} is a text", where=name)
    return value


def _chains(member: str, chain: tuple[str, ...]) -> Response:
    body = encoding.write_json({member: {"chain": {"certificates": chain}}})
    return Response(body=body, media_type=JSON, headers=(("cache-control", "no-store"),))
