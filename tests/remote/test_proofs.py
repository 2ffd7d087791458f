"""Fetching proofs from systems: real HTTP, minted documents, and hosts that mean no good."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization

from registry.core.evidence.claims import Family
from registry.core.foreign.captured import Captured, PartRole
from registry.core.foreign.devices import evidence_of
from registry.core.foreign.proof import System
from registry.core.foreign.systems import examine
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason, RegistryError, UnavailableError
from registry.remote import proofs
from registry.remote.http import HTTPClient
from registry.remote.proofs import NONCE_BYTES, Fetched, ProofService
from tests.http_handler import answering
from tools.fake_vendor import aci, near, opengradient
from tools.fake_vendor.caught import Caught

NEAR = near.mint(near.Spec(algorithms=("ecdsa", "ed25519"), model="org/x:tag"))
ACI = aci.mint()
GRADIENT = opengradient.mint()


class Gateway(BaseHTTPRequestHandler):
    """A system that hands out proofs, and remembers who asked for what."""

    protocol_version = "HTTP/1.1"
    url: ClassVar[str] = ""
    answers: ClassVar[dict[str, bytes | int]] = {}
    asked: ClassVar[list[tuple[str, dict[str, list[str]], str | None]]] = []

    def do_GET(self) -> None:
        """Answer."""
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        self.asked.append((url.path, query, self.headers["authorization"]))
        algorithm = query.get("signing_algo", [""])[0]
        answer = self.answers.get(f"{url.path} {algorithm}".strip(), 404)
        body = answer if isinstance(answer, bytes) else b'{"error": "no"}'
        self.send_response(200 if isinstance(answer, bytes) else answer)
        if answer == 302:
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module", autouse=True)
def gateway() -> Iterator[None]:
    with answering(Gateway) as url:
        Gateway.url = url
        yield


def handed_out(caught: Caught, role: PartRole) -> list[bytes]:
    return [data for name, data in caught.parts if name is role]


def near_answers() -> dict[str, bytes | int]:
    signatures = handed_out(NEAR, PartRole.SIGNATURE)
    by = {json.loads(data)["signing_algo"]: data for data in signatures}
    [report] = handed_out(NEAR, PartRole.REPORT)
    return {
        **{f"/v1/signature/chatcmpl-1 {name}": data for name, data in by.items()},
        "/v1/attestation/report ecdsa": report,
        "/v1/attestation/report ed25519": report,
    }


def aci_answers() -> dict[str, bytes | int]:
    [receipt], [report], [session] = (
        handed_out(ACI, role) for role in (PartRole.RECEIPT, PartRole.REPORT, PartRole.SESSION)
    )
    events = json.loads(receipt)["event_log"]
    [cited] = [item["session_id"] for item in events if "session_id" in item]
    return {
        "/v1/aci/receipts/chatcmpl-123": receipt,
        "/v1/aci/attestation": report,
        f"/v1/aci/sessions/{cited}": session,
    }


def gradient_answers() -> dict[str, bytes | int]:
    pem = (
        opengradient.key_of()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    [document] = handed_out(GRADIENT, PartRole.EVIDENCE)
    return {
        "/signing-key": json.dumps({"tee_id": "0x1", "public_key": pem.decode()}).encode(),
        "/enclave/attestation": base64.b64encode(document) + b"\n",
    }


SYSTEMS: dict[System, tuple[Caught, Callable[[], dict[str, bytes | int]]]] = {
    System.ACI: (ACI, aci_answers),
    System.NEAR: (NEAR, near_answers),
    System.OPENGRADIENT: (GRADIENT, gradient_answers),
}


def bodies(caught: Caught) -> Captured:
    """What whoever asked has by itself."""
    own = (PartRole.REQUEST, PartRole.RESPONSE)
    return Captured.of([item for item in caught.parts if item[0] in own], caught.endorsements)


def fetch(
    system: System,
    answers: Mapping[str, bytes | int],
    captured: Captured | None = None,
    token: str = "",
    answer_id: str = "",
) -> Fetched:
    caught = SYSTEMS[system][0]
    Gateway.answers = dict(answers)
    Gateway.asked = []
    with HTTPClient() as http:
        service = ProofService(http, Gateway.url, token)
        nonce = caught.nonce or b""
        return service.fetch(system, captured or bodies(caught), nonce, answer_id)


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_fetched_proves_the_answer(system: System) -> None:
    caught, answers = SYSTEMS[system]
    fetched = fetch(system, answers(), token="key-7")  # noqa: S106 - of nobody
    assert fetched.missed == []
    own = bodies(caught)
    parts = [(role, data) for role, items in own.parts.items() for data in items]
    captured = Captured.of([*parts, *fetched.parts], caught.endorsements)
    proof = examine(system, captured, caught.asked()).proof
    assert proof.verdict is Verdict.VALID
    assert {authorization for _, _, authorization in Gateway.asked} == {"Bearer key-7"}
    assert evidence_of(system, captured)


def test_both_signatures_are_asked_for_and_the_report_of_each_signer() -> None:
    fetch(System.NEAR, near_answers())
    asked = {(path, query["signing_algo"][0]) for path, query, _ in Gateway.asked}
    assert asked == {
        (path, name)
        for path in ("/v1/signature/chatcmpl-1", "/v1/attestation/report")
        for name in ("ecdsa", "ed25519")
    }
    reports = [query for path, query, _ in Gateway.asked if path.endswith("report")]
    assert {query["nonce"][0] for query in reports} == {near.NONCE.hex()}
    assert len({query["signing_address"][0] for query in reports}) == 2
    assert all(query["model"] == ["org/x:tag"] for _, query, _ in Gateway.asked)


def test_what_is_not_handed_out_is_named_and_the_rest_is_kept() -> None:
    answers = near_answers()
    del answers["/v1/signature/chatcmpl-1 ed25519"]
    fetched = fetch(System.NEAR, answers)
    assert fetched.missed == ["signature ed25519: status 404"]
    assert [role for role, _ in fetched.parts] == [PartRole.SIGNATURE, PartRole.REPORT]


def test_where_nothing_is_handed_out_the_reason_is_told() -> None:
    with pytest.raises(UnavailableError) as caught:
        fetch(System.ACI, {})
    assert caught.value.reason is Reason.REMOTE_STATUS


def test_a_redirection_is_not_followed() -> None:
    with pytest.raises(UnavailableError) as caught:
        fetch(System.ACI, dict.fromkeys(aci_answers(), 302))
    assert caught.value.actual == "status 302"
    assert [path for path, _, _ in Gateway.asked] == list(aci_answers())[:2]


@pytest.mark.parametrize(
    ("answer_id", "path"),
    [
        ("../../admin", "/v1/aci/receipts/..%2F..%2Fadmin"),
        ("..", "/v1/aci/receipts/%2E%2E"),
        ("a?b#c", "/v1/aci/receipts/a%3Fb%23c"),
        ("http://elsewhere/", "/v1/aci/receipts/http%3A%2F%2Felsewhere%2F"),
    ],
)
def test_an_id_is_one_segment_of_a_path_whatever_is_in_it(answer_id: str, path: str) -> None:
    with pytest.raises(UnavailableError):
        fetch(System.ACI, {}, answer_id=answer_id)
    assert Gateway.asked[0][0] == path


def test_an_id_in_a_response_is_the_servers_and_is_quoted_too() -> None:
    response = b'data: {"id": "../x"}\n\ndata: [DONE]\n\n'
    captured = Captured.of([(PartRole.RESPONSE, response)])
    with pytest.raises(UnavailableError):
        fetch(System.ACI, {}, captured)
    assert Gateway.asked[0][0] == "/v1/aci/receipts/..%2Fx"


@pytest.mark.parametrize("answer_id", ["a\nb", "a" * 257])
def test_what_is_no_id_is_refused(answer_id: str) -> None:
    with pytest.raises(MalformedError) as caught:
        fetch(System.ACI, {}, answer_id=answer_id)
    assert caught.value.reason is Reason.FOREIGN_PART
    assert Gateway.asked == []


@pytest.mark.parametrize("response", [b"", b"{}", b'{"id": 7}', b"not JSON"])
def test_without_an_id_nobody_is_asked(response: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        fetch(System.NEAR, {}, Captured.of([(PartRole.RESPONSE, response)]))
    assert caught.value.reason is Reason.FOREIGN_PART
    assert Gateway.asked == []


def test_a_receipt_cites_no_more_sessions_than_are_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proofs, "MAX_SESSIONS", 0)
    fetched = fetch(System.ACI, aci_answers())
    assert PartRole.SESSION not in dict(fetched.parts)


def test_an_answer_that_is_too_large_is_missed_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "MAX_PART_BYTES", 100)
    with pytest.raises(RegistryError) as caught:
        fetch(System.ACI, aci_answers())
    assert caught.value.reason is Reason.ANSWER_TOO_LARGE


@pytest.mark.parametrize(
    "key",
    [b"{}", b"no JSON", b'{"a": 1}', b'{"a": "-----BEGIN PUBLIC KEY-----", "b": "%s"}'],
    ids=["none", "no JSON", "no key", "two"],
)
def test_a_key_that_is_not_one_is_missed(key: bytes) -> None:
    key = key.replace(b"%s", b"-----BEGIN PUBLIC KEY-----")
    fetched = fetch(System.OPENGRADIENT, gradient_answers() | {"/signing-key": key})
    assert [role for role, _ in fetched.parts] == [PartRole.EVIDENCE]
    assert len(fetched.missed) == 1


def test_a_key_may_come_as_pem_alone() -> None:
    pem = json.loads(bytes(gradient_answers()["/signing-key"]))["public_key"].encode()
    fetched = fetch(System.OPENGRADIENT, gradient_answers() | {"/signing-key": pem})
    assert (PartRole.KEY, pem) in fetched.parts


@pytest.mark.parametrize("document", [b"not base64", b"\xff", b"AB=="])
def test_a_document_that_is_not_base64_is_missed(document: bytes) -> None:
    fetched = fetch(System.OPENGRADIENT, gradient_answers() | {"/enclave/attestation": document})
    assert [role for role, _ in fetched.parts] == [PartRole.KEY]


@pytest.mark.parametrize(
    "url", ["http://gateway.example", "file:///etc/passwd", "https://u@x", "ftp://x"]
)
def test_only_this_machine_is_asked_without_tls(url: str) -> None:
    with HTTPClient() as http, pytest.raises(MalformedError) as caught:
        ProofService(http, url)
    assert caught.value.reason is Reason.BAD_SETTING


def test_a_format_without_a_system_has_nobody_to_ask() -> None:
    with HTTPClient() as http, pytest.raises(MalformedError) as caught:
        ProofService(http, "http://127.0.0.1:1").fetch(System.AIR, Captured.of([]), b"")
    assert caught.value.reason is Reason.BAD_SETTING


@pytest.mark.parametrize("system", NONCE_BYTES)
def test_a_nonce_has_the_length_that_the_system_takes(system: System) -> None:
    nonce = bytes(NONCE_BYTES[system] + 1)
    with HTTPClient() as http, pytest.raises(MalformedError) as caught:
        ProofService(http, "http://127.0.0.1:1").fetch(system, Captured.of([]), nonce, "x")
    assert caught.value.expected == f"{NONCE_BYTES[system]} bytes"


# --- Evidence inside what was caught. ---


def test_evidence_is_found_for_the_nodes_that_signed_and_for_no_others() -> None:
    spec = near.Spec(algorithms=("ecdsa", "ed25519"))
    both = near.mint(spec)
    kept = [item for item in both.parts if b'"ed25519"' not in item[1] or item[0] != "signature"]
    assert len(evidence_of(System.NEAR, both.captured)) == 2
    assert len(evidence_of(System.NEAR, Captured.of(kept))) == 1


def test_evidence_may_come_by_itself_or_be_unreadable() -> None:
    alone = Captured.of([(PartRole.EVIDENCE, b"x")])
    assert evidence_of(System.OPENGRADIENT, alone) == ((Family.AWS_NITRO, b"x"),)
    assert {family for family, _ in evidence_of(System.AIR, alone)} == {
        Family.AWS_NITRO,
        Family.INTEL_DCAP,
    }
    broken: list[tuple[PartRole, Any]] = [(PartRole.REPORT, b"{"), (PartRole.SIGNATURE, b"{")]
    assert evidence_of(System.NEAR, Captured.of(broken)) == ()
    assert evidence_of(System.ACI, Captured.of(broken)) == ()
