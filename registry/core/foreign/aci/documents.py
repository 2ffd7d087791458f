"""The documents of ACI (``aci/1``): receipt, keyset, report, session; what is signed of each.

All are JSON in any spelling; what is hashed or signed is the RFC 8785 form. Members that are not
known stay in the document, and so under its signature.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Self

import msgspec

from registry.core import digest
from registry.core.digest import sha256
from registry.core.encoding import Count, Hex32, Hex64, base64_bytes
from registry.core.evidence.checks import CheckError, Severity
from registry.core.foreign.json_document import canonical, members, read_object
from registry.errors import MalformedError

API_VERSION: Final = "aci/1"
"""The version that is read here."""

MAX_EVENTS: Final = 256
"""Events of one receipt; four are usual."""

PURPOSE: Final = "aci.report_data.v1"
"""What the statement is for, in it."""

Digest = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
_Label = Annotated[str, msgspec.Meta(max_length=1024)]
_Session = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Found(StrEnum):
    """What may be found in ACI's documents."""

    UNKNOWN_VERSION = "UNKNOWN_VERSION"
    LOOKUP_FAILED = "LOOKUP_FAILED"
    # The keyset and the key.
    KEY_NOT_LISTED = "KEY_NOT_LISTED"
    KEY_ALGORITHM = "KEY_ALGORITHM"
    KEYSET_MISMATCH = "KEYSET_MISMATCH"
    KEYSET_EXPIRED = "KEYSET_EXPIRED"
    RESTATED_DIGEST = "RESTATED_DIGEST"
    TWO_KEYSETS = "TWO_KEYSETS"
    # The receipt.
    BAD_SIGNATURE = "BAD_SIGNATURE"
    EVENT_ORDER = "EVENT_ORDER"
    REQUEST_MISMATCH = "REQUEST_MISMATCH"
    RESPONSE_MISMATCH = "RESPONSE_MISMATCH"
    REWRITTEN = "REWRITTEN"
    NOT_FORWARDED = "NOT_FORWARDED"
    UPSTREAM_UNVERIFIED = "UPSTREAM_UNVERIFIED"
    UPSTREAM_CONTRADICTION = "UPSTREAM_CONTRADICTION"
    # Sessions.
    SESSION_MISMATCH = "SESSION_MISMATCH"
    SESSION_ABSENT = "SESSION_ABSENT"
    SESSION_EVIDENCE = "SESSION_EVIDENCE"
    SESSION_EMPTY = "SESSION_EMPTY"
    SESSION_WINDOW = "SESSION_WINDOW"
    # The evidence.
    EVIDENCE_FORM = "EVIDENCE_FORM"
    REPORT_DATA = "REPORT_DATA"
    NO_NONCE = "NO_NONCE"
    NONCE_UNKNOWN = "NONCE_UNKNOWN"
    PROVENANCE_UNBOUND = "PROVENANCE_UNBOUND"
    PROVENANCE_MISMATCH = "PROVENANCE_MISMATCH"


class _ReceiptMembers(msgspec.Struct, frozen=True):
    receipt_id: _Label
    workload_keyset_digest: Digest
    endpoint: _Label
    method: _Label
    served_at: Count
    event_log: Annotated[
        tuple[dict[str, Any], ...], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)
    ]
    key_id: _Label
    signature: Hex64
    chat_id: _Label | None = None
    model: _Label | None = None


class _Event(msgspec.Struct, frozen=True):
    body_hash: Digest


class _Verified(msgspec.Struct, frozen=True):
    result: _Label
    required: bool
    model_id: _Label | None = None
    session_id: _Session | None = None
    reason: _Label | None = None


class _Key(msgspec.Struct, frozen=True):
    key_id: _Label
    algo: _Label
    public_key: _Label


class _KeysetMembers(msgspec.Struct, frozen=True):
    not_after: Count
    receipt_signing_keys: Annotated[tuple[_Key, ...], msgspec.Meta(max_length=64)]
    subject: _Label | None = None


class _Provenance(msgspec.Struct, frozen=True):
    repo_url: _Label | None = None
    repo_commit: _Label | None = None
    image_digest: _Label | None = None


class _Attestation(msgspec.Struct, frozen=True):
    tee_type: _Label
    workload_keyset: dict[str, Any]
    report_data: Hex32
    evidence: dict[str, Any]
    source_provenance: _Provenance | None = None


class _ReportMembers(msgspec.Struct, frozen=True):
    workload_keyset_digest: Digest
    attestation: _Attestation


class _SessionEvidence(msgspec.Struct, frozen=True):
    digest: Digest
    data: str = ""


class _SessionMembers(msgspec.Struct, frozen=True):
    upstream_name: _Label
    established_at: Count
    expires_at: Count
    evidence: _SessionEvidence
    verifier_id: _Label = ""
    endpoint: _Label | None = None
    claims: dict[str, Any] = {}


def _versioned(data: bytes, where: str) -> dict[str, object]:
    value = read_object(data, where)
    version = value.get("api_version")
    if version is None and "error" in value:
        # Another key than the one that made the request gets the same answer as an unknown id.
        raise CheckError(
            Found.LOOKUP_FAILED,
            "this is the gateway's answer that it has no such document",
            severity=Severity.TIME,
            where=where,
            actual=ascii(value["error"])[:200],
        )
    if version != API_VERSION:
        raise CheckError(
            Found.UNKNOWN_VERSION,
            "this parser does not know the version",
            severity=Severity.TIME,
            where=where,
            expected=API_VERSION,
            actual=ascii(version)[:80],
        )
    return value


@dataclass(frozen=True, slots=True)
class Receipt:
    """One request, as the gateway saw it.

    Attributes:
        said: Its members.
        signed: The bytes that its signature is over.
    """

    said: _ReceiptMembers
    signed: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a receipt.

        Raises:
            CheckError: ``UNKNOWN_VERSION`` or what is wrong with the document.
        """
        value = _versioned(data, "receipt")
        said = members(value, _ReceiptMembers, "receipt")
        rest = {name: item for name, item in value.items() if name != "signature"}
        return cls(said, canonical(rest, "receipt"))

    def events(self, kind: str) -> tuple[dict[str, Any], ...]:
        """All events of one type, in order."""
        return tuple(item for item in self.said.event_log if item.get("type") == kind)

    def hash_of(self, kind: str) -> bytes | None:
        """The body hash of the last event of one type.

        Raises:
            CheckError: ``MEMBERS``.
        """
        events = self.events(kind)
        if not events:
            return None
        return digest.parse(members(events[-1], _Event, kind).body_hash)

    def upstream(self) -> tuple[_Verified, ...]:
        """What it says of the servers behind the gateway.

        Raises:
            CheckError: ``MEMBERS``.
        """
        kind = "upstream.verified"
        return tuple(members(item, _Verified, kind) for item in self.events(kind))


@dataclass(frozen=True, slots=True)
class Keyset:
    """The keys of a gateway.

    Attributes:
        said: Its members.
        digest: The SHA-256 of its RFC 8785 form.
    """

    said: _KeysetMembers
    digest: bytes

    @classmethod
    def of(cls, value: dict[str, object]) -> Self:
        """Take the document of a keyset.

        Raises:
            CheckError: What is wrong with it.
        """
        return cls(members(value, _KeysetMembers, "keyset"), sha256(canonical(value, "keyset")))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a keyset.

        Raises:
            CheckError: What is wrong with it.
        """
        return cls.of(read_object(data, "keyset"))

    def key(self, key_id: str) -> bytes:
        """The Ed25519 key of a name, by what the keyset says of it.

        Raises:
            CheckError: ``KEY_NOT_LISTED`` or ``KEY_ALGORITHM``.
        """
        for item in self.said.receipt_signing_keys:
            if item.key_id == key_id:
                if item.algo != "ed25519":
                    raise CheckError(
                        Found.KEY_ALGORITHM,
                        "the keyset names an algorithm that is not read here",
                        expected="ed25519",
                        actual=item.algo[:80],
                    )
                try:
                    return bytes.fromhex(msgspec.convert(item.public_key, Hex32))
                except msgspec.ValidationError as error:
                    raise CheckError(
                        Found.KEY_ALGORITHM, "this is no Ed25519 key", actual=item.public_key[:80]
                    ) from error
        raise CheckError(
            Found.KEY_NOT_LISTED,
            "the keyset lists no such key for receipts",
            severity=Severity.IDENTITY,
            actual=key_id[:80],
        )


@dataclass(frozen=True, slots=True)
class Report:
    """An attestation report: keyset and evidence; nothing in it is signed by itself."""

    said: _ReportMembers

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a report.

        Raises:
            CheckError: ``UNKNOWN_VERSION`` or what is wrong with the document.
        """
        return cls(members(_versioned(data, "report"), _ReportMembers, "report"))

    @property
    def attestation(self) -> _Attestation:
        """What it says of the hardware."""
        return self.said.attestation

    def evidence_text(self, name: str) -> str | None:
        """A member of the evidence that is text."""
        value = self.attestation.evidence.get(name)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Session:
    """What the gateway verified of one server behind it.

    Attributes:
        said: Its members.
        session_id: Its name, by which receipts cite it.
    """

    said: _SessionMembers
    session_id: str

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a session.

        Raises:
            CheckError: ``UNKNOWN_VERSION`` or what is wrong with the document.
        """
        value = _versioned(data, "session")
        name = sha256(canonical(value, "session")).hex()
        return cls(members(value, _SessionMembers, "session"), name)

    def evidence(self) -> bytes:
        """The decoded evidence; empty if the record holds none.

        Raises:
            CheckError: ``SESSION_EVIDENCE`` if it is not what its digest says.
        """
        head, _, text = self.said.evidence.data.partition(";base64,")
        try:
            data = base64_bytes(text)
        except MalformedError as error:
            raise CheckError(
                Found.SESSION_EVIDENCE, "the evidence is no data URI", actual=str(error)
            ) from error
        if (head and not head.startswith("data:")) or digest.text(sha256(data)) != (
            self.said.evidence.digest
        ):
            raise CheckError(
                Found.SESSION_EVIDENCE,
                "the evidence of the session is not what its digest says",
                severity=Severity.IDENTITY,
                expected=self.said.evidence.digest,
                actual=digest.text(sha256(data)),
            )
        return data


def statement(keyset: bytes, nonce: bytes | None) -> bytes:
    """The statement whose SHA-256 is the report data: exactly these bytes."""
    quoted = "null" if nonce is None else f'"{nonce.hex()}"'
    text = f'{{"keyset_digest":"{digest.text(keyset)}","nonce":{quoted},"purpose":"{PURPOSE}"}}'
    return text.encode("ascii")


def report_data(keyset: bytes, nonce: bytes | None) -> bytes:
    """The 64 bytes in a quote."""
    return sha256(statement(keyset, nonce)) + bytes(32)


def provenance(said: Mapping[str, object]) -> str:
    """Which build a report names, as text."""
    return ", ".join(f"{name} {value}" for name, value in said.items() if value)
