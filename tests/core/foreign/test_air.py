"""AIR v1 receipts: the published vectors from their construction, and each refusal by its name."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError
from registry.core.foreign.air.receipt import MAX_RECEIPT_BYTES, Message, read_claims
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.proof import ForeignProof, Layer, Strength, System
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tests.core.foreign.looking import found, judged, layers
from tools.fake_vendor.air import (
    PROTECTED,
    SEED,
    Spec,
    descending,
    deterministic,
    mint,
    sign,
)
from tools.fake_vendor.caught import NOON, Caught, key_of, public_bytes

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19


def judge(caught: Caught) -> ForeignProof:
    return judged(System.AIR, caught.captured, caught.asked())


def edited(key: Any, value: object) -> Callable[[dict[Any, Any]], dict[Any, Any]]:
    """Set a claim, or leave it out if the value is None."""

    def edit(claims: dict[Any, Any]) -> dict[Any, Any]:
        changed = {**claims, key: value}
        if value is None:
            del changed[key]
        return changed

    return edit


# --- The published vectors, made again from their construction. ---


def published(platform: str) -> dict[Any, Any]:
    """The claims of the two published receipts that are good."""
    if platform == "nitro":
        measured: dict[str, Any] = {f"pcr{i}": bytes([i + 1] * 48) for i in range(3)}
        return {
            1: "cyntrisec.com",
            6: 1740500000,
            7: bytes(range(1, 17)),
            265: "https://spec.cyntrisec.com/air/v1",
            -65537: "minilm-l6-v2",
            -65538: "1.0.0",
            -65539: b"\xaa" * 32,
            -65540: b"\xbb" * 32,
            -65541: b"\xcc" * 32,
            -65542: b"\xdd" * 32,
            -65543: {**measured, "measurement_type": "nitro-pcr"},
            -65544: "policy-2026.02",
            -65545: 42,
            -65546: 116,
            -65547: 512,
            -65548: "production",
        }
    measured = {f"pcr{i}": bytes([16 * (i + 1)] * 48) for i in range(3)}
    return {
        **published("nitro"),
        6: 1740500100,
        7: bytes(range(17, 33)),
        10: bytes.fromhex("deadbeefcafebabe"),
        -65537: "llama-7b",
        -65538: "2.0.0",
        -65539: b"\x55" * 32,
        -65540: b"\x66" * 32,
        -65541: b"\x77" * 32,
        -65542: b"\x88" * 32,
        -65543: {**measured, "measurement_type": "tdx-mrtd-rtmr"},
        -65544: "policy-2026.03",
        -65545: 1,
        -65546: 2500,
        -65547: 8192,
    }


def bare(receipt: bytes, key: bytes | None = None, asked: Asked | None = None) -> ForeignProof:
    """Judge a receipt of which only the key came along."""
    signer = public_bytes(key_of(SEED)) if key is None else key
    captured = Captured.of([(PartRole.RECEIPT, receipt), (PartRole.KEY, signer)])
    return judged(System.AIR, captured, asked or Asked(NOON))


@pytest.mark.parametrize(
    ("platform", "size", "signature"),
    [
        ("nitro", 598, "31161eb04d05ce9a2329a84f046a035a9453d968fbf5346eb31a88216735122c"),
        ("tdx", 608, "da9697770b22450d3a61234e84e330e3829e4c5a51bc6f897964a83de1c86cd2"),
    ],
)
def test_the_published_receipts_are_made_again_and_verify(
    platform: str, size: int, signature: str
) -> None:
    receipt = sign(published(platform), Spec())
    assert (len(receipt), receipt[-64:-32].hex()) == (size, signature)
    proof = bare(receipt)
    verdicts = layers(proof)
    for layer in (Layer.PARSE, Layer.ENCODING, Layer.SIGNATURE, Layer.CLAIMS):
        assert verdicts[layer] is Verdict.VALID
    assert verdicts[Layer.ATTESTATION] is Verdict.INDETERMINATE
    assert proof.claims["sequence_number"] == str(published(platform)[-65545])


def test_the_published_key_is_that_of_its_seed() -> None:
    assert public_bytes(key_of(SEED)).hex() == (
        "197f6b23e16c8532c6abc838facd5ea789be0c76b2920334039bfa8b3d368d61"
    )


OTHER_KEY = public_bytes(key_of(1))
OTHER_NONCE, OTHER_MODEL = Asked(NOON, nonce=b"\1" * 8), Asked(NOON, model=b"\1" * 32)

MUST_FAIL = [
    ("wrong key", {}, {"key": OTHER_KEY}, "S1", "BAD_SIGNATURE"),
    ("wrong algorithm", {"protected": bytes.fromhex("a2012603183d")}, {}, "P1", "BAD_ALGORITHM"),
    ("zero model hash", {"edit": edited(-65539, bytes(32))}, {}, "C1", "ZERO_MODEL_HASH"),
    (
        "bad measurement length",
        {"edit": edited(-65543, {**published("nitro")[-65543], "pcr1": b"\2" * 32})},
        {},
        "C1",
        "MEASUREMENT_SIZE",
    ),
    ("nonce mismatch", {"nonce": True}, {"asked": OTHER_NONCE}, "C5", "NONCE_MISMATCH"),
    ("model hash mismatch", {}, {"asked": OTHER_MODEL}, "C4", "MODEL_MISMATCH"),
    ("stale", {}, {}, "C6", "STALE"),
]  # fmt: skip


@pytest.mark.parametrize("encode", [deterministic, descending], ids=["ascending", "descending"])
@pytest.mark.parametrize(
    ("how", "judged_by", "check", "finding"),
    [item[1:] for item in MUST_FAIL],
    ids=[item[0] for item in MUST_FAIL],
)
def test_each_published_receipt_that_must_fail_does_so_for_its_own_reason(
    encode: Any, how: dict[str, Any], judged_by: dict[str, Any], check: str, finding: str
) -> None:
    """Once they were all in no deterministic encoding: that has a finding of its own."""
    claims = published("tdx" if how.get("nonce") else "nitro")
    claims = how.get("edit", lambda same: same)(claims)
    spec = Spec(encode=encode, protected=how.get("protected", PROTECTED))
    said = found(bare(sign(claims, spec), **judged_by))
    assert (check, finding) in said
    reached = check != "P1"
    assert (("E1", "NOT_DETERMINISTIC") in said) is (reached and encode is descending)
    if check not in ("S1", "P1"):
        assert not any(name == "S1" for name, _ in said)


def test_evidence_of_another_platform_than_the_receipt_states_is_refused() -> None:
    nitro, tdx = mint(), mint(Spec(platform="tdx"))
    other = dict(tdx.parts)[PartRole.EVIDENCE]
    proof = judged(System.AIR, nitro.replaced(PartRole.EVIDENCE, other), nitro.asked())
    assert {("A1", "EVIDENCE_REFUSED"), ("A3", "PLATFORM_MISMATCH")} <= found(proof)
    assert proof.verdict is Verdict.INVALID


# --- The message. ---


@pytest.mark.parametrize("platform", ["nitro", "tdx"])
def test_a_receipt_with_all_that_it_names_is_valid_and_the_hash_is_the_workloads_word(
    platform: str,
) -> None:
    proof = judge(mint(Spec(platform=platform)))
    assert found(proof) == set()
    assert proof.verdict is Verdict.VALID
    assert proof.binding_strength is Strength.WORKLOAD_ASSERTED_HASH
    assert proof.code_strength is Strength.MEASURED
    assert any("the workload says so" in item for item in proof.uncovered)


def test_a_receipt_that_is_not_deterministic_is_refused_for_that_alone() -> None:
    proof = judge(mint(Spec(encode=descending)))
    assert found(proof) == {("E1", "NOT_DETERMINISTIC")}
    assert proof.verdict is Verdict.INVALID
    assert layers(proof)[Layer.SIGNATURE] is Verdict.VALID
    assert proof.binding_strength is Strength.NAME_ONLY


def test_a_message_whose_lengths_are_long_is_not_deterministic() -> None:
    def long(data: bytes) -> bytes:
        return data.replace(b"\x58\x40", b"\x59\x00\x40")

    assert found(judge(mint(Spec(message=long)))) == {("E1", "NOT_DETERMINISTIC")}


@pytest.mark.parametrize(
    ("spec", "finding"),
    [
        (Spec(tag=b""), "UNTAGGED"),
        (Spec(tag=b"\xd1"), "WRONG_TAG"),
        (Spec(protected=bytes.fromhex("a3012703183d0401")), "PROTECTED_HEADER"),
        (Spec(protected=b""), "PROTECTED_HEADER"),
        (Spec(protected=bytes.fromhex("a203183d0127")), "PROTECTED_HEADER"),
        (Spec(unprotected={4: b"kid"}), "UNPROTECTED_HEADER"),
        (Spec(message=lambda data: data + b"\0"), "TRAILING_BYTES"),
        (Spec(message=lambda data: data[:-1]), "NOT_CBOR"),
        (Spec(signature=lambda data: data[:-1]), "SIGNATURE_SIZE"),
        (Spec(message=lambda data: b"\xd2\xd2" + data[1:]), "NOT_CBOR"),
        (Spec(message=lambda _: b"\xd2" + cbor2.dumps([PROTECTED, {}, None, b""])), "NOT_SIGN1"),
        (Spec(message=lambda _: b"\xd2" + cbor2.dumps(1)), "NOT_SIGN1"),
        (Spec(message=lambda data: data.ljust(65_537, b"\0")), "RECEIPT_SIZE"),
    ],
    ids=[
        "untagged",
        "another tag",
        "one header more",
        "no header",
        "headers the other way round",
        "an unprotected header",
        "a byte behind",
        "a byte less",
        "a short signature",
        "two tags",
        "no payload",
        "a number",
        "65 537 bytes",
    ],
)
def test_each_defect_of_a_message_has_its_name(spec: Spec, finding: str) -> None:
    proof = judge(mint(spec))
    assert ("P1", finding) in found(proof)
    assert (proof.verdict, proof.binding_strength) == (Verdict.INVALID, Strength.NONE)


def test_a_receipt_may_have_65536_bytes_and_no_more() -> None:
    room = MAX_RECEIPT_BYTES - len(sign(published("nitro"), Spec()))
    # Three more bytes say how long a long text is; it is refused later, for what it is.
    for size, refused in ((room - 2, False), (room - 1, True)):
        claims = {**published("nitro"), -65537: "x" * (size + len("minilm-l6-v2"))}
        receipt = sign(claims, Spec())
        assert len(receipt) == MAX_RECEIPT_BYTES + refused
        assert (("P1", "RECEIPT_SIZE") in found(bare(receipt))) is refused


def test_claims_with_a_key_twice_are_refused() -> None:
    def twice(claims: Any) -> bytes:
        data = deterministic(claims)
        return bytes([data[0] + 1]) + data[1:] + cbor2.dumps(1) + cbor2.dumps("other")

    assert ("P2", "DUPLICATE_KEY") in found(judge(mint(Spec(encode=twice))))


def test_claims_with_bytes_behind_them_are_refused() -> None:
    spec = Spec(encode=lambda claims: deterministic(claims) + b"\0")
    assert ("P2", "TRAILING_BYTES") in found(judge(mint(spec)))


def test_claims_without_a_length_of_their_own_are_not_deterministic() -> None:
    spec = Spec(encode=lambda claims: b"\xbf" + deterministic(claims)[1:] + b"\xff")
    assert found(judge(mint(spec))) == {("E1", "NOT_DETERMINISTIC")}


# --- The claims. ---


@pytest.mark.parametrize(
    ("key", "value", "finding"),
    [
        (1, None, "MISSING_CLAIM"),
        (1, "", "CLAIM_SIZE"),
        (1, "é" * 129, "CLAIM_SIZE"),
        (1, b"x", "CLAIM_TYPE"),
        (6, 0, "ZERO_IAT"),
        (6, -1, "CLAIM_SIZE"),
        (6, True, "CLAIM_TYPE"),
        (6, 1.5, "CLAIM_TYPE"),
        (6, 2**63, "CLAIM_SIZE"),
        (7, bytes(15), "CLAIM_SIZE"),
        (10, bytes(7), "CLAIM_SIZE"),
        (10, bytes(65), "CLAIM_SIZE"),
        (265, "https://spec.cyntrisec.com/air/v2", "PROFILE"),
        (-65538, "x" * 129, "CLAIM_SIZE"),
        (-65540, bytes(31), "CLAIM_SIZE"),
        (-65548, "x" * 65, "CLAIM_SIZE"),
        (-65549, "sha256-tree", "MODEL_HASH_SCHEME"),
        (-65550, "reserved", "UNKNOWN_CLAIM"),
        ("iss", "text", "UNKNOWN_CLAIM"),
        (-65543, {"measurement_type": "sev-snp"}, "MEASUREMENT_TYPE"),
        (-65543, {"measurement_type": "nitro-pcr", "pcr0": bytes(48)}, "MEASUREMENT_NAMES"),
        (-65543, [], "CLAIM_TYPE"),
    ],
)
def test_each_defect_of_a_claim_has_its_name(key: Any, value: object, finding: str) -> None:
    proof = bare(sign(edited(key, value)(published("nitro")), Spec()))
    assert ("C1", finding) in found(proof)
    assert layers(proof)[Layer.SIGNATURE] is Verdict.VALID


def test_a_trust_domain_has_no_pcr8() -> None:
    measured = {**published("tdx")[-65543], "pcr8": bytes(48)}
    proof = bare(sign(edited(-65543, measured)(published("tdx")), Spec()))
    assert ("C1", "MEASUREMENT_NAMES") in found(proof)


@pytest.mark.parametrize("scheme", ["sha256-single", "sha256-concat", "sha256-manifest"])
def test_a_scheme_that_is_known_is_told(scheme: str) -> None:
    proof = judge(mint(Spec(claims=edited(-65549, scheme))))
    assert (found(proof), proof.claims["model_hash_scheme"]) == (set(), scheme)


@pytest.mark.parametrize("mode", ["GatewayOnly", "ShieldMode", "production", "evaluation"])
def test_every_security_mode_in_use_is_read(mode: str) -> None:
    assert judge(mint(Spec(claims=edited(-65548, mode)))).claims["security_mode"] == mode


@pytest.mark.parametrize(
    ("role", "finding"),
    [
        (PartRole.REQUEST, ("C2", "REQUEST_MISMATCH")),
        (PartRole.RESPONSE, ("C3", "RESPONSE_MISMATCH")),
    ],
)
def test_other_bytes_are_not_those_of_the_receipt(role: PartRole, finding: tuple[str, str]) -> None:
    caught = mint()
    proof = judged(System.AIR, caught.replaced(role, b"other"), caught.asked())
    assert found(proof) == {finding}


def test_a_nonce_that_was_sent_is_found_again() -> None:
    assert found(judge(mint(Spec(nonce=bytes(range(8)))))) == set()


def test_a_receipt_of_the_future_is_left_open() -> None:
    proof = judge(mint(Spec(claims=edited(6, int(NOON.timestamp()) + 301))))
    assert ("C6", "FROM_THE_FUTURE") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE


# --- The key. ---


def test_without_a_key_nothing_is_verified_and_the_receipt_is_kept() -> None:
    caught = mint()
    proof = judged(System.AIR, caught.without(PartRole.KEY), caught.asked())
    assert found(proof) == {("S1", "MISSING"), ("A4", "NOT_REACHED")}
    assert (proof.verdict, proof.binding_strength) == (Verdict.INDETERMINATE, Strength.NONE)


def test_without_evidence_the_key_is_open() -> None:
    caught = mint()
    proof = judged(System.AIR, caught.without(PartRole.EVIDENCE), caught.asked())
    assert proof.verdict is Verdict.INDETERMINATE
    assert proof.binding_strength is Strength.NAME_ONLY


def test_a_key_that_the_evidence_does_not_commit_to_is_said_to_be_unbound() -> None:
    proof = judge(mint(Spec(bound=None)))
    assert found(proof) == {("A4", "KEY_UNBOUND")}
    assert (proof.verdict, proof.binding_strength) == (Verdict.INDETERMINATE, Strength.NAME_ONLY)


@pytest.mark.parametrize("platform", ["nitro", "tdx"])
@pytest.mark.parametrize(
    "form",
    [
        lambda key: key,
        sha256,
        lambda key: sha256(bytes.fromhex("302a300506032b6570032100") + key),
    ],
    ids=["itself", "its digest", "the digest of its DER"],
)
def test_evidence_may_commit_to_a_key_or_its_digest(platform: str, form: Any) -> None:
    proof = judge(mint(Spec(platform=platform, bound=form)))
    assert found(proof) == set()
    assert proof.claims["key_binding"] == ("public_key" if platform == "nitro" else "report_data")


def test_report_data_that_only_begins_with_the_key_does_not_commit_to_it() -> None:
    proof = judge(mint(Spec(platform="tdx", bound=lambda key: key + b"\1")))
    assert found(proof) == {("A4", "KEY_UNBOUND")}


def pem(key: bytes) -> bytes:
    public = Ed25519PublicKey.from_public_bytes(key)
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize(
    "form",
    [
        lambda key: key,
        lambda key: key.hex().encode() + b"\n",
        pem,
        lambda key: bytes.fromhex("302a300506032b6570032100") + key,
    ],
    ids=["raw", "hexadecimal", "PEM", "DER"],
)
def test_a_key_may_come_in_four_forms(form: Any) -> None:
    assert found(judge(mint(Spec(key=form)))) == set()


@pytest.mark.parametrize(
    "form",
    [b"", b"x" * 31, b"-----BEGIN", b"zz" * 32, b"\0" * 5000],
    ids=["empty", "31 bytes", "half a PEM", "no hexadecimal", "long"],
)
def test_what_is_no_key_is_named(form: bytes) -> None:
    assert ("S1", "KEY_FORM") in found(judge(mint(Spec(key=lambda _: form))))


def test_a_key_in_more_bytes_than_any_key_has_is_not_even_read() -> None:
    der = (
        key_of(5)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    longer = der + b"\n" * 5000
    assert ("S1", "KEY_FORM") in found(judge(mint(Spec(key=lambda _: longer))))


def test_claims_that_are_no_map_are_named() -> None:
    with pytest.raises(CheckError) as caught:
        read_claims(cbor2.dumps([1, 2]))
    assert caught.value.finding == "NOT_CBOR"
    assert caught.value.what == "the claims are no map"


def test_a_key_of_another_kind_is_named() -> None:
    other = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    der = other.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert ("S1", "KEY_FORM") in found(judge(mint(Spec(key=lambda _: der))))


def square_root(number: int) -> int | None:
    root = pow(number, (PRIME + 3) // 8, PRIME)
    for each in (root, root * pow(2, (PRIME - 1) // 4, PRIME) % PRIME):
        if each * each % PRIME == number % PRIME:
            return each
    return None


def small_order() -> set[bytes]:
    """Every spelling of a point whose order divides 8, from the equation of the curve."""
    d = -121665 * pow(121666, -1, PRIME) % PRIME

    def add(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
        k = d * one[0] * two[0] * one[1] * two[1] % PRIME
        x = (one[0] * two[1] + two[0] * one[1]) * pow(1 + k, -1, PRIME) % PRIME
        return x, (one[1] * two[1] + one[0] * two[0]) * pow(1 - k, -1, PRIME) % PRIME

    def times(number: int, point: tuple[int, int]) -> tuple[int, int]:
        total = (0, 1)
        for bit in f"{number:b}":
            total = add(total, total)
            total = add(total, point) if bit == "1" else total
        return total

    ordinates: set[int] = set()
    for y in range(2, 12):
        x = square_root((y * y - 1) * pow(d * y * y + 1, -1, PRIME) % PRIME)
        if x is not None:
            torsion = times(ORDER, (x, y))
            ordinates |= {times(number, torsion)[1] for number in range(8)}
    spelled = ordinates | {y + PRIME for y in ordinates if y + PRIME < 2**255}
    return {y.to_bytes(32, "little") for y in spelled}


def test_a_key_of_small_order_signs_everything_and_is_refused() -> None:
    points = small_order()
    assert len(points) == 7
    for point in points:
        for key in (point, point[:-1] + bytes([point[-1] | 0x80])):
            assert ("S1", "WEAK_KEY") in found(bare(sign(published("nitro"), Spec()), key))


def test_a_signature_whose_point_has_small_order_is_refused() -> None:
    spec = Spec(signature=lambda made: b"\1" + bytes(31) + made[32:])
    assert ("S1", "WEAK_KEY") in found(bare(sign(published("nitro"), spec)))


def test_the_other_s_of_a_signature_is_refused() -> None:
    def other(made: bytes) -> bytes:
        s = int.from_bytes(made[32:], "little") + ORDER
        return made[:32] + s.to_bytes(32, "little")

    assert ("S1", "BAD_SIGNATURE") in found(bare(sign(published("nitro"), Spec(signature=other))))


# --- The evidence. ---


def test_other_evidence_than_the_receipt_names_is_refused() -> None:
    proof = judge(mint(Spec(claims=edited(-65542, b"\1" * 32))))
    assert found(proof) == {("A2", "DOCUMENT_MISMATCH")}


@pytest.mark.parametrize(("platform", "kind"), [("nitro", "nitro-pcr"), ("tdx", "tdx-mrtd-rtmr")])
def test_other_measurements_than_those_of_the_evidence_are_refused(
    platform: str, kind: str
) -> None:
    measured = {f"pcr{index}": b"\7" * 48 for index in range(3)}
    claims = edited(-65543, {**measured, "measurement_type": kind})
    proof = judge(mint(Spec(platform=platform, claims=claims)))
    assert found(proof) == {("A3", "MEASUREMENT_MISMATCH")}


def test_a_document_three_hours_later_is_left_open() -> None:
    caught = mint()
    proof = judged(System.AIR, caught.captured, caught.asked(NOON + timedelta(hours=3, minutes=1)))
    assert found(proof) == {("A1", "EVIDENCE_OPEN")}
    assert proof.verdict is Verdict.INDETERMINATE


def test_an_import_without_receipt_is_refused() -> None:
    caught = mint()
    with pytest.raises(MalformedError) as refused:
        judged(System.AIR, caught.without(PartRole.RECEIPT), caught.asked())
    assert refused.value.reason is Reason.FOREIGN_PART


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_other_bytes_are_no_receipt(data: bytes) -> None:
    with pytest.raises(CheckError):
        Message.parse(b"\xd2" + data)


@settings(deadline=None)
@given(st.dictionaries(st.integers(-(2**63), 2**63), st.binary(max_size=8) | st.text(max_size=8)))
def test_the_one_encoding_of_claims_is_recognised(claims: dict[int, Any]) -> None:
    read, is_deterministic = read_claims(deterministic(claims))
    assert (read, is_deterministic) == (claims, True)
