"""NEAR and Phala signatures: every trap of the format, and each refusal by its own name."""

import builtins
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.evidence.checks import CheckError
from registry.core.evidence.endorsements import Endorsements
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.near.documents import Text
from registry.core.foreign.proof import Layer, Strength, System
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tests.core.foreign.looking import found, judged, layers
from tools.fake_vendor import nvidia
from tools.fake_vendor.caught import NOON, Caught
from tools.fake_vendor.near import FINGERPRINT, NONCE, RESPONSE, Spec, mint


def judge(caught: Caught) -> Any:
    return judged(System.NEAR, caught.captured, caught.asked())


@pytest.mark.parametrize("algorithms", [("ecdsa",), ("ed25519",), ("ecdsa", "ed25519")])
@pytest.mark.parametrize("fingerprint", [None, FINGERPRINT], ids=["v1", "v2"])
def test_a_call_whose_signers_are_attested_is_valid_and_measures_the_container(
    algorithms: tuple[str, ...], fingerprint: str | None
) -> None:
    proof = judge(mint(Spec(algorithms=algorithms, fingerprint=fingerprint)))
    assert found(proof) == set()
    assert proof.verdict is Verdict.VALID
    assert (proof.code_strength, proof.binding_strength) == (Strength.MEASURED, Strength.NAME_ONLY)
    assert proof.claims["report_data_version"] == ("1" if fingerprint is None else "2")
    assert proof.canonicaliser == "received/1"
    assert "model weights" in proof.uncovered


def test_a_model_whose_name_holds_a_colon_is_read_from_the_end() -> None:
    proof = judge(mint(Spec(model="org/x:tag")))
    assert proof.claims["model"] == "org/x:tag"
    assert "model" in proof.covered


def test_a_text_without_a_model_leaves_it_uncovered() -> None:
    assert "model" in judge(mint()).uncovered


def test_another_model_than_the_response_names_is_noted() -> None:
    assert found(judge(mint(Spec(model="other")))) == {("C3", "MODEL_MISMATCH")}


def test_a_digest_that_the_client_may_have_told_is_marked_and_leaves_the_request_open() -> None:
    proof = judge(mint(Spec(signed_request=b"whatever the header said")))
    assert found(proof) == {("C1", "REQUEST_MISMATCH")}
    assert proof.verdict is Verdict.INDETERMINATE
    assert "request_sha256" in proof.client_claimable


def test_the_request_is_client_claimable_even_if_it_fits() -> None:
    assert judge(mint()).client_claimable == ("request_sha256",)


def test_a_response_that_was_written_again_is_recognised_by_its_compact_spelling() -> None:
    again = json.dumps(json.loads(RESPONSE), indent=1, ensure_ascii=False).encode()
    proof = judge(mint(Spec(response=again, signed_response=RESPONSE)))
    assert found(proof) == set()
    assert proof.canonicaliser == "compact-json/1"


def test_a_response_that_was_written_again_in_ascii_is_recognised() -> None:
    signed = json.dumps(json.loads(RESPONSE), separators=(",", ":")).encode()
    proof = judge(mint(Spec(signed_response=signed)))
    assert proof.canonicaliser == "compact-ascii-json/1"


def test_a_response_in_no_known_spelling_is_left_open_not_refused() -> None:
    proof = judge(mint(Spec(signed_response=b"{}")))
    assert found(proof) == {("C2", "RESPONSE_MISMATCH")}
    assert proof.verdict is Verdict.INDETERMINATE
    assert proof.canonicaliser == ""


def test_a_stream_is_signed_with_its_framing() -> None:
    stream = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n'
    assert found(judge(mint(Spec(response=stream)))) == set()
    proof = judge(mint(Spec(response=stream.replace(b"\n\n", b"\n"), signed_response=stream)))
    assert found(proof) == {("C2", "RESPONSE_MISMATCH")}


def test_an_address_that_is_padded_on_the_left_is_another_signer() -> None:
    def left(data: bytes) -> bytes:
        return data[:20].rjust(32, b"\0") + data[32:]

    proof = judge(mint(Spec(report_data=left)))
    assert found(proof) == {("A2", "SIGNER_MISMATCH")}
    assert proof.verdict is Verdict.INVALID


def test_report_data_of_version_1_does_not_serve_a_report_with_a_fingerprint() -> None:
    def edit(node: dict[str, Any]) -> dict[str, Any]:
        return {**node, "tls_cert_fingerprint": FINGERPRINT}

    assert found(judge(mint(Spec(node=edit)))) == {("A2", "SIGNER_MISMATCH")}


def test_another_nonce_than_was_sent_is_refused() -> None:
    caught = mint(Spec(nonce=bytes(32)))
    asked = Asked(NOON, caught.policy, b"\1" * 32)
    proof = judged(System.NEAR, caught.captured, asked)
    assert found(proof) == {("A3", "NONCE_MISMATCH")}
    assert proof.verdict is Verdict.INVALID


def test_another_nonce_in_the_report_than_in_its_quote_is_refused() -> None:
    proof = judge(mint(Spec(report_data=lambda data: data[:32] + bytes(32))))
    assert found(proof) == {("A3", "NONCE_MISMATCH")}


def test_another_nonce_in_the_report_is_refused_even_if_nobody_told_one() -> None:
    caught = mint(Spec(report_data=lambda data: data[:32] + bytes(32)))
    proof = judged(System.NEAR, caught.captured, Asked(NOON, caught.policy))
    assert ("A3", "NONCE_MISMATCH") in found(proof)
    assert proof.verdict is Verdict.INVALID


def test_a_nonce_that_nobody_told_is_noted() -> None:
    caught = mint()
    proof = judged(System.NEAR, caught.captured, Asked(NOON, caught.policy))
    assert found(proof) == {("A3", "NONCE_UNASKED")}
    assert proof.verdict is Verdict.VALID


def test_which_call_a_later_quote_covers_is_listed_as_uncovered() -> None:
    assert any("which call the quote covers" in item for item in judge(mint()).uncovered)


def test_gpus_that_were_asked_with_another_nonce_are_refused() -> None:
    payload = json.dumps({"nonce": "00" * 32, "evidence_list": [], "arch": "HOPPER"})
    proof = judge(mint(Spec(node=lambda node: {**node, "nvidia_payload": payload})))
    assert found(proof) == {("A4", "GPU_NONCE")}


def gpus(**changes: Any) -> Spec:
    return Spec(gpus=(nvidia.Spec(nonce=NONCE, **changes), nvidia.Spec(nonce=NONCE, number=2)))


def test_gpus_are_examined_if_what_nvidia_says_came_with_the_proof() -> None:
    proof = judge(mint(gpus()))
    assert found(proof) == set()
    assert any("stand in the node" in item for item in proof.uncovered)


def test_without_anything_of_nvidias_gpu_evidence_is_kept_and_said_to_be_uncovered() -> None:
    caught = mint(gpus())
    kept = Endorsements.of(
        (item.role, item.data)
        for item in caught.endorsements.items
        if not item.role.startswith("nvidia")
    )
    proof = judged(System.NEAR, Captured.of(caught.parts, kept), caught.asked())
    assert found(proof) == set()
    assert "GPU evidence, kept and not examined" in proof.uncovered


def test_a_gpu_whose_report_was_changed_is_refused() -> None:
    proof = judge(mint(gpus(report=lambda report: report[:-1] + bytes([report[-1] ^ 1]))))
    assert ("A6", "EVIDENCE_REFUSED") in found(proof)
    assert proof.verdict is Verdict.INVALID


def test_a_gpu_that_was_asked_with_another_nonce_is_refused() -> None:
    spec = Spec(gpus=(nvidia.Spec(nonce=bytes(32)),))
    assert found(judge(mint(spec))) == {("A6", "GPU_NONCE")}


def test_a_gpu_without_its_manifests_is_left_open() -> None:
    caught = mint(gpus())
    kept = Endorsements.of(
        (item.role, item.data) for item in caught.endorsements.items if item.role != "nvidia-rim"
    )
    proof = judged(System.NEAR, Captured.of(caught.parts, kept), caught.asked())
    assert ("A6", "EVIDENCE_OPEN") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE


def test_gpu_evidence_that_cannot_be_decoded_is_named() -> None:
    item = {"evidence": "AA==", "certificate": "AA=="}
    payload = json.dumps({"nonce": NONCE.hex(), "evidence_list": [item], "arch": "HOPPER"})
    spec = dataclasses.replace(gpus(), node=lambda node: {**node, "nvidia_payload": payload})
    assert ("A6", "GPU_EVIDENCE") in found(judge(mint(spec)))


def test_a_report_that_tells_of_no_gpu_says_so() -> None:
    proof = judge(mint(Spec(node=lambda node: {**node, "nvidia_payload": None})))
    assert found(proof) == set()
    assert "whether GPUs took part" in proof.uncovered


def test_a_lookup_after_twenty_minutes_is_kept_and_left_open() -> None:
    answer = {"error": {"message": "Chat id not found or expired", "type": "chat_id_not_found"}}
    proof = judge(mint(Spec(answer=lambda _: answer)))
    assert ("P1", "LOOKUP_FAILED") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE
    assert proof.binding_strength is Strength.NONE


def test_two_signatures_of_two_texts_are_refused() -> None:
    first, second = mint(), mint(Spec(algorithms=("ed25519",), response=b"{}"))
    answer = dict(second.parts)[PartRole.SIGNATURE]
    captured = Captured.of([*first.parts, (PartRole.SIGNATURE, answer)], first.endorsements)
    proof = judged(System.NEAR, captured, first.asked())
    assert ("P2", "TWO_TEXTS") in found(proof)


@pytest.mark.parametrize("algorithm", ["ecdsa", "ed25519"])
def test_a_text_that_was_changed_is_not_signed(algorithm: str) -> None:
    def edit(answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, "text": "x:" + answer["text"]}

    proof = judge(mint(Spec(algorithms=(algorithm,), answer=edit)))
    assert ("S1", "BAD_SIGNATURE") in found(proof)
    assert (proof.verdict, proof.binding_strength) == (Verdict.INVALID, Strength.NONE)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"signature": "0x00"}, ("S1", "SIGNATURE_FORM")),
        ({"signing_algo": "rsa"}, ("P1", "ALGORITHM")),
        ({"signing_address": "0x12"}, ("P1", "ADDRESS")),
        ({"text": "ab:cd"}, ("P1", "SIGNED_TEXT")),
        ({"signing_address": "0x" + "11" * 20}, ("S1", "BAD_SIGNATURE")),
    ],
    ids=["signature", "algorithm", "address", "text", "signer"],
)
def test_each_defect_of_an_answer_has_its_name(
    change: dict[str, str], finding: tuple[str, str]
) -> None:
    assert finding in found(judge(mint(Spec(answer=lambda answer: {**answer, **change}))))


def test_a_duplicate_member_is_refused() -> None:
    caught = mint()
    answer = dict(caught.parts)[PartRole.SIGNATURE]
    twice = answer.replace(b'{"text"', b'{"signing_algo": "ed25519", "text"')
    proof = judged(System.NEAR, caught.replaced(PartRole.SIGNATURE, twice), caught.asked())
    assert ("P1", "DUPLICATE_MEMBER") in found(proof)


def test_a_report_about_other_keys_leaves_the_signer_open() -> None:
    def edit(node: dict[str, Any]) -> dict[str, Any]:
        return {**node, "signing_address": "0x" + "11" * 20}

    proof = judge(mint(Spec(node=edit)))
    assert ("A2", "SIGNER_ABSENT") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE


def test_the_node_of_the_signer_is_chosen_among_several() -> None:
    def edit(nodes: list[dict[str, Any]]) -> dict[str, Any]:
        other = {**nodes[0], "signing_address": "0x" + "11" * 20}
        return {"gateway_attestation": {}, "model_attestations": [other, *nodes]}

    assert found(judge(mint(Spec(report=edit)))) == set()


@pytest.mark.parametrize(
    "other",
    [
        {"signing_algo": "rsa"},
        {"signing_algo": 7},
        {"signing_address": "0x12"},
        {"signing_address": None},
        {"signing_address": "0x" + "11" * 20, "intel_quote": "no hexadecimal"},
        {"signing_address": "0x" + "11" * 20, "request_nonce": 7},
    ],
    ids=["algorithm", "number", "address", "nobody", "quote", "nonce"],
)
def test_what_is_wrong_with_anothers_node_is_nothing_to_the_signer(other: dict[str, Any]) -> None:
    def edit(nodes: list[dict[str, Any]]) -> dict[str, Any]:
        return {"all_attestations": [{**nodes[0], **other}, *nodes]}

    assert found(judge(mint(Spec(report=edit)))) == set()


def test_without_a_report_the_key_is_open_and_the_signature_is_kept() -> None:
    caught = mint()
    proof = judged(System.NEAR, caught.without(PartRole.REPORT), caught.asked())
    assert layers(proof)[Layer.SIGNATURE] is Verdict.VALID
    assert layers(proof)[Layer.ATTESTATION] is Verdict.INDETERMINATE
    assert (proof.code_strength, proof.binding_strength) == (Strength.NONE, Strength.NAME_ONLY)
    assert ("A1", "MISSING") in found(proof)


@pytest.mark.parametrize(("role", "check"), [(PartRole.REQUEST, "C1"), (PartRole.RESPONSE, "C2")])
def test_without_a_body_the_signature_still_holds_and_says_what_was_not_seen(
    role: PartRole, check: str
) -> None:
    caught = mint()
    proof = judged(System.NEAR, caught.without(role), caught.asked())
    assert (found(proof), proof.verdict) == (set(), Verdict.VALID)
    [result] = [item for item in proof.checks if item.check == check]
    assert (result.outcome, result.finding) == ("skipped", "NOT_APPLICABLE")
    assert f"the {role}'s bytes, which were not at hand" in proof.uncovered


def test_evidence_of_an_unknown_root_proves_no_key() -> None:
    caught = mint()
    proof = judged(System.NEAR, caught.captured, Asked(NOON, nonce=caught.nonce))
    assert ("A1", "EVIDENCE_REFUSED") in found(proof)
    assert proof.code_strength is Strength.NONE


def test_a_compose_file_that_was_not_measured_is_refused() -> None:
    info = {"tcb_info": json.dumps({"app_compose": "{}"})}
    proof = judge(mint(Spec(node=lambda node: {**node, "info": info})))
    assert found(proof) == {("A5", "COMPOSE_MISMATCH")}


def test_a_report_without_compose_file_says_so() -> None:
    assert found(judge(mint(Spec(node=lambda node: {**node, "info": {}})))) == {
        ("A5", "COMPOSE_UNBOUND")
    }


def test_what_agrees_only_with_itself_is_listed_as_uncovered() -> None:
    proof = judge(mint(Spec(node=lambda node: {**node, "compose_manager_attestation": {}})))
    assert any(item.startswith("compose_manager_attestation") for item in proof.uncovered)


def test_a_quote_in_no_hexadecimal_is_named() -> None:
    proof = judge(mint(Spec(node=lambda node: {**node, "intel_quote": "zz"})))
    assert ("P3", "EVIDENCE_FORM") in found(proof)


def test_an_import_without_signature_is_refused() -> None:
    caught = mint()
    with pytest.raises(MalformedError) as refused:
        judged(System.NEAR, caught.without(PartRole.SIGNATURE), caught.asked())
    assert refused.value.reason is Reason.FOREIGN_PART


def test_two_requests_are_one_too_many() -> None:
    caught = mint()
    captured = Captured.of([*caught.parts, (PartRole.REQUEST, b"x")], caught.endorsements)
    with pytest.raises(MalformedError) as refused:
        judged(System.NEAR, captured, caught.asked())
    assert refused.value.reason is Reason.FOREIGN_PART


def test_ed25519_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    caught, real = mint(Spec(algorithms=("ed25519",))), builtins.__import__

    def importing(name: str, *rest: Any) -> Any:
        if name in ("coincurve", "Crypto.Hash"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", importing)
    assert judge(caught).verdict is Verdict.VALID


@settings(deadline=None)
@given(st.none() | st.text(max_size=20), st.binary(min_size=32, max_size=32))
def test_every_text_is_read_back(model: str | None, hashed: bytes) -> None:
    text = Text(model, hashed, hashed[::-1])
    assert Text.parse(str(text)) == text


@settings(deadline=None)
@given(st.text(max_size=200))
def test_other_text_is_no_signed_text(text: str) -> None:
    with pytest.raises(CheckError):
        Text.parse(text)
