"""The examination of an ACI receipt: signature, keyset, events, sessions, the evidence."""

from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, CheckResult, Finding, Ledger, Severity
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Role
from registry.core.evidence.validity import Validity, appraised_at
from registry.core.foreign import platform
from registry.core.foreign.aci.documents import (
    API_VERSION,
    Found,
    Keyset,
    Receipt,
    Report,
    Session,
    provenance,
    report_data,
)
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.platform import Attested, Device, same
from registry.core.foreign.proof import Strength, System
from registry.core.foreign.reading import Reading

PARSER: Final = "aci/1"
"""This parser: another number reads the same bytes otherwise."""

TABLE: Final[Mapping[str, str]] = {
    "P1": "the receipt: one document of a version that is known",
    "P2": "the keyset, and the report that it comes in",
    "P3": "the sessions that came with it",
    "S1": "the key of the receipt is in the keyset, for receipts",
    "S2": "the signature of the receipt",
    "C1": "the receipt is for this keyset, and what is restated is right",
    "C2": "the order of its events",
    "C3": "the request that was received",
    "C4": "the response that was returned",
    "C5": "the request was forwarded as it was received",
    "C6": "the servers behind the gateway were verified",
    "C7": "the sessions that it cites",
    "C8": "the keyset was in force",
    "A1": "the evidence of the gateway",
    "A2": "the evidence is for this keyset, and for the nonce",
    "A3": "what the report says of its build was measured",
}
"""Every check, in order."""

_FAMILIES: Final = {"tdx": Family.INTEL_DCAP, "sev_snp": Family.AMD_SNP}
_COVERED: Final = (
    "request body as received",
    "request body as forwarded",
    "response body, with the framing of a stream",
    "chat_id",
    "endpoint",
    "event_log",
    "method",
    "model",
    "receipt_id",
    "served_at",
    "workload_keyset_digest",
)
_UNCOVERED: Final = (
    "request headers",
    "response headers",
    "response status",
    "model weights",
    "the moment at which it was served, which the gateway states itself",
)


def examine(captured: Captured, asked: Asked) -> tuple[Reading, tuple[CheckResult, ...]]:
    """Read and check an ACI receipt.

    Raises:
        MalformedError: ``FOREIGN_PART`` without a receipt; ``BAD_TIME``; what is wrong with the
            appraisal policy.
    """
    ledger = Ledger(TABLE, appraised_at(asked.at))
    reading = Reading(
        System.ACI, API_VERSION, PARSER, model=Strength.NAME_ONLY, code=Strength.MEASURED
    )
    data = captured.require(PartRole.RECEIPT)
    receipt: Receipt | None = None
    with ledger.check("P1", data):
        receipt = Receipt.parse(data)
    report, keyset = _keys(ledger, captured)
    if receipt is not None:
        _read(reading, receipt, captured)
        _signature(ledger, receipt, keyset)
        _events(ledger, receipt, reading, captured)
        sessions = _sessions(ledger, captured)
        _cited(ledger, receipt, sessions, reading)
        if keyset is not None:
            _keyset(ledger, receipt, keyset, report)
    device = _device(ledger, reading, report, captured)
    attested = platform.examine(ledger, "A1", device, asked)
    if attested is not None:
        platform.note(reading, attested)
        if keyset is not None:
            _bound(ledger, attested, keyset, report, asked)
        _provenance(ledger, reading, attested, report)
    return reading, ledger.results()


def _read(reading: Reading, receipt: Receipt, captured: Captured) -> None:
    said = receipt.said
    reading.say(
        chat_id=said.chat_id,
        endpoint=f"{said.method} {said.endpoint}",
        key_id=said.key_id,
        keyset_digest=said.workload_keyset_digest,
        model=said.model,
        receipt_id=said.receipt_id,
        served_at=said.served_at,
    )
    reading.covered += _COVERED
    reading.uncovered += _UNCOVERED
    for role in (PartRole.REQUEST, PartRole.RESPONSE):
        if captured.one(role) is None:
            reading.uncovered.append(f"the {role}'s bytes, which were not at hand")


def _keys(ledger: Ledger, captured: Captured) -> tuple[Report | None, Keyset | None]:
    """The keyset: that of the report, or one by itself; both must be the same."""
    given, alone = captured.one(PartRole.REPORT), captured.one(PartRole.KEYSET)
    report: Report | None = None
    keyset: Keyset | None = None
    if given is None and alone is None:
        ledger.skip("P2", Finding.MISSING, "no keyset came with the receipt")
    if given is not None:
        with ledger.check("P2", given):
            report = Report.parse(given)
            keyset = Keyset.of(report.attestation.workload_keyset)
    if alone is not None:
        with ledger.check("P2", alone):
            single = Keyset.parse(alone)
            if keyset is not None:
                same(single.digest, keyset.digest, Found.TWO_KEYSETS, "there are two keysets")
            keyset = single
    return report, keyset


def _signature(ledger: Ledger, receipt: Receipt, keyset: Keyset | None) -> None:
    if keyset is None:
        return
    key: bytes | None = None
    with ledger.check("S1"):
        key = keyset.key(receipt.said.key_id)
    if key is None:
        return
    with ledger.check("S2", receipt.signed, key):
        try:
            public = Ed25519PublicKey.from_public_bytes(key)
            public.verify(bytes.fromhex(receipt.said.signature), receipt.signed)
        except (InvalidSignature, ValueError) as error:
            raise CheckError(
                Found.BAD_SIGNATURE, "the receipt is not signed by the key that it names"
            ) from error


def _events(ledger: Ledger, receipt: Receipt, reading: Reading, captured: Captured) -> None:
    log = receipt.said.event_log
    with ledger.check("C2"):
        first, last = log[0].get("type"), receipt.events("response.returned")
        if first != "request.received" or len(last) != 1 or receipt.events(first)[1:]:
            raise CheckError(
                Found.EVENT_ORDER,
                "a receipt begins with the request that was received, and returns one response",
                severity=Severity.IDENTITY,
                actual=", ".join(str(item.get("type"))[:40] for item in log[:8]),
            )
    hashes: dict[str, bytes | None] = {}
    for check, kind, role, finding in (
        ("C3", "request.received", PartRole.REQUEST, Found.REQUEST_MISMATCH),
        ("C4", "response.returned", PartRole.RESPONSE, Found.RESPONSE_MISMATCH),
    ):
        bytes_ = captured.one(role)
        with ledger.check(check, *([] if bytes_ is None else [bytes_])):
            hashes[kind] = receipt.hash_of(kind)
            signed = hashes[kind]
            if bytes_ is not None and signed is not None:
                same(sha256(bytes_), signed, finding, f"this is not the {role} of the receipt")
    with ledger.check("C5"):
        hashes["request.forwarded"] = receipt.hash_of("request.forwarded")
    received, forwarded = hashes.get("request.received"), hashes.get("request.forwarded")
    if forwarded is None:
        ledger.find("C5", Found.NOT_FORWARDED, "no server saw the request: this is a refusal")
    elif forwarded != received:
        ledger.find("C5", Found.REWRITTEN, "the gateway rewrote the request before a server saw it")
    reading.response_sha256 = hashes.get("response.returned")
    for name, value in hashes.items():
        reading.say(**{f"{name.replace('.', '_')}_sha256": None if value is None else value.hex()})


def _sessions(ledger: Ledger, captured: Captured) -> dict[str, Session]:
    given = captured.all(PartRole.SESSION)
    sessions: dict[str, Session] = {}
    for data in given:
        with ledger.check("P3", data):
            session = Session.parse(data)
            sessions[session.session_id] = session
    if not given:
        ledger.skip("P3", Finding.NOT_APPLICABLE, "no session came with the receipt")
    return sessions


def _cited(
    ledger: Ledger, receipt: Receipt, sessions: dict[str, Session], reading: Reading
) -> None:
    cited: list[str] = []
    with ledger.check("C6"):
        upstream = receipt.upstream()
        cited = [item.session_id for item in upstream if item.session_id is not None]
        for item in upstream:
            if item.result == "verified":
                continue
            if item.required and receipt.events("request.forwarded"):
                raise CheckError(
                    Found.UPSTREAM_CONTRADICTION,
                    "the request was forwarded to a server that had to be verified and was not",
                    severity=Severity.IDENTITY,
                    actual=f"{item.result}, {item.reason or 'without a reason'}",
                )
            text = f"{item.result}, required: {item.required}, {item.reason or 'no reason'}"
            ledger.find("C6", Found.UPSTREAM_UNVERIFIED, text[:400])
        if upstream:
            reading.say(upstream_model=upstream[-1].model_id, upstream_result=upstream[-1].result)
    others = sorted(set(sessions) - set(cited))
    with ledger.check("C7"):
        if others:
            raise CheckError(
                Found.SESSION_MISMATCH,
                "a session that came with the receipt is not one that it cites",
                severity=Severity.IDENTITY,
                expected=", ".join(cited) or "no session",
                actual=", ".join(others),
            )
    for name in cited:
        session = sessions.get(name)
        if session is None:
            ledger.find("C7", Found.SESSION_ABSENT, f"session {name} is cited and not at hand")
            reading.uncovered.append(f"what session {name} says of the server, not at hand")
            continue
        with ledger.check("C7"):
            if not session.evidence():
                ledger.find("C7", Found.SESSION_EMPTY, f"session {name} holds no evidence")
        if not session.said.established_at <= receipt.said.served_at <= session.said.expires_at:
            ledger.find("C7", Found.SESSION_WINDOW, f"session {name} was not in force when served")
        reading.say(upstream_name=session.said.upstream_name)
        reading.uncovered.append(f"evidence of session {name}, kept and not examined")


def _keyset(ledger: Ledger, receipt: Receipt, keyset: Keyset, report: Report | None) -> None:
    with ledger.check("C1"):
        signed = bytes.fromhex(receipt.said.workload_keyset_digest.removeprefix("sha256:"))
        same(keyset.digest, signed, Found.KEYSET_MISMATCH, "the receipt is for another keyset")
        if report is not None:
            said = bytes.fromhex(report.said.workload_keyset_digest.removeprefix("sha256:"))
            what = "the report states another digest of its keyset"
            same(said, keyset.digest, Found.RESTATED_DIGEST, what)
    with ledger.check("C8"):
        end = keyset.said.not_after
        if ledger.at >= end or receipt.said.served_at >= end:
            raise CheckError(
                Found.KEYSET_EXPIRED,
                "the keyset was no longer in force",
                severity=Severity.TIME,
                expected=f"before {Validity.text(end)}",
                actual=Validity.text(max(ledger.at, receipt.said.served_at)),
            )


def _device(ledger: Ledger, reading: Reading, report: Report | None, captured: Captured) -> Device:
    """The evidence in the report, or that which came by itself."""
    evidence = captured.one(PartRole.EVIDENCE)
    endorsements = captured.endorsements
    if report is None:
        return Device(Family.INTEL_DCAP, evidence, endorsements)
    reading.say(tee_type=report.attestation.tee_type)
    quote = report.evidence_text("quote")
    if quote is not None:
        with ledger.check("A1"):
            text = quote.removeprefix("0x")
            inside = platform.from_text(
                lambda: encoding.hex_bytes(text, len(text) // 2), "quote", Found.EVIDENCE_FORM
            )
            if evidence is not None:
                what = "the report holds another quote than the evidence that came with it"
                same(inside, evidence, Found.EVIDENCE_FORM, what)
            evidence = inside
    log = report.evidence_text("event_log")
    if log is not None and not endorsements.all(Role.EVENT_LOG):
        endorsements = endorsements.with_([(Role.EVENT_LOG, log.encode())])
    return Device(family_of(report), evidence, endorsements)


def family_of(report: Report) -> Family:
    """Of which kind the evidence in a report should be."""
    return _FAMILIES.get(report.attestation.tee_type, Family.INTEL_DCAP)


def _bound(
    ledger: Ledger, attested: Attested, keyset: Keyset, report: Report | None, asked: Asked
) -> None:
    said = attested.raw("report_data")
    unchallenged = report_data(keyset.digest, None)
    with ledger.check("A2", said):
        if report is not None and said[:32].hex() != report.attestation.report_data:
            raise CheckError(
                Found.REPORT_DATA,
                "the report states other report data than the evidence holds",
                severity=Severity.IDENTITY,
                expected=said[:32].hex(),
                actual=report.attestation.report_data,
            )
        if asked.nonce is not None:
            expected = report_data(keyset.digest, asked.nonce)
            what = "the evidence is not for this keyset and nonce"
            same(said, expected, Found.REPORT_DATA, what)
        elif said != unchallenged:
            raise CheckError(
                Found.NONCE_UNKNOWN,
                "the evidence is for another keyset, or for a nonce that was not told here",
                severity=Severity.TIME,
                expected=unchallenged.hex(),
                actual=said.hex(),
            )
    if asked.nonce is None and said == unchallenged:
        ledger.find("A2", Found.NO_NONCE, "the evidence is for no nonce: it may be old")


def _provenance(
    ledger: Ledger, reading: Reading, attested: Attested, report: Report | None
) -> None:
    """Only the compose file is measured; what else a report says of its build is its own word."""
    if report is None:
        return
    named = report.attestation.source_provenance
    if named is not None:
        said = provenance(msgspec.structs.asdict(named))
        reading.say(source_provenance=said or None)
        reading.uncovered += [
            f"source_provenance.{name}" for name in named.__struct_fields__ if getattr(named, name)
        ]
    compose = report.evidence_text("app_compose")
    measured = attested.raw("dstack_compose_hash")
    if compose is None or not measured:
        ledger.find("A3", Found.PROVENANCE_UNBOUND, "no compose file that was measured is shown")
        return
    with ledger.check("A3", compose.encode()):
        what = "the compose file is not the one that was measured"
        same(sha256(compose.encode()), measured, Found.PROVENANCE_MISMATCH, what)
    reading.say(compose_sha256=measured.hex())
