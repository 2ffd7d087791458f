"""Timestamp authorities elsewhere: a request over HTTP (RFC 3161 §3.4), and the answer verified."""

import hashlib
import secrets
from typing import Final

from registry.core.archive import tsp
from registry.core.archive.authority import Authority
from registry.core.archive.timestamp import Timestamp, open_token
from registry.core.archive.tsp import Request
from registry.remote.http import HTTPClient, check_url

QUERY: Final = "application/timestamp-query"
REPLY: Final = "application/timestamp-reply"

NONCE_BITS: Final = 64
"""Random bits of a nonce: an old answer cannot be played again."""

_OK, _CREATED = 200, 201


class RemoteAuthority:
    """An authority that is asked at ``url`` and believed by its pinned chain."""

    def __init__(
        self, url: str, authority: Authority, client: HTTPClient, policy: str | None = None
    ) -> None:
        """Ask nothing yet; with ``policy``, dotted, no token of another one is taken.

        Raises:
            MalformedError: ``BAD_SETTING`` if ``url`` is no address for us.
        """
        check_url(url)
        self.url = url
        self.authority = authority
        self._client = client
        self._policy = policy

    def stamp(self, message: bytes) -> tuple[bytes, Timestamp]:
        """A token over ``message``, without certificates, and what it says.

        Raises:
            UnavailableError: ``UNREACHABLE``, ``DEADLINE`` or ``REMOTE_STATUS``.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
            VerificationError: ``TIMESTAMP_REJECTED``, or why the token is not believed.
            MalformedError: ``MALFORMED_TIMESTAMP``.
        """
        nonce = secrets.randbits(NONCE_BITS)
        request = Request(
            "sha256", hashlib.sha256(message).digest(), policy=self._policy or "", nonce=nonce
        )
        answer = self._client.post(
            self.url,
            request.to_bytes(),
            content_type=QUERY,
            max_bytes=tsp.MAX_RESPONSE_BYTES,
            headers={"Accept": REPLY},
        )
        if answer.content_type != REPLY:
            # A reply says by itself why it grants nothing, whatever its status is.
            answer.expect(_OK, _CREATED)
        token = tsp.bare_token(tsp.granted_token(answer.body))
        return token, open_token(token, message, self.authority, policy=self._policy, nonce=nonce)
