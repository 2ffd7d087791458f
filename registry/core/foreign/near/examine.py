"""The examination of a vllm-proxy's signatures: text, bodies, and whose key signed them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, CheckResult, Finding, Ledger, Severity
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Role
from registry.core.evidence.validity import appraised_at
from registry.core.foreign import platform, spelling
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.near import gpus
from registry.core.foreign.near.documents import Found, Node, Signed, Text, read_nodes, signer_of
from registry.core.foreign.platform import Attested, Device, same
from registry.core.foreign.proof import Strength, System
from registry.core.foreign.reading import Reading
from registry.errors import MalformedError

PARSER: Final = "near/1"
"""This parser: another number reads the same bytes otherwise."""

BODILESS: Final = "near/2"
"""This parser, where no response is at hand: the one before left open which model it names."""

FORMAT: Final = "vllm-proxy/2025-11"
"""What is read: the answers of vllm-proxy since it signs the model's name, and before."""

TABLE: Final[Mapping[str, str]] = {
    "P1": "the answers about the signatures",
    "P2": "the signed text",
    "P3": "the reports, and in them the node of the signer",
    "S1": "every signature",
    "C1": "the request",
    "C2": "the response",
    "C3": "the model that is named",
    "A1": "the evidence of the node",
    "A2": "the evidence is for the key that signed",
    "A3": "the evidence is for the nonce",
    "A4": "the GPUs were asked with the same nonce",
    "A5": "what the container was started from was measured",
    "A6": "the GPUs' own evidence",
}
"""Every check, in order."""

_SPELLINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "received/1": lambda data: data,
    "compact-json/1": lambda data: _respelled(data, spelling.COMPACT),
    "compact-ascii-json/1": lambda data: _respelled(data, spelling.COMPACT_ASCII),
}
"""Spellings of a response of which the server may have signed the digest, newest first: one that
is no stream is written again before it is sent."""

_UNCOVERED: Final = (
    "request headers",
    "response headers",
    "response status",
    "model weights",
    "the request as it was forwarded: empty tool_calls are removed first",
    "bodies as a gateway in front of the server rewrote them",
    "which call the quote covers: it shows that the key is held, whenever it was made",
)


def examine(captured: Captured, asked: Asked) -> tuple[Reading, tuple[CheckResult, ...]]:
    """Read and check signatures of a vllm-proxy.

    Raises:
        MalformedError: ``FOREIGN_PART`` without a signature; ``BAD_TIME``; what is wrong with the
            appraisal policy.
        UnavailableError: ``MISSING_EXTRA``.
    """
    ledger = Ledger(TABLE, appraised_at(asked.at))
    reading = Reading(System.NEAR, FORMAT, PARSER, model=Strength.NAME_ONLY, code=Strength.MEASURED)
    captured.require_any(PartRole.SIGNATURE)
    signed = _signatures(ledger, captured)
    if signed:
        text = signed[0].text
        _read(reading, signed, text)
        for item in signed:
            with ledger.check("S1", item.said.text.encode()):
                item.verify()
        _bodies(ledger, reading, text, captured)
    nodes = _nodes(ledger, captured, signed)
    if not nodes and signed and captured.all(PartRole.REPORT):
        with ledger.check("A2"):
            raise CheckError(
                Found.SIGNER_ABSENT,
                "no report is about the key that signed",
                severity=Severity.TIME,
                expected=", ".join(item.address.hex() for item in signed),
            )
    for node in nodes:
        _node(ledger, reading, node, captured, asked)
    if not nodes:
        ledger.skip("A1", Finding.MISSING, "no evidence of the hardware came with the proof")
    return reading, ledger.results()


def _signatures(ledger: Ledger, captured: Captured) -> list[Signed]:
    signed: list[Signed] = []
    for data in captured.all(PartRole.SIGNATURE):
        with ledger.check("P1", data):
            signed.append(Signed.parse(data))
    with ledger.check("P2"):
        if len({str(item.text) for item in signed}) > 1:
            raise CheckError(
                Found.TWO_TEXTS,
                "the signatures are of different texts",
                severity=Severity.IDENTITY,
                actual=", ".join(item.said.text[:80] for item in signed),
            )
    return signed


def _read(reading: Reading, signed: Sequence[Signed], text: Text) -> None:
    reading.say(
        model=text.model,
        request_sha256=text.request.hex(),
        response_sha256=text.response.hex(),
        signers=", ".join(f"{item.said.signing_algo} {item.address.hex()}" for item in signed),
    )
    reading.response_sha256 = text.response
    reading.covered += ["request body", "response body, with the framing of a stream"]
    (reading.uncovered if text.model is None else reading.covered).append("model")
    reading.client_claimable.append("request_sha256")
    reading.uncovered += _UNCOVERED


def _bodies(ledger: Ledger, reading: Reading, text: Text, captured: Captured) -> None:
    request, response = captured.one(PartRole.REQUEST), captured.one(PartRole.RESPONSE)
    if request is None:
        ledger.skip("C1", Finding.NOT_APPLICABLE, "the request is not at hand")
        reading.uncovered.append("the request's bytes, which were not at hand")
    else:
        with ledger.check("C1", request):
            _require(
                text.request,
                sha256(request),
                Found.REQUEST_MISMATCH,
                "this is not the request that was signed; the client may have told its digest",
            )
    if response is None:
        ledger.skip("C2", Finding.NOT_APPLICABLE, "the response is not at hand")
        reading.parser_version = BODILESS
        ledger.skip("C3", Finding.NOT_APPLICABLE, "the response is not at hand")
        reading.uncovered.append("the response's bytes, which were not at hand")
        return
    with ledger.check("C2", response):
        reading.canonicaliser = _spelling(response, text.response)
    if text.model is not None and (named := _model(response)) is not None:
        with ledger.check("C3", response):
            if named != text.model:
                text_ = f"the response says {named[:200]}, what was signed {text.model[:200]}"
                ledger.find("C3", Found.MODEL_MISMATCH, text_)
    else:
        ledger.skip("C3", Finding.NOT_APPLICABLE, "only one of text and response names a model")


def _require(signed: bytes, actual: bytes, finding: Found, what: str) -> None:
    """As :func:`same`, where a difference leaves it open: some spelling may be unknown here."""
    if signed != actual:
        raise CheckError(
            finding, what, severity=Severity.TIME, expected=signed.hex(), actual=actual.hex()
        )


def _spelling(response: bytes, signed: bytes) -> str:
    for name, write in _SPELLINGS.items():
        try:
            if sha256(write(response)) == signed:
                return name
        except MalformedError:
            # No JSON: it was sent as it is.
            continue
    what = "in no known spelling is this the response that was signed"
    _require(signed, sha256(response), Found.RESPONSE_MISMATCH, what)
    return ""


def _respelled(data: bytes, style: spelling.Style) -> bytes:
    value = encoding.read_foreign_numbers(data, what="response", max_depth=spelling.MAX_DEPTH)
    return spelling.spell(value, style)


def _model(response: bytes) -> str | None:
    try:
        value = encoding.read_foreign_numbers(response, what="response")
    except MalformedError:
        return None
    model = value.get("model") if isinstance(value, dict) else None
    return model if isinstance(model, str) and not isinstance(model, encoding.Number) else None


def _nodes(ledger: Ledger, captured: Captured, signed: Sequence[Signed]) -> list[Node]:
    """The node of each signer, the first that names its address."""
    reports = captured.all(PartRole.REPORT)
    if not reports:
        ledger.skip("P3", Finding.NOT_APPLICABLE, "no report came with the signatures")
    wanted = {(item.said.signing_algo, item.address) for item in signed}
    found: dict[tuple[str, bytes], Node] = {}
    for data in reports:
        with ledger.check("P3", data):
            for value in read_nodes(data):
                named = signer_of(value)
                if named in wanted and named not in found:
                    # Others' nodes, whatever is in them, are others' business.
                    found[named] = Node.of(value)
    return list(found.values())


def _node(ledger: Ledger, reading: Reading, node: Node, captured: Captured, asked: Asked) -> None:
    endorsements = captured.endorsements
    log = node.event_log()
    if log is not None and not endorsements.all(Role.EVENT_LOG):
        endorsements = endorsements.with_([(Role.EVENT_LOG, log)])
    device = Device(Family.INTEL_DCAP, node.quote, endorsements)
    attested = platform.examine(ledger, "A1", device, asked)
    if attested is None:
        return
    platform.note(reading, attested)
    reading.say(report_data_version=node.version)
    if node.said.compose_manager_attestation is not None:
        reading.uncovered.append("compose_manager_attestation, which agrees only with itself")
    said = attested.raw("report_data")
    with ledger.check("A2", said):
        what = "the evidence is not for the key that signed"
        same(said[:32], node.committed(), Found.SIGNER_MISMATCH, what)
    _nonce(ledger, node, said, asked)
    _compose(ledger, reading, node, attested)
    given = gpus.Given(node, captured.endorsements, attested, asked)
    reading.uncovered.append(gpus.examine(ledger, "A6", given))


def _nonce(ledger: Ledger, node: Node, said: bytes, asked: Asked) -> None:
    stated = bytes.fromhex(node.said.request_nonce)
    with ledger.check("A3", said):
        what = "the evidence is for another nonce than the report says"
        same(said[32:], stated, Found.NONCE_MISMATCH, what)
        if asked.nonce is not None:
            what = "the evidence is for another nonce than was sent"
            same(said[32:], asked.nonce, Found.NONCE_MISMATCH, what)
    if asked.nonce is None:
        ledger.find("A3", Found.NONCE_UNASKED, "no nonce was told here: the evidence may be old")
    with ledger.check("A4"):
        nonce = node.gpu_nonce()
        if nonce is not None and nonce.lower() != node.said.request_nonce:
            raise CheckError(
                Found.GPU_NONCE,
                "the GPUs were asked with another nonce",
                severity=Severity.IDENTITY,
                expected=node.said.request_nonce,
                actual=ascii(nonce)[:100],
            )


def _compose(ledger: Ledger, reading: Reading, node: Node, attested: Attested) -> None:
    measured = attested.raw("dstack_compose_hash")
    with ledger.check("A5"):
        compose = node.compose()
        if compose is None or not measured:
            text = "no compose file that was measured is shown"
            ledger.find("A5", Found.COMPOSE_UNBOUND, text)
            return
        what = "the compose file is not the one that was measured"
        same(sha256(compose), measured, Found.COMPOSE_MISMATCH, what)
        reading.say(compose_sha256=measured.hex())
