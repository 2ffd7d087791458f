"""Responses of an OpenGradient gateway of our own, of every kind it answers with, and any defect.

::

    caught = mint(Spec(stream=True))
    examine(System.OPENGRADIENT, caught.captured, caught.asked())

Requests and outputs are hashed here with Python's own ``json``, as the gateway does it.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from registry.core.digest import sha256
from registry.core.foreign.captured import PartRole
from registry.core.foreign.ethereum import keccak256
from tools.fake_vendor import fixed_rsa, nitro
from tools.fake_vendor.caught import NOON, Caught, believing

TLS: Final = b"\xcc" * 32
"""The digest of the enclave's TLS certificate."""

NONCE: Final = bytes(range(20))
"""What the client had sent."""

CALL: Final = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": '{"a": 1}'},
}
"""A tool call."""

LEGACY_TIME: Final = "2025-12-16T08:20:26.491885+00:00"

_NOON_SECONDS: Final = int(NOON.timestamp())


def key_of(name: str = "enclave") -> RSAPrivateKey:
    """The key of an enclave: ``enclave`` or ``other``."""
    return fixed_rsa.private_key(f"opengradient {name}", 2048)


def der_of(key: RSAPrivateKey) -> bytes:
    """The DER of its public half."""
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def question() -> dict[str, Any]:
    """A request for a chat."""
    return {"model": "gpt-4.1", "messages": [{"role": "user", "content": "What is a TEE?"}]}


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Spec:
    """One call.

    Attributes:
        request: What was sent.
        hashed: What the gateway hashes of it; made from the request if absent.
        content: The answer.
        tool_calls: The tools that the answer calls.
        stream: Whether it comes in events.
        is_text: Whether a text is completed.
        timestamp: When the gateway signed.
        stated: Edits the proof after it was signed.
        body: Edits the whole body, or the event with the proof.
        written: Edits the finished response.
        signer: Whose key signs.
        key: Whose key is handed over.
        user_data: Edits what the document commits to.
        nonce: What the document is for.
    """

    request: dict[str, Any] = field(default_factory=question)
    hashed: dict[str, Any] | None = None
    content: str = "A trusted execution environment."
    tool_calls: tuple[Any, ...] = ()
    stream: bool = False
    is_text: bool = False
    timestamp: int = _NOON_SECONDS - 30
    stated: Callable[[dict[str, Any]], dict[str, Any]] = _same
    body: Callable[[dict[str, Any]], dict[str, Any]] = _same
    written: Callable[[bytes], bytes] = _same
    signer: str = "enclave"
    key: str = "enclave"
    user_data: Callable[[bytes], bytes] = _same
    nonce: bytes | None = NONCE


def mint(spec: Spec | None = None) -> Caught:
    """Make a response, with the key and the document of its enclave."""
    spec = spec or Spec()
    hashed = spec.hashed or {"temperature": 0.0, **spec.request}
    reason = "tool_calls" if spec.tool_calls else "stop"
    output = json.dumps(list(spec.tool_calls), sort_keys=True) if spec.tool_calls else spec.content
    proof = _proof(spec, json.dumps(hashed, sort_keys=True), output)
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": spec.timestamp}
    head["model"] = spec.request["model"]
    if spec.stream:
        response = _stream(spec, proof, reason)
    elif spec.is_text:
        choice = {"text": output, "index": 0, "finish_reason": reason}
        response = json.dumps(spec.body({**head, "choices": [choice], **proof})).encode()
    else:
        message: dict[str, Any] = {"role": "assistant", "content": spec.content}
        if spec.tool_calls:
            message["tool_calls"] = list(spec.tool_calls)
        choice = {"index": 0, "message": message, "finish_reason": reason}
        usage = {"total_tokens": 9}
        body = {**head, "choices": [choice], **proof, "usage": usage}
        response = json.dumps(spec.body(body)).encode()
    return caught(spec, spec.written(response))


def caught(spec: Spec, response: bytes) -> Caught:
    """A response with all that comes with it."""
    der = der_of(key_of(spec.key))
    committed = b"\x12\x20" + TLS + b"\x12\x20" + sha256(der_of(key_of("enclave")))
    document = nitro.mint(nitro.Spec(user_data=spec.user_data(committed), nonce=spec.nonce))
    parts = (
        (PartRole.RESPONSE, response),
        (PartRole.REQUEST, json.dumps(spec.request).encode()),
        (PartRole.KEY, der),
        (PartRole.EVIDENCE, document.evidence),
    )
    policy = believing("aws-nitro", document.roots)
    return Caught(parts, document.endorsements, policy, spec.nonce)


def _proof(spec: Spec, request: str, output: str) -> dict[str, Any]:
    request_hash, output_hash = keccak256(request.encode()), keccak256(output.encode())
    message = keccak256(request_hash + output_hash + spec.timestamp.to_bytes(32, "big"))
    key = key_of(spec.signer)
    return spec.stated(
        {
            "tee_signature": base64.b64encode(fixed_rsa.sign_pss_sha256(key, message)).decode(),
            "tee_request_hash": request_hash.hex(),
            "tee_output_hash": output_hash.hex(),
            "tee_timestamp": spec.timestamp,
            "tee_id": "0x" + keccak256(der_of(key)).hex(),
        }
    )


def _stream(spec: Spec, proof: dict[str, Any], reason: str) -> bytes:
    model = spec.request["model"]
    deltas: list[dict[str, Any]] = [
        {"content": spec.content[at : at + 5], "role": "assistant"}
        for at in range(0, len(spec.content), 5)
    ]
    for index, call in enumerate(spec.tool_calls):
        arguments = call["function"]["arguments"]
        name = {"name": call["function"]["name"], "arguments": arguments[:3]}
        pieces = [{**call, "function": name}, {"function": {"arguments": arguments[3:]}}]
        deltas += [
            {"role": "assistant", "tool_calls": [{"index": index, **piece}]} for piece in pieces
        ]
    events = [
        {"choices": [{"delta": delta, "index": 0, "finish_reason": None}], "model": model}
        for delta in deltas
    ]
    last = {"choices": [{"delta": {}, "index": 0, "finish_reason": reason}], "model": model}
    events.append(spec.body({**last, **proof}))
    written = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*written, "data: [DONE]\n\n"]).encode()


def mint_legacy(spec: Spec, message: dict[str, Any] | None = None) -> Caught:
    """A response from before 2026-02."""
    filled = spec.hashed or {
        "max_tokens": None,
        "temperature": None,
        "stop": None,
        "tools": None,
        "tool_choice": "auto",
        **spec.request,
        "messages": [
            {"tool_calls": None, "tool_call_id": None, "name": None, **item}
            for item in spec.request["messages"]
        ],
    }
    request_hash = sha256(json.dumps(filled, sort_keys=True).encode()).hex()
    signed = {
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": spec.content},
        "model": spec.request["model"],
        "request_hash": request_hash,
        "timestamp": LEGACY_TIME,
    }
    data = json.dumps(signed, sort_keys=True).encode()
    made = fixed_rsa.sign_pss_sha256(key_of(spec.signer), data, 256 - 32 - 2)
    shown = {
        "response_signature": base64.b64encode(made).decode(),
        "request_signature": request_hash,
        "response_timestamp": LEGACY_TIME,
    }
    choice = {"index": 0, "message": message or signed["message"], "finish_reason": "stop"}
    body = {"model": signed["model"], "choices": [choice], "system_fingerprint": str(shown)}
    return caught(spec, spec.written(json.dumps(spec.body(body)).encode()))
