"""ACI receipts: published digests, every trap of the format, and each refusal by its own name."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError
from registry.core.foreign.aci.documents import Keyset, Receipt, Session, report_data, statement
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.proof import Layer, Strength, System
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tests.core.foreign.looking import found, judged, layers
from tools.fake_vendor import amd
from tools.fake_vendor.aci import NONCE, REQUEST, Spec, mint
from tools.fake_vendor.caught import NOON, believing, key_of, public_bytes

HASH_OF_HI = "sha256:94d809bf47380d8a2eab0eb6e126d4dda9364b0b4725cdf7ead52dd70b2aa87b"
KEYSET_SHA256 = "53a5cd44b30dcc51999754c719f2628a041f174ecbf9662a6f8e898a10cd9371"


def published_keyset() -> dict[str, Any]:
    """The keyset whose digest is published, from its fixed keys."""
    return {
        "subject": "dstack-app://example-app",
        "not_after": 1800000000,
        "receipt_signing_keys": [
            {"key_id": "receipt-1", "algo": "ed25519", "public_key": public_bytes(key_of(2)).hex()}
        ],
        "e2ee_public_keys": [
            {
                "key_id": "e2ee-1",
                "algo": "x25519-aes-256-gcm-hkdf-sha256",
                "public_key": "5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef22",
            }
        ],
        "tls_public_keys": [{"spki_sha256": "c0" * 32, "domain": "api.example.com"}],
    }


def published_session() -> dict[str, Any]:
    """The session whose id is published."""
    names = ("gpu_attested", "model_weights_provenance", "os_known_good", "tcb_up_to_date")
    unknown = {name: {"status": "unknown"} for name in (*names, "serving_software_known_good")}
    attested = {
        "status": "asserted",
        "source": "hardware_proven",
        "reason": "example quote verified",
    }
    return {
        "api_version": "aci/1",
        "upstream_name": "demo-upstream",
        "endpoint": "https://upstream.example.com",
        "verifier_id": "example/1",
        "established_at": 1750000000,
        "expires_at": 1750003600,
        "channel_binding": [
            {
                "type": "tls_spki_sha256",
                "origin": "https://upstream.example.com",
                "spki_sha256": "d1" * 32,
            }
        ],
        "claims": {
            **unknown,
            "extra": {"gpu_arch": "HOPPER", "tcb_status": "UpToDate"},
            "tee_attested": attested,
        },
        "evidence": {
            "digest": "sha256:80d70e44d0ae1e829fd5f37c3ee4a60dfbea8d3aa18407ea3f34cf7ec91da34d",
            "data": "data:text/plain;base64,ZXhhbXBsZS1ldmlkZW5jZQ==",
        },
    }


def test_a_keyset_has_its_published_digest() -> None:
    keyset = Keyset.parse(json.dumps(published_keyset(), indent=1).encode())
    assert keyset.digest.hex() == KEYSET_SHA256


def test_a_statement_has_its_published_digest_with_a_nonce_and_without() -> None:
    keyset = bytes.fromhex(KEYSET_SHA256)
    assert (
        report_data(keyset, NONCE).hex()
        == "df2174d28130852b413646a3786927b93e94c11d770268b65def8bdba45cb49e" + "00" * 32
    )
    assert (
        sha256(statement(keyset, None)).hex()
        == "0633919ca3f00e97bafaa3304278eb22420cc3ff0d19f87dfca2d3f7508150bc"
    )


def test_a_session_has_its_published_name() -> None:
    session = Session.parse(json.dumps(published_session()).encode())
    assert session.session_id == "95ad1cb4dd25445808c2e9d116caf420b05703730b506395e8fc1ca6faeae28f"
    assert session.evidence() == b"example-evidence"


def test_a_receipt_has_its_published_signing_input_and_signature() -> None:
    session_id = Session.parse(json.dumps(published_session()).encode()).session_id
    receipt = {
        "api_version": "aci/1",
        "receipt_id": "rcpt-0001",
        "chat_id": "chatcmpl-123",
        "model": "demo-model",
        "workload_keyset_digest": f"sha256:{KEYSET_SHA256}",
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "served_at": 1750000000,
        "event_log": [
            {"type": "request.received", "body_hash": HASH_OF_HI},
            {"type": "request.forwarded", "body_hash": HASH_OF_HI},
            {
                "type": "upstream.verified",
                "result": "verified",
                "required": True,
                "model_id": "demo-model",
                "session_id": session_id,
            },
            {
                "type": "response.returned",
                "body_hash": "sha256:"
                "dedfffe5b14d031b8e2c01996d021a15293cb7c63b56be7e4be9e89b6f0a5f61",
            },
        ],
        "key_id": "receipt-1",
        "signature": "00" * 64,
    }
    read = Receipt.parse(json.dumps(receipt).encode())
    assert (
        sha256(read.signed).hex()
        == "1bd328e6880a5a12b3915af95ea32111310e04ab9e21ac3d71ce268e33b965c9"
    )
    assert key_of(2).sign(read.signed).hex() == (
        "d5b005e093bde3b577faf270b7184b09e169cacb0ecb206b103bd2581f997db0"
        "3da616175454b063323a23ac1dc68f1ce506c2a6eba8aa0561d5e724f0b80c03"
    )
    receipt["signature"] = key_of(2).sign(read.signed).hex()
    parts = [
        (PartRole.RECEIPT, json.dumps(receipt).encode()),
        (PartRole.KEYSET, json.dumps(published_keyset()).encode()),
        (PartRole.SESSION, json.dumps(published_session()).encode()),
        (PartRole.REQUEST, REQUEST),
    ]
    proof = judged(System.ACI, Captured.of(parts), Asked(NOON))
    assert layers(proof)[Layer.SIGNATURE] is Verdict.VALID
    assert layers(proof)[Layer.CLAIMS] is Verdict.VALID


def test_a_receipt_with_all_that_it_cites_is_valid_and_measures_the_code_not_the_weights() -> None:
    minted = mint()
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert found(proof) == set()
    assert proof.verdict is Verdict.VALID
    assert proof.code_strength is Strength.MEASURED
    assert proof.binding_strength is Strength.NAME_ONLY
    assert "model weights" in proof.uncovered
    assert "request body as received" in proof.covered
    assert proof.claims["model"] == "demo-model"


def test_a_pretty_printed_receipt_verifies_as_well() -> None:
    minted = mint(Spec(written=lambda value: json.dumps(value, indent=2).encode()))
    assert judged(System.ACI, minted.captured, minted.asked()).verdict is Verdict.VALID


def test_an_event_that_nobody_knows_is_signed_and_ignored() -> None:
    extra = {"type": "x.routing", "chosen": "b"}
    minted = mint(Spec(events=lambda events: [*events[:2], extra, *events[2:]]))
    assert judged(System.ACI, minted.captured, minted.asked()).verdict is Verdict.VALID


def upstream(**changes: object) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    def edit(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = {"type": "upstream.verified", "model_id": "demo-model"}
        return [*events[:2], {**kept, **changes}, events[3]]

    return edit


def test_a_server_that_failed_and_need_not_be_verified_is_noted_and_not_refused() -> None:
    spec = Spec(events=upstream(result="failed", required=False, reason="no quote"))
    minted = mint(spec)
    proof = judged(System.ACI, minted.without(PartRole.SESSION), minted.asked())
    assert found(proof) == {("C6", "UPSTREAM_UNVERIFIED")}
    assert proof.verdict is Verdict.VALID
    assert proof.claims["upstream_result"] == "failed"


def test_a_server_that_failed_had_to_be_verified_and_was_asked_is_a_contradiction() -> None:
    minted = mint(Spec(events=upstream(result="failed", required=True, reason="no quote")))
    proof = judged(System.ACI, minted.without(PartRole.SESSION), minted.asked())
    assert found(proof) == {("C6", "UPSTREAM_CONTRADICTION")}
    assert proof.verdict is Verdict.INVALID


def test_a_refusal_forwards_nothing_and_is_noted() -> None:
    def edit(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        failed = {"type": "upstream.verified", "result": "failed", "required": True, "reason": "x"}
        return [events[0], failed, events[3]]

    minted = mint(Spec(events=edit))
    proof = judged(System.ACI, minted.without(PartRole.SESSION), minted.asked())
    assert found(proof) == {("C5", "NOT_FORWARDED"), ("C6", "UPSTREAM_UNVERIFIED")}
    assert proof.verdict is Verdict.VALID


def test_another_version_is_kept_and_left_open() -> None:
    minted = mint(Spec(receipt=lambda value: {**value, "api_version": "aci/2"}))
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert ("P1", "UNKNOWN_VERSION") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE
    assert proof.binding_strength is Strength.NONE
    assert len(proof.raw) == 5 + len(minted.captured.endorsements.items) + 1


def test_the_answer_to_somebody_elses_key_is_no_receipt() -> None:
    minted = mint()
    answer = b'{"error":{"message":"not found","type":"not_found","code":null,"param":null}}'
    proof = judged(System.ACI, minted.replaced(PartRole.RECEIPT, answer), minted.asked())
    assert ("P1", "LOOKUP_FAILED") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE


def test_a_stream_that_failed_upstream_has_no_receipt_to_import() -> None:
    minted = mint()
    with pytest.raises(MalformedError) as caught:
        judged(System.ACI, minted.without(PartRole.RECEIPT), minted.asked())
    assert caught.value.reason is Reason.FOREIGN_PART


def test_forged_session_data_is_not_what_its_digest_says() -> None:
    def forge(session: dict[str, Any]) -> dict[str, Any]:
        session["evidence"]["data"] = "data:text/plain;base64,Zm9yZ2Vk"
        return session

    proof = judged(System.ACI, (minted := mint(Spec(session=forge))).captured, minted.asked())
    assert found(proof) == {("C7", "SESSION_EVIDENCE")}
    assert proof.verdict is Verdict.INVALID


def test_session_data_that_is_no_data_uri_is_named() -> None:
    def spoil(session: dict[str, Any]) -> dict[str, Any]:
        session["evidence"]["data"] = "data:text/plain;base64,no base64"
        return session

    proof = judged(System.ACI, (minted := mint(Spec(session=spoil))).captured, minted.asked())
    assert found(proof) == {("C7", "SESSION_EVIDENCE")}
    [check] = [item for item in proof.checks if item.check == "C7"]
    assert "no data URI" in check.detail


def test_a_session_that_the_receipt_does_not_cite_is_refused() -> None:
    minted = mint()
    # What a list of sessions shows: without the bulky evidence, and superseded by now.
    listed = mint(Spec(session=lambda value: {**value, "evidence": {"digest": HASH_OF_HI}}))
    other = dict(listed.parts)[PartRole.SESSION]
    proof = judged(System.ACI, minted.replaced(PartRole.SESSION, other), minted.asked())
    assert ("C7", "SESSION_MISMATCH") in found(proof)
    assert proof.verdict is Verdict.INVALID


def test_a_session_that_is_not_at_hand_is_listed_as_uncovered() -> None:
    minted = mint()
    proof = judged(System.ACI, minted.without(PartRole.SESSION), minted.asked())
    assert found(proof) == {("C7", "SESSION_ABSENT")}
    assert any("not at hand" in item for item in proof.uncovered)


def test_a_session_without_evidence_says_so() -> None:
    empty = {"data": "data:;base64,", "digest": "sha256:" + sha256(b"").hex()}
    minted = mint(Spec(session=lambda value: {**value, "evidence": empty}))
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert found(proof) == {("C7", "SESSION_EMPTY")}


def test_a_session_that_had_ended_when_it_served_says_so() -> None:
    minted = mint(Spec(session=lambda value: {**value, "expires_at": value["established_at"] + 1}))
    assert found(judged(System.ACI, minted.captured, minted.asked())) == {("C7", "SESSION_WINDOW")}


def test_a_member_that_occurs_twice_is_refused() -> None:
    def twice(value: object) -> bytes:
        return json.dumps(value).encode().replace(b'"method"', b'"method": "GET", "method"')

    minted = mint(Spec(written=twice))
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert ("P1", "DUPLICATE_MEMBER") in found(proof)
    assert proof.verdict is Verdict.INVALID


def test_a_rewritten_request_is_seen() -> None:
    def rewrite(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        events[1]["body_hash"] = "sha256:" + "ab" * 32
        return events

    minted = mint(Spec(events=rewrite))
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert found(proof) == {("C5", "REWRITTEN")}
    assert proof.claims["request_forwarded_sha256"] == "ab" * 32


@pytest.mark.parametrize(
    ("role", "finding"),
    [
        (PartRole.REQUEST, ("C3", "REQUEST_MISMATCH")),
        (PartRole.RESPONSE, ("C4", "RESPONSE_MISMATCH")),
    ],
)
def test_other_bytes_are_not_those_of_the_receipt(role: PartRole, finding: tuple[str, str]) -> None:
    minted = mint()
    data = dict(minted.parts)[role] + b" "
    proof = judged(System.ACI, minted.replaced(role, data), minted.asked())
    assert found(proof) == {finding}
    assert proof.verdict is Verdict.INVALID


@pytest.mark.parametrize("name", ["served_at", "model", "endpoint", "receipt_id", "event_log"])
def test_whatever_is_changed_after_signing_breaks_the_signature(name: str) -> None:
    def edit(receipt: dict[str, Any]) -> dict[str, Any]:
        changed = {"served_at": 1, "event_log": [*receipt["event_log"], {"type": "x"}]}
        return {**receipt, name: changed.get(name, "other")}

    minted = mint(Spec(signed=edit))
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert ("S2", "BAD_SIGNATURE") in found(proof)
    assert proof.verdict is Verdict.INVALID
    assert (proof.binding_strength, proof.covered) == (Strength.NONE, ())


def test_another_key_did_not_sign_it() -> None:
    minted = mint(Spec(signer=9))
    assert found(judged(System.ACI, minted.captured, minted.asked())) == {("S2", "BAD_SIGNATURE")}


def test_a_key_that_the_keyset_does_not_list_signs_nothing() -> None:
    minted = mint(Spec(receipt=lambda value: {**value, "key_id": "receipt-2"}))
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert ("S1", "KEY_NOT_LISTED") in found(proof)


def test_an_algorithm_that_is_not_read_here_is_not_guessed() -> None:
    def edit(keyset: dict[str, Any]) -> dict[str, Any]:
        keyset["receipt_signing_keys"][0]["algo"] = "ml-dsa-65"
        return keyset

    minted = mint(Spec(keyset=edit))
    assert ("S1", "KEY_ALGORITHM") in found(judged(System.ACI, minted.captured, minted.asked()))


@pytest.mark.parametrize("text", ["", "00" * 31, "ZZ" * 32, "0x" + "00" * 32])
def test_a_key_for_receipts_that_is_none_is_named(text: str) -> None:
    def edit(keyset: dict[str, Any]) -> dict[str, Any]:
        keyset["receipt_signing_keys"][0]["public_key"] = text
        return keyset

    minted = mint(Spec(keyset=edit))
    assert ("S1", "KEY_ALGORITHM") in found(judged(System.ACI, minted.captured, minted.asked()))


def test_a_receipt_of_another_keyset_is_refused() -> None:
    minted = mint(
        Spec(receipt=lambda value: {**value, "workload_keyset_digest": "sha256:" + "11" * 32})
    )
    assert found(judged(System.ACI, minted.captured, minted.asked())) == {("C1", "KEYSET_MISMATCH")}


def test_a_report_that_states_another_digest_of_its_keyset_is_refused() -> None:
    minted = mint(
        Spec(report=lambda value: {**value, "workload_keyset_digest": "sha256:" + "11" * 32})
    )
    assert found(judged(System.ACI, minted.captured, minted.asked())) == {("C1", "RESTATED_DIGEST")}


def test_two_keysets_are_one_too_many() -> None:
    minted = mint()
    other = json.dumps(published_keyset()).encode()
    proof = judged(System.ACI, minted.replaced(PartRole.KEYSET, other), minted.asked())
    assert ("P2", "TWO_KEYSETS") in found(proof)


def test_events_out_of_order_are_refused() -> None:
    minted = mint(Spec(events=lambda events: [events[1], events[0], *events[2:]]))
    assert ("C2", "EVENT_ORDER") in found(judged(System.ACI, minted.captured, minted.asked()))


@pytest.mark.parametrize("seconds", [-1, 0])
def test_a_keyset_ends_with_its_last_second(seconds: int) -> None:
    minted = mint(Spec(not_after=int(NOON.timestamp()) + 100))
    proof = judged(
        System.ACI, minted.captured, minted.asked(NOON + timedelta(seconds=100 + seconds))
    )
    assert found(proof) == (set() if seconds < 0 else {("C8", "KEYSET_EXPIRED")})
    assert proof.verdict is (Verdict.VALID if seconds < 0 else Verdict.INDETERMINATE)


def test_without_evidence_the_key_is_open_and_the_receipt_is_kept() -> None:
    minted = mint()
    report = json.loads(dict(minted.parts)[PartRole.REPORT])
    keyset = json.dumps(report["attestation"]["workload_keyset"]).encode()
    captured = Captured.of(
        [*((r, d) for r, d in minted.parts if r is not PartRole.REPORT), (PartRole.KEYSET, keyset)]
    )
    proof = judged(System.ACI, captured, Asked(NOON))
    assert layers(proof)[Layer.SIGNATURE] is Verdict.VALID
    assert layers(proof)[Layer.ATTESTATION] is Verdict.INDETERMINATE
    assert proof.verdict is Verdict.INDETERMINATE
    assert proof.code_strength is Strength.NONE
    assert proof.binding_strength is Strength.NAME_ONLY


def test_without_keyset_nothing_is_verified() -> None:
    minted = mint()
    proof = judged(System.ACI, minted.without(PartRole.REPORT), Asked(NOON))
    assert ("P2", "MISSING") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE
    assert proof.binding_strength is Strength.NONE


def test_a_report_for_no_nonce_may_be_old_and_says_so() -> None:
    minted = mint(Spec(nonce=None))
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert found(proof) == {("A2", "NO_NONCE")}
    assert proof.verdict is Verdict.VALID


def test_a_report_for_another_nonce_is_refused() -> None:
    minted = mint()
    asked = Asked(NOON, minted.policy, bytes(32))
    assert found(judged(System.ACI, minted.captured, asked)) == {("A2", "REPORT_DATA")}


def test_a_report_for_a_nonce_that_nobody_told_is_left_open() -> None:
    minted = mint()
    proof = judged(System.ACI, minted.captured, Asked(NOON, minted.policy))
    assert found(proof) == {("A2", "NONCE_UNKNOWN")}
    assert proof.verdict is Verdict.INDETERMINATE


def test_a_report_that_states_other_report_data_than_its_quote_is_refused() -> None:
    minted = mint(Spec(report_data=lambda _: bytes(64)))
    assert found(judged(System.ACI, minted.captured, minted.asked())) == {("A2", "REPORT_DATA")}


def test_report_data_that_only_the_report_states_otherwise_is_refused() -> None:
    def edit(report: dict[str, Any]) -> dict[str, Any]:
        report["attestation"]["report_data"] = "11" * 32
        return report

    minted = mint(Spec(report=edit))
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert found(proof) == {("A2", "REPORT_DATA")}
    assert proof.verdict is Verdict.INVALID


def test_evidence_of_an_unknown_root_proves_no_key() -> None:
    minted = mint()
    proof = judged(System.ACI, minted.captured, Asked(NOON, nonce=NONCE))
    assert ("A1", "EVIDENCE_REFUSED") in found(proof)
    assert proof.code_strength is Strength.NONE


def test_evidence_whose_collateral_is_gone_is_left_open() -> None:
    minted = mint()
    proof = judged(System.ACI, Captured.of(minted.parts), minted.asked())
    assert found(proof) == {("A1", "EVIDENCE_OPEN")}
    assert proof.verdict is Verdict.INDETERMINATE


def test_what_no_measurement_backs_of_the_build_is_listed() -> None:
    minted = mint()
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert "source_provenance.repo_commit" in proof.uncovered
    assert proof.claims["compose_sha256"]


def test_a_compose_file_that_was_not_measured_is_refused() -> None:
    minted = mint(Spec(compose="{}"))
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert found(proof) == {("A3", "PROVENANCE_MISMATCH")}


def test_a_report_without_compose_file_binds_no_build() -> None:
    def edit(report: dict[str, Any]) -> dict[str, Any]:
        del report["attestation"]["evidence"]["app_compose"]
        return report

    minted = mint(Spec(report=edit))
    proof = judged(System.ACI, minted.captured, minted.asked())
    assert found(proof) == {("A3", "PROVENANCE_UNBOUND")}


def test_a_gateway_on_amd_hands_its_report_over_beside_the_document() -> None:
    caught = mint()
    report = json.loads(dict(caught.parts)[PartRole.REPORT])
    attestation = report["attestation"]
    keyset = Keyset.of(attestation["workload_keyset"])
    attestation |= {"tee_type": "sev_snp", "evidence": {}}
    made = amd.mint(amd.Spec(report_data=report_data(keyset.digest, NONCE)))
    parts = [part for part in caught.parts if part[0] is not PartRole.REPORT]
    parts += [(PartRole.REPORT, json.dumps(report).encode()), (PartRole.EVIDENCE, made.evidence)]
    asked = Asked(NOON, believing("amd-snp", amd.roots()), NONCE)
    proof = judged(System.ACI, Captured.of(parts, made.endorsements), asked)
    assert found(proof) == {("A3", "PROVENANCE_UNBOUND")}
    assert (proof.verdict, proof.code_strength) == (Verdict.VALID, Strength.MEASURED)
    assert proof.claims["tee_type"] == "sev_snp"


def test_two_pieces_of_evidence_that_differ_are_refused() -> None:
    caught = mint()
    captured = Captured.of([*caught.parts, (PartRole.EVIDENCE, b"other")], caught.endorsements)
    assert ("A1", "EVIDENCE_FORM") in found(judged(System.ACI, captured, caught.asked()))


def test_a_quote_in_no_hexadecimal_is_named() -> None:
    def edit(report: dict[str, Any]) -> dict[str, Any]:
        report["attestation"]["evidence"]["quote"] = "zz"
        return report

    minted = mint(Spec(report=edit))
    assert ("A1", "EVIDENCE_FORM") in found(judged(System.ACI, minted.captured, minted.asked()))


def test_a_member_name_that_sorts_in_two_ways_is_refused() -> None:
    minted = mint(Spec(signed=lambda value: {**value, "é": 1}))
    assert ("P1", "NOT_CANONICALISABLE") in found(
        judged(System.ACI, minted.captured, minted.asked())
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.booleans(), st.randoms(use_true_random=False))
def test_any_spelling_of_a_receipt_is_the_same_receipt(
    indent: int, ascii_: bool, random: Any
) -> None:
    receipt = json.loads(dict(mint().parts)[PartRole.RECEIPT])
    items = list(receipt.items())
    random.shuffle(items)
    text = json.dumps(dict(items), indent=indent, ensure_ascii=ascii_).encode()
    assert Receipt.parse(text) == Receipt.parse(json.dumps(receipt).encode())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_other_bytes_are_no_receipt(data: bytes) -> None:
    with pytest.raises(CheckError):
        Receipt.parse(data)
