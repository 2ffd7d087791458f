"""ACI receipts of a gateway of our own: keyset, report with a quote, session, and any defect.

::

    minted = mint(Spec(request=body))
    examine(System.ACI, minted.captured, minted.asked())
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from registry.core import digest
from registry.core.digest import sha256
from registry.core.evidence.event_log import RUNTIME, Event
from registry.core.foreign.aci.documents import report_data
from registry.core.foreign.captured import PartRole
from tools.fake_vendor import event_log, intel
from tools.fake_vendor.caught import Caught, believing, key_of, public_bytes
from tools.fake_vendor.intel import NOON

NONCE: Final = bytes(range(32))
"""What the client had sent."""

COMPOSE: Final = '{"docker_compose_file":"services: {}","name":"gateway"}'
"""What the gateway was started from."""

REQUEST: Final = b'{"messages":[{"content":"hi","role":"user"}],"model":"demo-model"}'
RESPONSE: Final = (
    b'{"choices":[{"finish_reason":"stop","index":0,"message":{"content":"Hello","role":"assistant"'
    b'}}],"id":"chatcmpl-123"}'
)

_NOON_SECONDS: Final = int(NOON.timestamp())


def _same(value: Any) -> Any:
    return value


def _compact(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Spec:
    """One receipt, and what comes with it.

    Attributes:
        nonce: What the report was asked with; None for the report that is for no nonce.
        keyset: Edits the keyset.
        events: Edits the events.
        receipt: Edits the receipt before it is signed.
        signed: Edits the receipt after that.
        signer: The seed of the key that signs.
        written: How the receipt is spelled.
        session: Edits the session.
        report: Edits the report.
        report_data: Edits what the quote commits to.
        compose: What the report says that the gateway was started from.
        not_after: When the keyset ends.
    """

    request: bytes = REQUEST
    response: bytes = RESPONSE
    nonce: bytes | None = NONCE
    keyset: Callable[[dict[str, Any]], dict[str, Any]] = _same
    events: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = _same
    receipt: Callable[[dict[str, Any]], dict[str, Any]] = _same
    signed: Callable[[dict[str, Any]], dict[str, Any]] = _same
    signer: int = 2
    written: Callable[[object], bytes] = _compact
    session: Callable[[dict[str, Any]], dict[str, Any]] = _same
    report: Callable[[dict[str, Any]], dict[str, Any]] = _same
    report_data: Callable[[bytes], bytes] = _same
    compose: str = COMPOSE
    not_after: int = _NOON_SECONDS + 86_400


def mint(spec: Spec | None = None) -> Caught:
    """Make a receipt and what comes with it."""
    spec = spec or Spec()
    keyset = spec.keyset(
        {
            "e2ee_public_keys": [],
            "not_after": spec.not_after,
            "receipt_signing_keys": [
                {
                    "algo": "ed25519",
                    "key_id": "receipt-1",
                    "public_key": public_bytes(key_of(2)).hex(),
                }
            ],
            "subject": "dstack-app://example-app",
            "tls_public_keys": [{"domain": "api.example.com", "spki_sha256": "c0" * 32}],
        }
    )
    name = sha256(_compact(keyset))
    session = spec.session(
        {
            "api_version": "aci/1",
            "channel_binding": [],
            "claims": {"tee_attested": {"status": "unknown"}},
            "endpoint": "https://upstream.example.com",
            "established_at": _NOON_SECONDS - 1000,
            "evidence": {
                "data": "data:text/plain;base64," + base64.b64encode(b"evidence").decode(),
                "digest": digest.text(sha256(b"evidence")),
            },
            "expires_at": _NOON_SECONDS + 2600,
            "upstream_name": "demo-upstream",
            "verifier_id": "example/1",
        }
    )
    events = spec.events(
        [
            {"type": "request.received", "body_hash": digest.text(sha256(spec.request))},
            {"type": "request.forwarded", "body_hash": digest.text(sha256(spec.request))},
            {
                "type": "upstream.verified",
                "result": "verified",
                "required": True,
                "model_id": "demo-model",
                "session_id": sha256(_compact(session)).hex(),
            },
            {"type": "response.returned", "body_hash": digest.text(sha256(spec.response))},
        ]
    )
    receipt = spec.receipt(
        {
            "api_version": "aci/1",
            "chat_id": "chatcmpl-123",
            "endpoint": "/v1/chat/completions",
            "event_log": events,
            "key_id": "receipt-1",
            "method": "POST",
            "model": "demo-model",
            "receipt_id": "rcpt-0001",
            "served_at": _NOON_SECONDS - 60,
            "workload_keyset_digest": digest.text(name),
        }
    )
    signature = key_of(spec.signer).sign(_compact(receipt)).hex()
    receipt = spec.signed({**receipt, "signature": signature})
    report, quoted = _report(spec, keyset, name)
    parts = [
        (PartRole.RECEIPT, spec.written(receipt)),
        (PartRole.REPORT, _compact(spec.report(report))),
        (PartRole.REQUEST, spec.request),
        (PartRole.RESPONSE, spec.response),
        (PartRole.SESSION, _compact(session)),
    ]
    policy = believing("intel-dcap", quoted.roots)
    return Caught(tuple(parts), quoted.endorsements, policy, spec.nonce)


def _report(spec: Spec, keyset: dict[str, Any], name: bytes) -> tuple[dict[str, Any], intel.Minted]:
    log, registers = event_log.dstack(
        [
            Event(3, RUNTIME, b"", bytes(20), "app-id"),
            Event(3, RUNTIME, b"", sha256(COMPOSE.encode()), "compose-hash"),
        ]
    )
    committed = report_data(name, spec.nonce)
    quoted = intel.mint(
        intel.Spec(
            report_data=spec.report_data(committed),
            fields={f"rtmr{number}": value for number, value in enumerate(registers)},
        )
    )
    report = {
        "api_version": "aci/1",
        "attestation": {
            "evidence": {
                "app_compose": spec.compose,
                "event_log": log.decode(),
                "quote": quoted.evidence.hex(),
            },
            "report_data": committed[:32].hex(),
            "source_provenance": {
                "image_digest": None,
                "image_provenance": None,
                "repo_commit": "b6b5c1b",
                "repo_url": "https://example.com/gateway",
            },
            "tee_type": "tdx",
            "workload_keyset": keyset,
        },
        "service_capabilities": {"serving": "aggregator", "supported_e2ee_versions": []},
        "workload_keyset_digest": digest.text(name),
    }
    return report, quoted
