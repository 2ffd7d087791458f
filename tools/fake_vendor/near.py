"""Signatures and reports of a vllm-proxy of our own, of both algorithms, and any defect.

::

    caught = mint(Spec(algorithms=("ecdsa", "ed25519")))
    examine(System.NEAR, caught.captured, caught.asked())
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from coincurve import PrivateKey
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from registry.core.digest import sha256
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.event_log import RUNTIME, Event
from registry.core.evidence.policy import Policy
from registry.core.evidence.roots import Roots
from registry.core.foreign.captured import PartRole
from registry.core.foreign.ethereum import keccak256, personal_message
from tools.fake_vendor import event_log, intel, nvidia
from tools.fake_vendor.caught import Caught, believing, key_of, public_bytes

NONCE: Final = bytes(range(32))
"""What the client had sent."""

FINGERPRINT: Final = "ab" * 32
"""The digest of a TLS certificate."""

COMPOSE: Final = '{"docker_compose_file":"services: {}","name":"vllm"}'
"""What the container was started from."""

REQUEST: Final = b'{"messages": [{"role": "user", "content": "hi"}], "model": "org/x:tag"}'
RESPONSE: Final = (
    b'{"id":"chatcmpl-1","model":"org/x:tag","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"Gr\xc3\xbc\xc3\x9fe"},"finish_reason":"stop"}],"usage":{"total_tokens":7}}'
)


def ethereum_key(seed: int = 7) -> PrivateKey:
    """A secp256k1 key that is always the same."""
    return PrivateKey(bytes([seed] * 32))


def ethereum_address(key: PrivateKey) -> bytes:
    """The 20 bytes of its address."""
    return keccak256(key.public_key.format(compressed=False)[1:])[-20:]


def personal_sign(key: PrivateKey, text: str) -> str:
    """An EIP-191 signature as web3 writes it: r, s and 27 or 28."""
    made = key.sign_recoverable(personal_message(text.encode()), hasher=keccak256)
    return "0x" + (made[:64] + bytes([made[64] + 27])).hex()


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Spec:
    """One call, its signatures, and the reports about their keys.

    Attributes:
        model: What the signed text calls the model; None for a text without.
        signed_request: The request that the digest is of, if another.
        signed_response: As ``signed_request``.
        algorithms: Which signatures.
        text: Edits the signed text.
        answer: Edits the answer about each signature.
        fingerprint: That of the TLS certificate in report data of version 2; None for version 1.
        nonce: What the report was asked with.
        node: Edits each node's report.
        report: Edits the whole report.
        report_data: Edits what the quote commits to.
        gpus: What the GPUs of the node are like; none for a list that is empty.
    """

    request: bytes = REQUEST
    response: bytes = RESPONSE
    model: str | None = None
    signed_request: bytes | None = None
    signed_response: bytes | None = None
    algorithms: tuple[str, ...] = ("ecdsa",)
    text: Callable[[str], str] = _same
    answer: Callable[[dict[str, Any]], dict[str, Any]] = _same
    fingerprint: str | None = None
    nonce: bytes = NONCE
    node: Callable[[dict[str, Any]], dict[str, Any]] = _same
    report: Callable[[list[dict[str, Any]]], Any] = _same
    report_data: Callable[[bytes], bytes] = _same
    gpus: tuple[nvidia.Spec, ...] = ()


def mint(spec: Spec | None = None) -> Caught:
    """Make the signatures of a call, and a report with a node for each."""
    spec = spec or Spec()
    request = spec.request if spec.signed_request is None else spec.signed_request
    response = spec.response if spec.signed_response is None else spec.signed_response
    hashes = f"{sha256(request).hex()}:{sha256(response).hex()}"
    text = spec.text(hashes if spec.model is None else f"{spec.model}:{hashes}")
    parts = [(PartRole.REQUEST, spec.request), (PartRole.RESPONSE, spec.response)]
    nodes: list[dict[str, Any]] = []
    endorsements, policy = Endorsements(), None
    for algorithm in spec.algorithms:
        if algorithm == "ecdsa":
            address = ethereum_address(ethereum_key())
            shown, signature = "0x" + address.hex(), personal_sign(ethereum_key(), text)
        else:
            address = public_bytes(key_of(3))
            shown, signature = address.hex(), key_of(3).sign(text.encode()).hex()
        said = {
            "text": text,
            "signature": signature,
            "signing_address": shown,
            "signing_algo": algorithm,
        }
        parts.append((PartRole.SIGNATURE, json.dumps(spec.answer(said)).encode()))
        node, endorsements, policy = _node(spec, algorithm, address, shown)
        nodes.append(node)
    whole = spec.report(nodes)
    if isinstance(whole, list):
        whole = whole[0] if len(whole) == 1 else {"all_attestations": whole}
    parts.append((PartRole.REPORT, json.dumps(whole).encode()))
    policy = policy or believing("intel-dcap", intel.mint().roots)
    return Caught(tuple(parts), endorsements, policy, spec.nonce)


def _node(
    spec: Spec, algorithm: str, address: bytes, shown: str
) -> tuple[dict[str, Any], Endorsements, Policy]:
    log, registers = event_log.dstack(
        [Event(3, RUNTIME, b"", sha256(COMPOSE.encode()), "compose-hash")]
    )
    if spec.fingerprint is None:
        first = address.ljust(32, b"\0")
    else:
        first = sha256(address + bytes.fromhex(spec.fingerprint))
    quoted = intel.mint(
        intel.Spec(
            report_data=spec.report_data(first + spec.nonce),
            fields={f"rtmr{number}": value for number, value in enumerate(registers)},
        )
    )
    node: dict[str, Any] = {
        "signing_address": shown,
        "signing_algo": algorithm,
        "request_nonce": spec.nonce.hex(),
        "intel_quote": quoted.evidence.hex(),
        "nvidia_payload": json.dumps(
            {"nonce": spec.nonce.hex(), "evidence_list": _gpus(spec), "arch": "HOPPER"}
        ),
        "event_log": json.loads(log),
        "info": {"tcb_info": {"app_compose": COMPOSE}},
    }
    if spec.fingerprint is not None:
        node["tls_cert_fingerprint"] = spec.fingerprint
    roots, endorsements = quoted.roots, quoted.endorsements
    for each in spec.gpus:
        made = nvidia.mint(each)
        roots = Roots(roots.named | made.roots.named)
        endorsements = endorsements.with_(
            (item.role, item.data) for item in made.endorsements.items
        )
    return spec.node(node), endorsements, believing("intel-dcap", roots)


def _gpus(spec: Spec) -> list[dict[str, str]]:
    """What NVIDIA's own tool writes of each GPU."""
    written = []
    for device in (nvidia.mint_device(each) for each in spec.gpus):
        pem = b"".join(
            x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
            for der in device.chain
        )
        evidence = base64.b64encode(device.report).decode()
        written.append({"evidence": evidence, "certificate": base64.b64encode(pem).decode()})
    return written
