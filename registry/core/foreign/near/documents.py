"""The documents of a vllm-proxy: the answer about a signature, and the attestation report.

``GET /v1/signature/{chat_id}`` answers ``{text, signature, signing_address, signing_algo}``; the
text is ``sha256(request):sha256(response)``, or ``model:sha256(request):sha256(response)``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from registry.core import encoding
from registry.core.digest import SHA256_SIZE, sha256
from registry.core.evidence.checks import CheckError, Severity
from registry.core.foreign import ethereum
from registry.core.foreign.json_document import members, read_object
from registry.errors import MalformedError, VerificationError

MAX_TEXT_CHARACTERS: Final = 1024
"""Characters of a signed text: a model's name and two digests."""

MAX_NODES: Final = 64
"""Nodes of one report."""

_HASHES: Final = 2
_Label = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARACTERS)]
_FAILED: Final = ("error", "error_code", "detail")
_LISTS: Final = ("all_attestations", "model_attestations")


class Found(StrEnum):
    """What may be found in a signature's answer and in a report."""

    LOOKUP_FAILED = "LOOKUP_FAILED"
    SIGNED_TEXT = "SIGNED_TEXT"
    TWO_TEXTS = "TWO_TEXTS"
    ALGORITHM = "ALGORITHM"
    ADDRESS = "ADDRESS"
    SIGNATURE_FORM = "SIGNATURE_FORM"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    REQUEST_MISMATCH = "REQUEST_MISMATCH"
    RESPONSE_MISMATCH = "RESPONSE_MISMATCH"
    MODEL_MISMATCH = "MODEL_MISMATCH"
    EVIDENCE_FORM = "EVIDENCE_FORM"
    SIGNER_ABSENT = "SIGNER_ABSENT"
    SIGNER_MISMATCH = "SIGNER_MISMATCH"
    NONCE_MISMATCH = "NONCE_MISMATCH"
    NONCE_UNASKED = "NONCE_UNASKED"
    GPU_NONCE = "GPU_NONCE"
    GPU_EVIDENCE = "GPU_EVIDENCE"
    COMPOSE_UNBOUND = "COMPOSE_UNBOUND"
    COMPOSE_MISMATCH = "COMPOSE_MISMATCH"


class _SignatureMembers(msgspec.Struct, frozen=True):
    text: _Label
    signature: _Label
    signing_address: _Label
    signing_algo: _Label = "ecdsa"


class _NodeMembers(msgspec.Struct, frozen=True):
    signing_address: _Label
    intel_quote: str
    request_nonce: encoding.Hex32
    signing_algo: _Label = "ecdsa"
    tls_cert_fingerprint: encoding.Hex32 | None = None
    nvidia_payload: str | dict[str, Any] | None = None
    event_log: str | list[Any] | None = None
    info: dict[str, Any] = {}
    compose_manager_attestation: Any = None


@dataclass(frozen=True, slots=True)
class Text:
    """What was signed: what the server was asked and what it answered, as digests.

    Attributes:
        model: What the server calls its model; None if the text does not say.
        request: SHA-256 of the request as it came, or whatever the client said that it was.
        response: SHA-256 of the response, with the framing of a stream.
    """

    model: str | None
    request: bytes
    response: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a signed text. Names of models hold colons: it is read from its end.

        Raises:
            CheckError: ``SIGNED_TEXT``.
        """
        parts = text.rsplit(":", _HASHES)
        try:
            request, response = (encoding.hex_bytes(part, SHA256_SIZE) for part in parts[-_HASHES:])
        except (MalformedError, ValueError) as error:
            raise CheckError(
                Found.SIGNED_TEXT,
                "this is not what such a server signs",
                expected="[model:]sha256(request):sha256(response)",
                actual=ascii(text)[:200],
            ) from error
        return cls(parts[0] if len(parts) > _HASHES else None, request, response)

    def __str__(self) -> str:
        hashes = f"{self.request.hex()}:{self.response.hex()}"
        return hashes if self.model is None else f"{self.model}:{hashes}"


@dataclass(frozen=True, slots=True)
class Signed:
    """The answer about a signature.

    Attributes:
        said: Its members.
        text: What was signed.
        address: Whose key signed: 20 bytes of an Ethereum address, or an Ed25519 public key.
    """

    said: _SignatureMembers
    text: Text
    address: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an answer.

        Raises:
            CheckError: ``LOOKUP_FAILED`` for the answer that there is none, or what is wrong.
        """
        value = read_object(data, "signature")
        failed = next((name for name in _FAILED if name in value), None)
        if "text" not in value and failed is not None:
            # Signatures are forgotten after twenty minutes.
            raise CheckError(
                Found.LOOKUP_FAILED,
                "this is the server's answer that it has no such signature",
                severity=Severity.TIME,
                actual=ascii(value[failed])[:200],
            )
        said = members(value, _SignatureMembers, "signature")
        return cls(said, Text.parse(said.text), address(said.signing_address, said.signing_algo))

    def verify(self) -> None:
        """Check the signature.

        Raises:
            CheckError: ``SIGNATURE_FORM`` or ``BAD_SIGNATURE``.
            UnavailableError: ``MISSING_EXTRA``, for ECDSA.
        """
        data = self.said.text.encode()
        ed25519 = self.said.signing_algo == "ed25519"
        try:
            # Tools of Ethereum write 0x before it, others do not.
            text = self.said.signature if ed25519 else self.said.signature.removeprefix("0x")
            signature = encoding.hex_bytes(text, 64 if ed25519 else ethereum.SIGNATURE_BYTES)
            if ed25519:
                Ed25519PublicKey.from_public_bytes(self.address).verify(signature, data)
                return
            signer = ethereum.recover_address(signature, data)
        except MalformedError as error:
            raise CheckError(
                Found.SIGNATURE_FORM, "this is no signature of its kind", actual=str(error)
            ) from error
        except (InvalidSignature, ValueError, VerificationError) as error:
            raise _bad("none that verifies") from error
        if signer != self.address:
            raise _bad(f"0x{signer.hex()}")


def _bad(actual: str) -> CheckError:
    return CheckError(
        Found.BAD_SIGNATURE, "the text is not signed by the address that is named", actual=actual
    )


def address(text: str, algorithm: str) -> bytes:
    """The bytes of a signer's address.

    Raises:
        CheckError: ``ALGORITHM`` or ``ADDRESS``.
    """
    if algorithm not in ("ecdsa", "ed25519"):
        raise CheckError(
            Found.ALGORITHM,
            "signatures of this kind are not read here",
            expected="ecdsa or ed25519",
            actual=ascii(algorithm)[:80],
        )
    try:
        if algorithm == "ed25519":
            return encoding.hex_bytes(text, 32)
        # The case of the letters is a checksum for people.
        return encoding.hex_bytes(text.lower().removeprefix("0x"), ethereum.ADDRESS_BYTES)
    except MalformedError as error:
        raise CheckError(
            Found.ADDRESS, "this is no address of its kind", actual=ascii(text)[:80]
        ) from error


@dataclass(frozen=True, slots=True)
class Node:
    """One node's part of a report.

    Attributes:
        said: Its members.
        address: Whose key it is about.
        quote: The evidence.
    """

    said: _NodeMembers
    address: bytes
    quote: bytes

    @classmethod
    def of(cls, value: dict[str, object]) -> Self:
        """Take one node.

        Raises:
            CheckError: What is wrong with it.
        """
        said = members(value, _NodeMembers, "report")
        text = said.intel_quote.removeprefix("0x")
        try:
            quote = encoding.hex_bytes(text, len(text) // 2)
        except MalformedError as error:
            raise CheckError(
                Found.EVIDENCE_FORM, "the quote is not hexadecimal", actual=str(error)
            ) from error
        return cls(said, address(said.signing_address, said.signing_algo), quote)

    def event_log(self) -> bytes | None:
        """The log of what was started, as one text."""
        log = self.said.event_log
        if log is None:
            return None
        return log.encode() if isinstance(log, str) else encoding.write_json(log)

    def compose(self) -> bytes | None:
        """What the container was started from, as the report says.

        Raises:
            CheckError: What is wrong with it.
        """
        info = self.said.info.get("tcb_info")
        if isinstance(info, str):
            info = read_object(info.encode(), "tcb_info")
        value = info.get("app_compose") if isinstance(info, dict) else None
        return value.encode() if isinstance(value, str) else None

    def gpu_nonce(self) -> str | None:
        """The nonce that GPUs were asked with, as the report says.

        Raises:
            CheckError: What is wrong with it.
        """
        payload = self.said.nvidia_payload
        if isinstance(payload, str):
            payload = read_object(payload.encode(), "nvidia_payload")
        nonce = payload.get("nonce") if isinstance(payload, dict) else None
        return nonce if isinstance(nonce, str) else None

    @property
    def version(self) -> int:
        """Which layout of report data the report is for."""
        return 1 if self.said.tls_cert_fingerprint is None else 2

    def committed(self) -> bytes:
        """The first 32 bytes of report data: the address, or a digest with that of the TLS key."""
        if self.said.tls_cert_fingerprint is None:
            return self.address.ljust(SHA256_SIZE, b"\0")
        return sha256(self.address + bytes.fromhex(self.said.tls_cert_fingerprint))


def signer_of(value: Mapping[str, object]) -> tuple[str, bytes] | None:
    """Whose node this is: algorithm and address; None if it does not say so in a way we read."""
    algorithm, text = value.get("signing_algo", "ecdsa"), value.get("signing_address")
    if not isinstance(algorithm, str) or not isinstance(text, str):
        return None
    try:
        return algorithm, address(text, algorithm)
    except CheckError:
        return None


def read_nodes(data: bytes) -> tuple[dict[str, Any], ...]:
    """The nodes of a report: of one node, or of several behind a gateway; not yet read.

    Raises:
        CheckError: What is wrong with the document.
    """
    value = read_object(data, "report")
    lists: list[Mapping[str, Any]] = []
    for name in _LISTS:
        items = value.get(name)
        lists += items if isinstance(items, list) else []
    nodes = tuple(item for item in lists if isinstance(item, dict)) or (value,)
    return nodes[:MAX_NODES]
