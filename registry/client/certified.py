"""A new key, certified by the authority that a client trust config names.

The authority is asked as Fulcio's second API has it, with a signing request. Its answer is believed
only as far as it verifies: the key is ours, the chain is pinned, one SCT by a pinned CT key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from registry.core import encoding
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import Statement
from registry.core.attestation.trust_config import ClientTrustConfig
from registry.core.attestation.trusted_root import Trust
from registry.core.certificates.chain import issuing_authority
from registry.core.certificates.sct import verify_sct
from registry.core.certificates.signing import SigningCertificate
from registry.core.keys import PublicKey
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.rekor import log_id
from registry.errors import (
    ForbiddenError,
    LimitExceededError,
    MalformedError,
    Reason,
    RefusedError,
    RegistryError,
    UnauthenticatedError,
    UnavailableError,
    VerificationError,
)
from registry.remote.http import Answer, HTTPClient, check_private
from registry.signing.file import StatementSigner

MAX_CONFIG_BYTES = 4 * 1024 * 1024
"""Bytes of a client trust config."""

MAX_ANSWER_BYTES = 256 * 1024
"""Bytes of an authority's answer; ours have about 2 KiB."""

PATH: Final = "/api/v2/signingCert"
"""Where an authority issues certificates, below its URL."""

_OK = 200
_CLASSES: Final[dict[int, type[RegistryError]]] = {
    400: MalformedError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    413: LimitExceededError,
    429: LimitExceededError,
}


@dataclass(frozen=True, slots=True)
class TrustConfig:
    """Whom to believe, and whom to ask.

    Attributes:
        text: As it was written, for clients that read it themselves.
        authority_url: Where certificates are issued.
    """

    text: str
    trust: Trust
    authority_url: str

    @classmethod
    def parse(cls, data: bytes) -> "TrustConfig":
        """Read a client trust config.

        Raises:
            LimitExceededError: ``MESSAGE_TOO_LARGE``.
            MalformedError: ``MALFORMED_TRUSTED_ROOT``, or ``BAD_SETTING`` if it names no authority.
        """
        if len(data) > MAX_CONFIG_BYTES:
            raise LimitExceededError(Reason.MESSAGE_TOO_LARGE, "this trust config is too long")
        try:
            config = encoding.read_proto_json(data, ClientTrustConfig, what="client trust config")
        except MalformedError as error:
            error.reason = Reason.MALFORMED_TRUSTED_ROOT
            raise
        urls = config.signing_config.ca_urls
        if not urls:
            raise MalformedError(
                Reason.BAD_SETTING, "this trust config names nobody who issues certificates"
            )
        check_private(urls[0].url)
        trust = Trust.of(config.trusted_root)
        return cls(data.decode("utf-8"), trust, urls[0].url.rstrip("/"))

    def require_log(self, key: VerifierKey) -> None:
        """Check that the config believes this log: its authority is the log's own.

        Raises:
            VerificationError: ``WRONG_LOG``.
        """
        if log_id(key) not in {log.log_id for log in self.trust.logs}:
            raise VerificationError(
                Reason.WRONG_LOG,
                "this trust config is for another log than the registry's",
                expected=str(key),
                actual=", ".join(log.host for log in self.trust.logs),
                hint="ask the operator for: provreg log trust-config",
            )


class CertifiedSigner:
    """A new key, certified when it is first needed."""

    def __init__(
        self, client: HTTPClient, config: TrustConfig, token: str, clock: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._config = config
        self._token = token
        self._clock = clock
        self._signer: StatementSigner | None = None

    @property
    def public_key(self) -> PublicKey:
        """The public half of the key."""
        return self._made().public_key

    def sign(self, statement: Statement[Any]) -> Envelope:
        """Sign a statement into an envelope.

        Raises:
            RegistryError: As :func:`certify`.
        """
        return self._made().sign(statement)

    def _made(self) -> StatementSigner:
        if self._signer is None:
            at = self._clock()
            self._signer, _ = certify(self._client, self._config, self._token, at)
        return self._signer


def certify(
    client: HTTPClient, config: TrustConfig, token: str, at: datetime
) -> tuple[StatementSigner, SigningCertificate]:
    """A new key and its certificate, for whoever holds the token.

    Raises:
        RegistryError: Why the authority refuses, as it says.
        UnavailableError: It cannot be reached.
        MalformedError, VerificationError: What is wrong with its answer.
    """
    signer = StatementSigner.generate()
    body = {"certificateSigningRequest": encoding.base64_text(signer.signing_request())}
    answer = client.post(
        config.authority_url + PATH,
        encoding.write_json(body),
        content_type="application/json",
        max_bytes=MAX_ANSWER_BYTES,
        headers={"Authorization": f"Bearer {token}"},
    )
    if answer.status != _OK:
        raise _refusal(answer)
    certificate = SigningCertificate.parse(_leaf(answer))
    if certificate.key != signer.public_key:
        raise VerificationError(
            Reason.CERTIFICATE_CHAIN,
            "the authority certified another key than ours",
            where=config.authority_url,
        )
    trust = config.trust
    authority = issuing_authority(certificate.der, trust.authorities, at)
    verify_sct(certificate.der, authority.chain[0], trust.ct_keys)
    return signer, certificate


def _leaf(answer: Answer) -> bytes:
    told: Any = encoding.read_foreign_json(answer.body, what="answer of an authority")
    try:
        pem = told["signedCertificateEmbeddedSct"]["chain"]["certificates"][0]
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise MalformedError(
            Reason.MALFORMED_CERTIFICATE,
            "the authority answered with something else than a certificate",
            where=answer.url,
        ) from error
    return certificate.public_bytes(serialization.Encoding.DER)


def _refusal(answer: Answer) -> RegistryError:
    """The authority's reason, if it is one of ours; its status otherwise."""
    kind = _CLASSES.get(answer.status, UnavailableError)
    try:
        told: Any = encoding.read_foreign_json(answer.body, what="refusal")
        said = {
            name: told[name] for name in ("where", "expected", "actual", "hint") if name in told
        }
        parts = {name: _printable(text) for name, text in said.items()}
        what = _printable(told["message"]).partition(": ")[2]
        return kind(Reason(told["reason"]), what or "the authority refuses", **parts)
    except (RegistryError, KeyError, TypeError, ValueError):
        return RefusedError(
            Reason.REMOTE_STATUS,
            "the authority issues no certificate",
            where=answer.url,
            actual=f"status {answer.status}",
        )


def _printable(text: object) -> str:
    return "".join(c if c.isprintable() else "�" for c in str(text))[:512]
