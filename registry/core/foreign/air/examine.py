"""The examination of an AIR v1 receipt: message, encoding, signature, claims, and the enclave."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, CheckResult, Finding, Ledger, Severity
from registry.core.evidence.claims import Family
from registry.core.evidence.validity import Validity, appraised_at
from registry.core.foreign import platform
from registry.core.foreign.air.claims import NITRO, Claims
from registry.core.foreign.air.receipt import Found, Message, read_claims, read_key, spki
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.platform import Attested, Device, same
from registry.core.foreign.proof import Strength, System
from registry.core.foreign.reading import Reading

PARSER: Final = "air/1"
"""This parser: another number reads the same bytes otherwise."""

FORMAT: Final = "air/v1"
"""The profile that is read."""

MAX_SKEW_SECONDS: Final = 300
"""Seconds that the clock of a host may be ahead."""

MAX_AGE_SECONDS: Final = 24 * 3600
"""Seconds after which a receipt that is captured was not captured at once."""

TABLE: Final[Mapping[str, str]] = {
    "P1": "one COSE_Sign1 message, tagged, EdDSA, nothing else",
    "P2": "the claims are a map",
    "E1": "message and claims are in the one encoding of RFC 8949 §4.2",
    "S1": "the signature, strictly",
    "C1": "every claim, its type and size",
    "C2": "the request",
    "C3": "the response",
    "C4": "the model that was expected",
    "C5": "the nonce that was sent",
    "C6": "when it was made",
    "A1": "the evidence of the enclave",
    "A2": "the receipt names this evidence",
    "A3": "the receipt and the evidence state the same measurements",
    "A4": "the evidence commits to the key of the receipt",
}
"""Every check, in order."""

_UNCOVERED: Final = (
    "request headers",
    "response headers",
    "response status",
    "that the weights with this hash ran: the workload says so",
    "the moment, which the host's clock says",
    "receipts that are missing: the sequence starts again with each session",
)
_NAMES: Final[Mapping[Family, tuple[tuple[str, str], ...]]] = {
    Family.AWS_NITRO: tuple((f"pcr{index}", f"pcr{index}") for index in (0, 1, 2, 8)),
    Family.INTEL_DCAP: (("pcr0", "mr_td"), ("pcr1", "rtmr0"), ("pcr2", "rtmr1")),
}
"""What the receipt calls a measurement, and what the evidence does."""


class Compared(StrEnum):
    """What may be found when a receipt is compared with something."""

    REQUEST_MISMATCH = "REQUEST_MISMATCH"
    RESPONSE_MISMATCH = "RESPONSE_MISMATCH"
    MODEL_MISMATCH = "MODEL_MISMATCH"
    NONCE_MISMATCH = "NONCE_MISMATCH"
    FROM_THE_FUTURE = "FROM_THE_FUTURE"
    STALE = "STALE"
    DOCUMENT_MISMATCH = "DOCUMENT_MISMATCH"
    PLATFORM_MISMATCH = "PLATFORM_MISMATCH"
    MEASUREMENT_MISMATCH = "MEASUREMENT_MISMATCH"
    KEY_UNBOUND = "KEY_UNBOUND"


def examine(captured: Captured, asked: Asked) -> tuple[Reading, tuple[CheckResult, ...]]:
    """Read and check an AIR receipt.

    Raises:
        MalformedError: ``FOREIGN_PART`` without a receipt; ``BAD_TIME``; what is wrong with the
            appraisal policy.
    """
    ledger = Ledger(TABLE, appraised_at(asked.at))
    reading = Reading(
        System.AIR,
        FORMAT,
        PARSER,
        model=Strength.WORKLOAD_ASSERTED_HASH,
        code=Strength.MEASURED,
    )
    data = captured.require(PartRole.RECEIPT)
    message: Message | None = None
    claims: Claims | None = None
    with ledger.check("P1", data):
        message = Message.parse(data)
    key = _key(ledger, message, captured)
    if message is not None:
        claims = _claims(ledger, reading, message)
    if claims is not None:
        _compare(ledger, reading, claims, captured, asked)
    nitro = claims is None or claims.platform == NITRO
    family = Family.AWS_NITRO if nitro else Family.INTEL_DCAP
    device = Device(family, captured.one(PartRole.EVIDENCE), captured.endorsements)
    attested = platform.examine(ledger, "A1", device, asked)
    if attested is not None and claims is not None:
        _bound(ledger, reading, claims, key, attested)
        _measurements(ledger, claims, attested, family)
    return reading, ledger.results()


def _key(ledger: Ledger, message: Message | None, captured: Captured) -> bytes | None:
    given = captured.one(PartRole.KEY)
    if given is None:
        ledger.skip("S1", Finding.MISSING, "no key came with the receipt")
        return None
    key: bytes | None = None
    with ledger.check("S1", given):
        key = read_key(given)
        if message is not None:
            message.verify(key)
    return key if message is not None else None


def _claims(ledger: Ledger, reading: Reading, message: Message) -> Claims | None:
    said: Mapping[object, object] | None = None
    deterministic = False
    with ledger.check("P2", message.payload):
        said, deterministic = read_claims(message.payload)
    if said is None:
        return None
    with ledger.check("E1", message.payload):
        if not (deterministic and message.deterministic):
            raise CheckError(
                Found.NOT_DETERMINISTIC,
                "the receipt is not in the one encoding that it must have",
                where="claims" if message.deterministic else "message",
            )
    claims: Claims | None = None
    with ledger.check("C1", message.payload):
        claims = Claims.of(said)
    if claims is not None:
        reading.say(**claims.text())
        reading.covered += [*claims.said, "measurements"]
        reading.uncovered += _UNCOVERED
        reading.response_sha256 = claims.said["response_hash"]
    return claims


def _compare(
    ledger: Ledger, reading: Reading, claims: Claims, captured: Captured, asked: Asked
) -> None:
    for check, role, name, finding in (
        ("C2", PartRole.REQUEST, "request_hash", Compared.REQUEST_MISMATCH),
        ("C3", PartRole.RESPONSE, "response_hash", Compared.RESPONSE_MISMATCH),
    ):
        data = captured.one(role)
        if data is None:
            ledger.skip(check, Finding.NOT_APPLICABLE, f"the {role} is not at hand")
            reading.uncovered.append(f"the {role}'s bytes, which were not at hand")
            continue
        with ledger.check(check, data):
            what = f"this is not the {role} of the receipt"
            same(sha256(data), claims.said[name], finding, what)
    for check, wanted, name, finding in (
        ("C4", asked.model, "model_hash", Compared.MODEL_MISMATCH),
        ("C5", asked.nonce, "eat_nonce", Compared.NONCE_MISMATCH),
    ):
        if wanted is None:
            ledger.skip(check, Finding.NOT_APPLICABLE, f"no {name} was told here")
            continue
        with ledger.check(check):
            what = f"the receipt has another {name}"
            same(claims.said.get(name, b""), wanted, finding, what)
    made = claims.said["iat"]
    with ledger.check("C6"):
        if made > ledger.at + MAX_SKEW_SECONDS:
            raise CheckError(
                Compared.FROM_THE_FUTURE,
                "the receipt was made later than the moment that counts",
                severity=Severity.TIME,
                expected=f"at most {MAX_SKEW_SECONDS} s after {Validity.text(ledger.at)}",
                actual=str(made),
            )
    if ledger.at - made > MAX_AGE_SECONDS:
        text = f"it was made {ledger.at - made} seconds before the moment that counts"
        ledger.find("C6", Compared.STALE, text)


def _bound(
    ledger: Ledger, reading: Reading, claims: Claims, key: bytes | None, attested: Attested
) -> None:
    platform.note(reading, attested)
    with ledger.check("A2"):
        given = bytes.fromhex(attested.environment.raw_evidence)
        named = claims.said["attestation_doc_hash"]
        same(given, named, Compared.DOCUMENT_MISMATCH, "the receipt names other evidence")
    if key is None:
        return
    with ledger.check("A4", key):
        bound = _binding(attested, key)
        if not bound:
            raise CheckError(
                Compared.KEY_UNBOUND,
                "the evidence commits to no such key: whoever told it may have made it",
                severity=Severity.TIME,
                expected=key.hex(),
            )
        reading.say(key_binding=bound)


def _measurements(ledger: Ledger, claims: Claims, attested: Attested, family: Family) -> None:
    with ledger.check("A3"):
        if isinstance(attested.environment.evidence_id, msgspec.UnsetType):
            raise CheckError(
                Compared.PLATFORM_MISMATCH,
                "the evidence is not of the platform that the receipt states",
                severity=Severity.IDENTITY,
                expected=claims.platform,
                actual="something else",
            )
        for stated, measured in _NAMES[family]:
            if stated in claims.measurements:
                same(
                    attested.raw(measured),
                    claims.measurements[stated],
                    Compared.MEASUREMENT_MISMATCH,
                    f"{stated} is not what was measured",
                )


def _binding(attested: Attested, key: bytes) -> str:
    """Where the evidence commits to a key; empty if nowhere.

    A key stands for itself, as 32 bytes or as DER, or is named by the SHA-256 of either.
    """
    forms = {key, spki(key), sha256(key), sha256(spki(key))}
    for name in ("public_key", "user_data"):
        if attested.raw(name) in forms:
            return name
    report = attested.raw("report_data")
    if report[:32] in forms and not any(report[32:]):
        return "report_data"
    return ""
