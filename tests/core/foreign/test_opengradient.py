"""OpenGradient responses: published values, every trap of the format, each refusal by its name."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.encoding import write_json
from registry.core.evidence.checks import CheckError
from registry.core.foreign.captured import Asked, PartRole
from registry.core.foreign.ethereum import keccak256
from registry.core.foreign.opengradient import request as requests
from registry.core.foreign.opengradient.examine import message_hash, read_key
from registry.core.foreign.opengradient.request import python_repr
from registry.core.foreign.opengradient.response import Answer, Proof
from registry.core.foreign.opengradient.settlement import leaf_of
from registry.core.foreign.proof import ForeignProof, Layer, Strength, System
from registry.core.foreign.systems import examine
from registry.core.profiles.recognise import candidates
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tests.core.foreign.looking import found, judged, layers
from tools.fake_vendor import fixed_rsa
from tools.fake_vendor.caught import NOON, Caught
from tools.fake_vendor.opengradient import (
    CALL,
    Spec,
    der_of,
    key_of,
    mint,
    mint_legacy,
    question,
)

QUESTION = (
    b'{"max_tokens": 100, "messages": [{"content": "What is a TEE?", "role": "user"}], '
    b'"model": "gpt-4.1"}'
)


def judge(caught: Caught) -> ForeignProof:
    return judged(System.OPENGRADIENT, caught.captured, caught.asked())


def asking(**members: Any) -> dict[str, Any]:
    return {**question(), **members}


# --- Published values. ---


def test_a_request_has_its_published_hash() -> None:
    written = requests.CHAT[1].write(requests.read(QUESTION))
    assert keccak256(written).hex() == (
        "2f255840770a460e1b474972b8f8f872db54f4a73501e0aef5e344127a6dce78"
    )


def test_an_output_and_what_is_signed_have_their_published_hashes() -> None:
    output = keccak256(b"A trusted execution environment.")
    assert output.hex() == "19564005679a9332c4e3d50f09695911dcb1b529ff8cf67570dc2de339ca9c4a"
    request = keccak256(requests.CHAT[1].write(requests.read(QUESTION)))
    assert message_hash(request, output, 1780000000).hex() == (
        "1060c53030b1b7d69d19f3817f8d33701c8dde22521bc1d00bdc773a42b171e2"
    )


# --- What is good. ---


def test_a_response_whose_key_is_attested_is_valid_and_binds_the_model_by_its_name_only() -> None:
    proof = judge(mint())
    assert found(proof) == set()
    assert proof.verdict is Verdict.VALID
    assert (proof.code_strength, proof.binding_strength) == (Strength.MEASURED, Strength.NAME_ONLY)
    assert proof.canonicaliser == "sdk-1.1.4/1"
    assert proof.claims["model"] == "gpt-4.1"
    assert "request.messages" in proof.covered


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
@pytest.mark.parametrize(
    "content", ["Été 🙂 e\u0301", "", "line\nend\u2028\x7f", "日本語"], ids=range(4)
)
def test_any_text_is_hashed_as_it_is(content: str, stream: bool) -> None:
    spec = Spec(request=asking(messages=[{"role": "user", "content": content}]), content=content)
    proof = judge(mint(Spec(request=spec.request, content=content, stream=stream)))
    assert found(proof) == set()


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
def test_tool_calls_are_hashed_in_place_of_the_text(stream: bool) -> None:
    second = {**CALL, "id": "call_2"}
    proof = judge(mint(Spec(content="", tool_calls=(CALL, second), stream=stream)))
    assert found(proof) == set()


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
def test_the_proof_is_found_under_the_content_digest_of_the_answer(stream: bool) -> None:
    caught = mint(Spec(stream=stream))
    proof = judge(caught)
    assert proof.output == candidates(dict(caught.parts)[PartRole.RESPONSE])[0].hex()
    assert proof.output == judge(mint()).output


def test_a_completed_text_is_hashed_by_its_prompt() -> None:
    request = {"model": "davinci", "prompt": "Once", "max_tokens": 5, "stop": ["."], "echo": True}
    hashed = {**request, "temperature": 0.0}
    del hashed["echo"]
    proof = judge(mint(Spec(request=request, hashed=hashed, is_text=True)))
    assert found(proof) == set()
    assert proof.canonicaliser == "completion/1"
    assert "request.echo" in proof.uncovered


def test_every_optional_member_counts_only_if_it_says_something() -> None:
    said = asking(
        max_tokens=5, temperature=1, stop=["x"], tools=[{"type": "function"}], web_search=True
    )
    silent: dict[str, Any] = {"stop": [], "tools": None, "response_format": {}, "web_search": False}
    hashed = {**said, "temperature": 1.0}
    assert found(judge(mint(Spec(request=said, hashed=hashed)))) == set()
    quiet = asking(**silent, max_tokens=None)
    spec = Spec(request=quiet, hashed={**question(), "temperature": 0.0})
    assert found(judge(mint(spec))) == set()


def test_every_role_is_hashed_in_its_own_form() -> None:
    messages = [
        {"role": "developer", "content": "be brief", "name": "x"},
        {"role": "user", "content": "hi", "name": "y"},
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0}]},
        {"role": "tool", "content": "1", "tool_call_id": "call_1", "name": "f"},
        {"role": "function", "content": "2", "name": "g", "extra": 1},
    ]
    hashed = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "1", "tool_call_id": "call_1"},
        {"role": "function", "content": "2", "name": "g"},
    ]
    spec = Spec(request=asking(messages=messages), hashed=asking(messages=hashed, temperature=0.0))
    assert found(judge(mint(spec))) == set()


PARTS = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": 1.50}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": "AAAA"}},
]


@pytest.mark.parametrize(
    ("hashed", "name"),
    [
        (
            [PARTS[0], {"type": "image_url"}, {"type": "file", "filename": "a.pdf"}],
            "sdk-1.1.4/1",
        ),
        (str(PARTS), "gateway-cb95a5c/1"),
    ],
)
def test_an_image_is_hashed_reduced_or_as_python_shows_it(hashed: Any, name: str) -> None:
    request = asking(messages=[{"role": "user", "content": PARTS}])
    spec = Spec(
        request=request,
        hashed=asking(messages=[{"role": "user", "content": hashed}], temperature=0.0),
    )
    proof = judge(mint(spec))
    assert (found(proof), proof.canonicaliser) == (set(), name)
    assert any("attachments" in item for item in proof.uncovered)


def test_a_sealed_request_is_hashed_whole() -> None:
    request = asking(top_p=0.5, stream=True)
    proof = judge(mint(Spec(request=request, hashed=request)))
    assert (found(proof), proof.canonicaliser) == (set(), "whole-request/1")
    assert "request.top_p" in proof.covered


@pytest.mark.parametrize("name", ["top_p", "seed", "n", "tool_choice"])
def test_a_member_that_is_not_hashed_can_be_altered_and_is_listed(name: str) -> None:
    for value in (1, 2):
        spec = Spec(request=asking(**{name: value}), hashed=asking(temperature=0.0))
        proof = judge(mint(spec))
        assert found(proof) == set()
        assert f"request.{name}" in proof.uncovered


@pytest.mark.parametrize("name", ["model", "finish_reason", "usage", "id", "created"])
def test_what_the_signature_leaves_out_of_a_response_is_listed(name: str) -> None:
    assert f"response.{name}" in judge(mint()).uncovered


def test_a_search_of_the_web_is_hashed_by_the_sdk_and_left_out_by_the_gateway_before() -> None:
    request = asking(web_search=True)
    proof = judge(mint(Spec(request=request, hashed={**request, "temperature": 0.0})))
    assert proof.canonicaliser == "sdk-1.1.4/1"
    proof = judge(mint(Spec(request=request, hashed=asking(temperature=0.0))))
    assert proof.canonicaliser == "gateway-cb95a5c/1"
    assert "request.web_search" in proof.uncovered


def test_an_altered_model_in_the_response_is_not_noticed_and_listed() -> None:
    proof = judge(mint(Spec(body=lambda body: {**body, "model": "gpt-5"})))
    assert found(proof) == set()
    assert (proof.claims["model"], proof.claims["response_model"]) == ("gpt-4.1", "gpt-5")


def test_the_names_of_image_and_leaf_on_the_chain_are_told() -> None:
    proof = judge(mint())
    assert len(proof.claims["pcr_hash"]) == len(proof.claims["settlement_leaf"]) == 64


def test_a_settlement_leaf_is_the_abi_encoding_hashed_twice() -> None:
    proof = Proof(b"\1" * 256, b"\2" * 32, b"\3" * 32, 5, b"\4" * 32)
    words = [b"\4" * 32, b"\2" * 32, b"\3" * 32]
    words += [number.to_bytes(32, "big") for number in (160, 5, 256)]
    encoded = b"".join(words) + b"\1" * 256
    assert leaf_of(proof) == keccak256(keccak256(encoded))


# --- What is not. ---


@pytest.mark.parametrize("step", [-1, 1])
def test_another_second_is_not_what_was_signed(step: int) -> None:
    def edit(proof: dict[str, Any]) -> dict[str, Any]:
        return {**proof, "tee_timestamp": proof["tee_timestamp"] + step}

    proof = judge(mint(Spec(stated=edit)))
    assert found(proof) == {("S2", "BAD_SIGNATURE")}
    assert (proof.verdict, proof.binding_strength) == (Verdict.INVALID, Strength.NONE)


def test_another_key_than_the_response_names_is_refused() -> None:
    proof = judge(mint(Spec(key="other")))
    assert found(proof) == {
        ("S1", "KEY_MISMATCH"),
        ("S2", "BAD_SIGNATURE"),
        ("A2", "KEY_UNBOUND"),
    }


def test_a_key_that_no_enclave_holds_signs_its_own_responses_only() -> None:
    proof = judge(mint(Spec(signer="other", key="other")))
    assert found(proof) == {("A2", "KEY_UNBOUND")}
    assert proof.verdict is Verdict.INVALID
    assert proof.code_strength is Strength.NONE


def test_another_output_is_left_open_since_some_spelling_may_be_unknown() -> None:
    def edit(body: dict[str, Any]) -> dict[str, Any]:
        body["choices"][0]["message"]["content"] = "Something else."
        return body

    proof = judge(mint(Spec(body=edit)))
    assert found(proof) == {("C2", "OUTPUT_MISMATCH")}
    assert proof.verdict is Verdict.INDETERMINATE


def test_another_request_is_left_open_and_matches_no_spelling() -> None:
    proof = judge(mint(Spec(hashed=asking(model="other"))))
    assert found(proof) == {("C1", "REQUEST_MISMATCH")}
    assert (proof.verdict, proof.canonicaliser) == (Verdict.INDETERMINATE, "")


def test_without_the_request_the_output_is_still_signed() -> None:
    caught = mint()
    proof = judged(System.OPENGRADIENT, caught.without(PartRole.REQUEST), caught.asked())
    assert found(proof) == set()
    assert any("not at hand" in item for item in proof.uncovered)


def test_a_response_without_proof_was_taken_from_a_helper() -> None:
    def edit(body: dict[str, Any]) -> dict[str, Any]:
        return {name: item for name, item in body.items() if not name.startswith("tee_")}

    proof = judge(mint(Spec(body=edit)))
    assert ("P1", "NO_PROOF") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE


@pytest.mark.parametrize("name", ["tee_request_hash", "tee_output_hash"])
def test_a_proof_whose_hashes_a_helper_dropped_is_named(name: str) -> None:
    def edit(proof: dict[str, Any]) -> dict[str, Any]:
        return {key: item for key, item in proof.items() if key != name}

    assert ("P1", "PROOF_FORM") in found(judge(mint(Spec(stated=edit))))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tee_signature", "AB=="),
        ("tee_signature", None),
        ("tee_request_hash", "00"),
        ("tee_timestamp", 1.5),
        ("tee_timestamp", "1"),
        ("tee_timestamp", -1),
        ("tee_id", "11" * 32),
        ("tee_id", "0x11"),
        ("tee_id", "0X" + "11" * 32),
    ],
    ids=range(9),
)
def test_each_member_of_a_proof_has_one_form(name: str, value: object) -> None:
    proof = judge(mint(Spec(stated=lambda stated: {**stated, name: value})))
    assert ("P1", "PROOF_FORM") in found(proof)


def test_a_stream_that_failed_on_its_way_has_no_proof() -> None:
    def cut(data: bytes) -> bytes:
        return data[: data.index(b'data: {"choices": [{"delta": {}')] + (
            b'data: {"error": "Stream processing failed"}\n\n'
        )

    proof = judge(mint(Spec(stream=True, written=cut)))
    assert ("P1", "STREAM_ENDED") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE


def test_a_stream_without_its_last_event_has_no_proof() -> None:
    spec = Spec(stream=True, written=lambda data: data.removesuffix(b"data: [DONE]\n\n"))
    assert ("P1", "STREAM_ENDED") in found(judge(mint(spec)))


def test_a_second_choice_is_not_signed_and_is_noted() -> None:
    def edit(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "choices": [*body["choices"], {"index": 1, "message": {}}]}

    assert found(judge(mint(Spec(body=edit)))) == {("C3", "SEVERAL_CHOICES")}


def test_an_error_is_no_response() -> None:
    spec = Spec(written=lambda _: b'{"error": "Request processing failed"}')
    assert ("P1", "NO_CHOICE") in found(judge(mint(spec)))


def test_a_check_tells_nothing_of_a_part_that_is_withheld() -> None:
    caught = mint(Spec(written=lambda _: b'{"error": "Ann owes 1234"}'))
    open_, withheld = (
        examine(System.OPENGRADIENT, caught.captured, replace(caught.asked(), withheld=roles)).proof
        for roles in (frozenset[PartRole](), frozenset({PartRole.RESPONSE}))
    )
    assert b"Ann owes 1234" in write_json(open_)
    assert b"Ann owes 1234" not in write_json(withheld)
    assert found(withheld) == found(open_)
    assert (withheld.verdict, withheld.layers) == (open_.verdict, open_.layers)


def test_a_member_that_occurs_twice_is_refused() -> None:
    spec = Spec(written=lambda data: data.replace(b'{"id"', b'{"id": "x", "id"', 1))
    assert ("P1", "DUPLICATE_MEMBER") in found(judge(mint(spec)))


def test_a_request_that_readers_disagree_about_is_named() -> None:
    caught = mint()
    twice = b'{"model": "a", "model": "b"}'
    proof = judged(System.OPENGRADIENT, caught.replaced(PartRole.REQUEST, twice), caught.asked())
    assert ("P2", "REQUEST_FORM") in found(proof)


@pytest.mark.parametrize("data", [b"[1]", b"7", b"null", b'"x"'])
def test_a_request_that_is_no_object_is_named(data: bytes) -> None:
    caught = mint()
    proof = judged(System.OPENGRADIENT, caught.replaced(PartRole.REQUEST, data), caught.asked())
    assert ("P2", "REQUEST_FORM") in found(proof)


def test_an_unknown_role_fits_no_spelling_that_chooses() -> None:
    request = asking(messages=[{"role": "critic", "content": "x"}])
    spec = Spec(request=request, hashed=asking(messages=[], temperature=0.0))
    assert found(judge(mint(spec))) == {("C1", "REQUEST_MISMATCH")}


# --- Key and enclave. ---


def test_a_key_may_come_as_pem() -> None:
    caught = mint()
    pem = (
        key_of()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    proof = judged(System.OPENGRADIENT, caught.replaced(PartRole.KEY, pem), caught.asked())
    assert found(proof) == set()


@pytest.mark.parametrize(
    "key", [b"", b"-----BEGIN", b"\0" * 5000], ids=["empty", "half a PEM", "long"]
)
def test_what_is_no_key_is_named(key: bytes) -> None:
    caught = mint()
    proof = judged(System.OPENGRADIENT, caught.replaced(PartRole.KEY, key), caught.asked())
    assert ("P3", "KEY_FORM") in found(proof)


def test_a_key_in_more_bytes_than_any_key_has_is_not_even_read() -> None:
    pem = (
        key_of()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    caught = mint()
    longer = caught.replaced(PartRole.KEY, pem + b"\n" * 5000)
    proof = judged(System.OPENGRADIENT, longer, caught.asked())
    assert ("P3", "KEY_FORM") in found(proof)


def test_a_key_of_another_size_or_kind_is_named() -> None:
    caught = mint()
    others: list[Any] = [
        fixed_rsa.private_key("opengradient short", 1024),
        ec.derive_private_key(7, ec.SECP256R1()),
    ]
    for key in others:
        data = der_of(key)
        with pytest.raises(CheckError) as refused:
            read_key(data)
        assert refused.value.finding == "KEY_FORM"
        replaced = caught.replaced(PartRole.KEY, data)
        proof = judged(System.OPENGRADIENT, replaced, caught.asked())
        assert ("P3", "KEY_FORM") in found(proof)


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": 1}',
        b'{"choices": [1]}',
        b'{"choices": [{"text": 1}]}',
        b'{"choices": [{"message": {"content": ["x"]}}]}',
        b'{"choices": [{"finish_reason": {}}]}',
        b'data: {"choices": [{"index": -1}]}\n\ndata: [DONE]\n\n',
        b'data: {"choices": [{"index": 10000}]}\n\ndata: [DONE]\n\n',
        b"data: [1]\n\ndata: [DONE]\n\n",
    ],
    ids=["choices", "a choice", "a text", "a list", "a reason", "-1", "10000", "no object"],
)
def test_each_member_of_a_response_has_one_form(data: bytes) -> None:
    with pytest.raises(CheckError) as caught:
        Answer.parse(data)
    assert caught.value.finding == "PROOF_FORM"


def test_a_stream_has_tool_calls_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.core.foreign.opengradient.response.MAX_TOOL_CALLS", 1)
    calls = [{"index": index, "function": {"name": "f"}} for index in range(2)]
    event = json.dumps({"choices": [{"delta": {"tool_calls": calls}}]}).encode()
    with pytest.raises(CheckError) as caught:
        Answer.parse(b"data: " + event + b"\n\ndata: [DONE]\n\n")
    assert caught.value.finding == "PROOF_FORM"


def test_an_event_that_never_ends_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.core.profiles.sse.MAX_EVENT_BYTES", 100)
    with pytest.raises(CheckError) as caught:
        Answer.parse(b"data: " + b"x" * 200 + b"\n\n")
    assert caught.value.finding == "PROOF_FORM"


@pytest.mark.parametrize(
    "request_",
    [
        asking(messages=[{"role": "critic", "content": "x"}]),
        asking(messages="x"),
        asking(messages=["x"]),
        asking(messages=[{"role": "assistant", "tool_calls": ["x"]}]),
    ],
    ids=["role", "messages", "message", "tool call"],
)
def test_what_the_gateway_refuses_has_no_spelling(request_: dict[str, Any]) -> None:
    for each in requests.CHAT[1:]:
        with pytest.raises(MalformedError) as caught:
            each.write(request_)
        assert caught.value.reason is Reason.MALFORMED_FIELD


def test_without_a_key_nothing_is_verified_and_the_response_is_kept() -> None:
    caught = mint()
    proof = judged(System.OPENGRADIENT, caught.without(PartRole.KEY), caught.asked())
    assert ("P3", "MISSING") in found(proof)
    assert (proof.verdict, proof.binding_strength) == (Verdict.INDETERMINATE, Strength.NONE)


def test_without_a_document_the_key_is_open() -> None:
    caught = mint()
    proof = judged(System.OPENGRADIENT, caught.without(PartRole.EVIDENCE), caught.asked())
    assert layers(proof)[Layer.SIGNATURE] is Verdict.VALID
    assert layers(proof)[Layer.ATTESTATION] is Verdict.INDETERMINATE
    assert proof.binding_strength is Strength.NAME_ONLY
    assert ("A1", "MISSING") in found(proof)


def test_a_document_ends_with_its_certificate_after_three_hours_and_three_seconds() -> None:
    caught = mint()
    for seconds, verdict in ((0, Verdict.VALID), (1, Verdict.INDETERMINATE)):
        at = NOON + timedelta(hours=3, seconds=seconds)
        proof = judged(System.OPENGRADIENT, caught.captured, caught.asked(at))
        assert layers(proof)[Layer.ATTESTATION] is verdict


@pytest.mark.parametrize(
    "edit",
    [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b"\x13" + data[1:]],
    ids=["short", "long", "another hash"],
)
def test_user_data_of_another_form_commits_to_nothing(edit: Callable[[bytes], bytes]) -> None:
    assert found(judge(mint(Spec(user_data=edit)))) == {("A2", "USER_DATA")}


def test_a_document_for_no_nonce_or_another_is_refused_if_one_was_sent() -> None:
    for nonce in (None, b"\1" * 20):
        caught = mint(Spec(nonce=nonce))
        asked = Asked(NOON, caught.policy, bytes(20))
        proof = judged(System.OPENGRADIENT, caught.captured, asked)
        assert found(proof) == {("A3", "NONCE_MISMATCH")}


def test_a_nonce_that_nobody_told_is_noted() -> None:
    caught = mint()
    proof = judged(System.OPENGRADIENT, caught.captured, Asked(NOON, caught.policy))
    assert found(proof) == {("A3", "NO_NONCE")}


def test_evidence_of_an_unknown_root_proves_no_key() -> None:
    caught = mint()
    proof = judged(System.OPENGRADIENT, caught.captured, Asked(NOON, nonce=caught.nonce))
    assert ("A1", "EVIDENCE_REFUSED") in found(proof)


def test_an_import_without_response_is_refused() -> None:
    caught = mint()
    with pytest.raises(MalformedError) as refused:
        judged(System.OPENGRADIENT, caught.without(PartRole.RESPONSE), caught.asked())
    assert refused.value.reason is Reason.FOREIGN_PART


# --- Before 2026-02. ---

LEGACY_REQUEST = asking(max_tokens=100, temperature=0.9)


def test_a_response_from_before_2026_02_is_read_as_it_was_signed_then() -> None:
    proof = judge(mint_legacy(Spec(request=LEGACY_REQUEST, content="Hello! 😊")))
    assert found(proof) == set()
    assert proof.format_version == "gateway/2025"
    assert proof.canonicaliser == "server-2025/auto"
    assert "response.finish_reason" in proof.covered
    assert proof.verdict is Verdict.VALID


def test_members_with_null_are_not_part_of_the_message_that_was_signed_then() -> None:
    shown = {"role": "assistant", "content": "Hello!", "tool_calls": None, "refusal": None}
    caught = mint_legacy(Spec(request=LEGACY_REQUEST, content="Hello!"), shown)
    assert found(judge(caught)) == set()


@pytest.mark.parametrize(
    "edit",
    [
        lambda body: {**body, "model": "other"},
        lambda body: {**body, "choices": [{**body["choices"][0], "finish_reason": "length"}]},
        lambda body: {**body, "choices": [{**body["choices"][0], "message": {"content": "x"}}]},
    ],
    ids=["model", "finish_reason", "message"],
)
def test_model_message_and_reason_were_signed_then(
    edit: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    proof = judge(mint_legacy(Spec(request=LEGACY_REQUEST, body=edit)))
    assert ("S2", "BAD_SIGNATURE") in found(proof)


def test_a_request_of_then_in_no_known_spelling_is_left_open() -> None:
    spec = Spec(request=LEGACY_REQUEST, hashed=asking(model="other"))
    assert found(judge(mint_legacy(spec))) == {("C1", "REQUEST_MISMATCH")}


def test_a_fingerprint_that_is_not_what_python_shows_is_named() -> None:
    def edit(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "system_fingerprint": body["system_fingerprint"].replace("'", '"')}

    proof = judge(mint_legacy(Spec(request=LEGACY_REQUEST, body=edit)))
    assert ("P1", "PROOF_FORM") in found(proof)


def test_a_signature_of_then_that_is_not_base64_is_named() -> None:
    def edit(body: dict[str, Any]) -> dict[str, Any]:
        shown = body["system_fingerprint"]
        start = shown.index("'response_signature': '") + len("'response_signature': '")
        return {**body, "system_fingerprint": f"{shown[:start]}A={shown[start:]}"}

    proof = judge(mint_legacy(Spec(request=LEGACY_REQUEST, body=edit)))
    assert ("P1", "PROOF_FORM") in found(proof)


# --- Properties. ---

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc'\"é"), inner),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES)
def test_a_value_is_shown_as_python_shows_it(value: Any) -> None:
    read = requests.read(json.dumps({"it": value}).encode())
    assert python_repr(read["it"]) == repr(value)


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_any_content_comes_back_from_body_and_stream(content: str, stream: bool) -> None:
    response = dict(mint(Spec(content=content, stream=stream)).parts)[PartRole.RESPONSE]
    assert Answer.parse(response).output() == content.encode()


def test_the_name_of_an_enclave_is_that_of_its_key() -> None:
    assert judge(mint()).claims["tee_id"] == "0x" + keccak256(der_of(key_of())).hex()
