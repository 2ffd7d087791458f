"""NVIDIA's services: manifests by their id, whether a certificate is revoked, the token keys.

A manifest comes as JSON with the signed XML in base64. Revocation is asked by OCSP (RFC 6960),
without a nonce: answers are kept and shown to others later, where a nonce would prove nothing.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from registry.core.certificates.chain import load
from registry.core.digest import sha256
from registry.core.encoding import base64_bytes, read_foreign_json
from registry.core.evidence.endorsements import Role
from registry.errors import MalformedError, Reason, RefusedError
from registry.remote.http import Answer, HTTPClient, check_url
from registry.remote.vendor_answer import found, wrong
from registry.remote.vendor_cache import Fresh, Items, VendorCache

MAX_RIM_ANSWER_BYTES: Final = 3 * 1024 * 1024
"""Bytes of an answer with a manifest; some 150 KiB today."""

MAX_OCSP_BYTES: Final = 64 * 1024
"""Bytes of an OCSP answer; some 1,800 today."""

MAX_JWKS_BYTES: Final = 256 * 1024
"""Bytes of a key set; some kilobytes today."""

QUERY: Final = "application/ocsp-request"
REPLY: Final = "application/ocsp-response"

_RIM_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class NVIDIAServices:
    """Asks for manifests, OCSP answers and keys."""

    def __init__(
        self, http: HTTPClient, cache: VendorCache, rim_url: str, ocsp_url: str, jwks_url: str
    ) -> None:
        """Ask nothing yet.

        Args:
            http: How to ask.
            cache: Where answers are kept.
            rim_url: Where manifests are, up to the slash before the id.
            ocsp_url: Who answers OCSP.
            jwks_url: Where the keys of the issuer of tokens are.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        check_url(rim_url)
        check_url(ocsp_url)
        check_url(jwks_url)
        self._http = http
        self._cache = cache
        self._rim_url = rim_url.rstrip("/")
        self._ocsp_url = ocsp_url
        self._jwks_url = jwks_url

    def rim(self, rim_id: str) -> Items:
        """The manifest with that id.

        Raises:
            RefusedError: ``FOREIGN_ADDRESS``: this is no id.
            NotFoundError: ``NO_ENDORSEMENT``.
            MalformedError: ``VENDOR_ANSWER``.
            UnavailableError: ``UNREACHABLE``, ``DEADLINE`` or ``REMOTE_STATUS``.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
        """
        # The id is made of what evidence says: it must not lead anywhere else.
        if _RIM_ID.fullmatch(rim_id) is None or ".." in rim_id:
            raise RefusedError(
                Reason.FOREIGN_ADDRESS,
                "evidence leads to an id that no manifest has",
                actual=ascii(rim_id[:200]),
            )
        url = f"{self._rim_url}/{rim_id}"

        def ask() -> Fresh:
            answer = found(self._http.get(url, max_bytes=MAX_RIM_ANSWER_BYTES))
            return Fresh(((Role.NVIDIA_RIM, _manifest(answer, rim_id)),), lasting=True)

        return self._cache.get(url, ask)

    def ocsp(self, certificate: bytes, issuer: bytes) -> Items:
        """Whether a certificate, DER, is revoked, says the responder of its issuer.

        Raises:
            MalformedError: ``VENDOR_ANSWER``, or ``MALFORMED_CERTIFICATE``.
            UnavailableError: ``UNREACHABLE``, ``DEADLINE`` or ``REMOTE_STATUS``.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
        """
        request = _request(load(certificate), load(issuer))

        def ask() -> Fresh:
            answer = self._http.post(
                self._ocsp_url,
                request,
                content_type=QUERY,
                max_bytes=MAX_OCSP_BYTES,
                headers={"Accept": REPLY},
            )
            found(answer)
            return Fresh(((Role.NVIDIA_OCSP, answer.body),), until=_until(answer))

        return self._cache.get(f"{self._ocsp_url} {sha256(request).hex()}", ask)

    def jwks(self) -> Items:
        """The keys by which tokens are signed.

        Raises:
            NotFoundError: ``NO_ENDORSEMENT``.
            MalformedError: ``VENDOR_ANSWER``.
            UnavailableError: ``UNREACHABLE``, ``DEADLINE`` or ``REMOTE_STATUS``.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
        """

        def ask() -> Fresh:
            answer = found(self._http.get(self._jwks_url, max_bytes=MAX_JWKS_BYTES))
            try:
                said = read_foreign_json(answer.body, what="key set")
            except MalformedError as error:
                raise wrong(answer, "a key set in JSON", error.what) from error
            if not isinstance(said, Mapping) or not isinstance(said.get("keys"), list):
                raise wrong(answer, "a key set in JSON", "JSON without keys")
            return Fresh(((Role.NVIDIA_JWKS, answer.body),))

        return self._cache.get(self._jwks_url, ask)


def _request(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA384())
    return builder.build().public_bytes(Encoding.DER)


def _manifest(answer: Answer, rim_id: str) -> bytes:
    try:
        said = read_foreign_json(answer.body, what="answer with a manifest")
        members = said if isinstance(said, Mapping) else {}
        text, named = members.get("rim"), members.get("id", rim_id)
        manifest = base64_bytes(text) if isinstance(text, str) else b""
    except MalformedError as error:
        raise wrong(answer, "JSON with a manifest in base64", error.what) from error
    if not manifest or named != rim_id:
        raise wrong(answer, f"the manifest {rim_id} in base64", str(named))
    return manifest


def _until(answer: Answer) -> datetime:
    try:
        response = ocsp.load_der_ocsp_response(answer.body)
        status = response.response_status
        good = status is ocsp.OCSPResponseStatus.SUCCESSFUL
        until = response.next_update_utc or response.this_update_utc if good else None
    except ValueError as error:
        raise wrong(answer, "an OCSP answer", str(error)) from error
    if until is None:
        raise wrong(answer, "a successful OCSP answer", status.name)
    return until
