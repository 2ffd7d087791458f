"""Bad Nitro documents, one test for each row of the catalogue; its number is in the test's id."""

import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from registry.core.evidence.appraisal import Question
from registry.core.evidence.binding import Binding, Mismatch
from registry.core.evidence.checks import Finding
from registry.core.evidence.nitro.document import MAX_DOCUMENT_BYTES, Message
from registry.core.evidence.nitro.findings import NitroFinding
from registry.core.evidence.nitro.rules import RULES
from registry.core.evidence.policy import check
from registry.core.evidence.roots import Roots
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tests.core.evidence.nitro.judging import changed, examined, found, judged, policy, refused
from tools.fake_vendor import pki
from tools.fake_vendor.nitro import (
    INSTANCE,
    LEAF,
    LEVELS,
    NOON,
    PROTECTED,
    ROOT,
    Minted,
    Spec,
    high_s,
    mint,
)

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def row(number: int, name: str, *values: object) -> Any:
    return pytest.param(*values, id=f"{number} {name}")


def setting(**fields: object) -> Callable[[dict[Any, Any]], dict[Any, Any]]:
    """Edit fields of the document."""
    return lambda found: found | fields


def with_pcr(index: object, value: object) -> Callable[[dict[Any, Any]], dict[Any, Any]]:
    return lambda fields: fields | {"pcrs": fields["pcrs"] | {index: value}}


def without_pcr(index: int) -> Callable[[dict[Any, Any]], dict[Any, Any]]:
    def edit(fields: dict[Any, Any]) -> dict[Any, Any]:
        return fields | {
            "pcrs": {key: item for key, item in fields["pcrs"].items() if key != index}
        }

    return edit


def with_bundle(edit: Callable[[list[bytes]], list[bytes]]) -> Callable[[dict[Any, Any]], Any]:
    return lambda fields: fields | {"cabundle": edit(list(fields["cabundle"]))}


def twice(name: str) -> Callable[[bytes], bytes]:
    """Say a field twice; the second time it is null."""
    key = cbor2.dumps(name)

    def edit(payload: bytes) -> bytes:
        return bytes([payload[0] + 1]) + payload[1:] + key + b"\xf6"

    return edit


def chunked(payload: bytes) -> bytes:
    """Write the module id in two chunks."""
    whole = cbor2.dumps(cbor2.loads(payload)["module_id"])
    text = whole[2:] if whole[0] == 0x78 else whole[1:]
    halves = b"".join(cbor2.dumps(part.decode()) for part in (text[:10], text[10:]))
    assert payload.count(whole) == 1
    return payload.replace(whole, b"\x7f" + halves + b"\xff")


def test_a_good_document_is_valid() -> None:
    appraisal = judged()
    assert (appraisal.verdict, found(appraisal)) == (Verdict.VALID, {})
    assert appraisal.tier == "affirming"


# 77
def test_a_debug_enclave_is_contraindicated_though_its_signature_is_good() -> None:
    zeros = {index: bytes(48) for index in range(16)}
    appraisal = judged(Spec(pcrs=zeros | {3: b"\x03" * 48}))
    assert found(appraisal) == {"N6": {NitroFinding.DEBUG}}
    assert (appraisal.verdict, appraisal.tier) == (Verdict.INVALID, "contraindicated")
    assert appraisal.trust["configuration"] == 96


# 78
def test_a_document_is_good_then_and_expired_three_hours_later() -> None:
    minted = mint()
    issued = minted.chain[-1].certificate.not_valid_before_utc
    assert judged(minted).verdict is Verdict.VALID
    late = judged(minted, issued + 3 * HOUR + 4 * SECOND)
    assert late.verdict is Verdict.INDETERMINATE
    assert found(late) == {"N4": {Finding.EXPIRED}, "N8": {NitroFinding.TOO_OLD}}


@pytest.mark.parametrize(
    ("edit", "finding"),
    [
        row(79, "root last", lambda all_: [*all_[1:], all_[0]], NitroFinding.ROOT_NOT_FIRST),
        row(79, "reversed", lambda all_: all_[::-1], NitroFinding.ROOT_NOT_FIRST),
        row(79, "two swapped", lambda all_: [all_[0], all_[2], all_[1], all_[3]], "PATH_LENGTH"),
        row(81, "link missing", lambda all_: [*all_[:2], all_[3]], NitroFinding.NOT_ISSUED),
    ],
)
def test_certificates_in_another_order_are_refused(
    edit: Callable[[list[bytes]], list[bytes]], finding: str
) -> None:
    assert refused(Spec(fields=with_bundle(edit)))["N3"] == {finding}


# 80
def test_a_root_with_the_vendors_name_is_not_the_vendors_root() -> None:
    genuine = mint()
    forged = mint(Spec(root="forged"))
    assert forged.chain[0].certificate.subject == genuine.chain[0].certificate.subject
    appraisal = judged(Minted(forged.evidence, forged.chain, forged.endorsements, genuine.roots))
    assert found(appraisal) == {"N3": {Finding.UNTRUSTED_ROOT}}
    assert appraisal.verdict is Verdict.INVALID
    assert appraisal.trust["hardware"] == 97


def test_a_root_that_was_only_named_is_told() -> None:
    minted = mint()
    assert examined(minted).configured_roots == (next(iter(minted.roots.named))[1],)


@pytest.mark.parametrize(
    ("spec", "check_", "finding"),
    [
        row(81, "empty", Spec(fields=setting(cabundle=[])), "N2", "CERTIFICATE_COUNT"),
        row(81, "leaf by root", Spec(levels=(ROOT, LEAF)), "N3", "CHAIN_TOO_SHORT"),
        row(
            81, "twelve", Spec(fields=with_bundle(lambda all_: all_ * 3)), "N2", "CERTIFICATE_COUNT"
        ),
        row(
            81,
            "1025 bytes",
            Spec(fields=with_bundle(lambda all_: [*all_[:3], bytes(1025)])),
            "N2",
            "FIELD_SIZE",
        ),
        row(81, "empty leaf", Spec(fields=setting(certificate=b"")), "N2", "FIELD_SIZE"),
        row(82, "PCR0 missing", Spec(fields=without_pcr(0)), "N6", "PCR_MISSING"),
        row(82, "no PCR", Spec(fields=setting(pcrs={})), "N6", "PCR_MISSING"),
        row(82, "PCR null", Spec(fields=with_pcr(0, None)), "N2", "FIELD_TYPE"),
        row(85, "pcrs twice", Spec(payload=twice("pcrs")), "N2", "DUPLICATE_KEY"),
        row(85, "nonce twice", Spec(payload=twice("nonce")), "N2", "DUPLICATE_KEY"),
        row(86, "trailing", Spec(message=lambda all_: all_ + b"\0"), "N1", "TRAILING_BYTES"),
        row(86, "trailing null", Spec(payload=lambda all_: all_ + b"\xf6"), "N2", "TRAILING_BYTES"),
        row(86, "trailing zero", Spec(payload=lambda all_: all_ + b"\0"), "N2", "TRAILING_BYTES"),
        row(86, "trailing one", Spec(payload=lambda all_: all_ + b"\1"), "N2", "TRAILING_BYTES"),
        row(86, "tag 98", Spec(message=lambda all_: b"\xd8\x62" + all_), "N1", "WRONG_TAG"),
        row(86, "tag 18 twice", Spec(message=lambda all_: b"\xd2\xd2" + all_), "N1", "WRONG_TAG"),
        row(86, "long tag", Spec(message=lambda all_: b"\xd8\x12" + all_), "N1", "WRONG_TAG"),
        row(87, "chunks", Spec(payload=chunked), "N2", "CHUNKED_STRING"),
        row(
            87,
            "chunks in newer form",
            Spec(payload=chunked, indefinite=True),
            "N2",
            "CHUNKED_STRING",
        ),
        row(88, "ES256", Spec(protected=cbor2.dumps({1: -7})), "N1", "WRONG_ALGORITHM"),
        row(88, "ES512", Spec(protected=cbor2.dumps({1: -36})), "N1", "WRONG_ALGORITHM"),
        row(88, "unprotected", Spec(unprotected={1: -35}), "N1", "UNPROTECTED_HEADER"),
        row(88, "only there", Spec(unprotected={1: -35}, protected=b""), "N1", "PROTECTED_HEADER"),
        row(88, "crit", Spec(protected=cbor2.dumps({1: -35, 2: [1]})), "N1", "PROTECTED_HEADER"),
        row(88, "a0", Spec(protected=b"\xa0"), "N1", "PROTECTED_HEADER"),
        row(88, "long form", Spec(protected=b"\xa1\x18\x01\x38\x22"), "N1", "WRONG_ALGORITHM"),
        row(89, "95 bytes", Spec(signature=lambda all_: all_[:-1]), "N1", "SIGNATURE_SIZE"),
        row(89, "97 bytes", Spec(signature=lambda all_: all_ + b"\0"), "N1", "SIGNATURE_SIZE"),
        row(
            89,
            "DER",
            Spec(
                signature=lambda all_: encode_dss_signature(
                    int.from_bytes(all_[:48], "big"), int.from_bytes(all_[48:], "big")
                )
            ),
            "N1",
            "SIGNATURE_SIZE",
        ),
        row(92, "zero", Spec(fields=setting(timestamp=0)), "N2", "TIMESTAMP"),
        row(92, "negative", Spec(fields=setting(timestamp=-1)), "N2", "TIMESTAMP"),
        row(92, "huge", Spec(fields=setting(timestamp=2**63)), "N2", "TIMESTAMP"),
        row(92, "a float", Spec(fields=setting(timestamp=1.5)), "N2", "FIELD_TYPE"),
        row(92, "true", Spec(fields=setting(timestamp=True)), "N2", "FIELD_TYPE"),
        row(93, "47 bytes", Spec(fields=with_pcr(4, bytes(47))), "N2", "PCR_SIZE"),
        row(93, "49 bytes", Spec(fields=with_pcr(4, bytes(49))), "N2", "PCR_SIZE"),
        row(93, "index 32", Spec(fields=with_pcr(32, bytes(48))), "N2", "PCR_INDEX"),
        row(93, "index -1", Spec(fields=with_pcr(-1, bytes(48))), "N2", "PCR_INDEX"),
        row(93, "index text", Spec(fields=with_pcr("4", bytes(48))), "N2", "PCR_INDEX"),
        row(96, "no signature", Spec(signature=lambda _: bytes(96)), "N5", "BAD_SIGNATURE"),
        row(96, "other key", Spec(signer=pki.p384("stranger")), "N5", "BAD_SIGNATURE"),
        row(97, "SHA256", Spec(fields=setting(digest="SHA256")), "N2", "DIGEST_ALGORITHM"),
        row(97, "sha384", Spec(fields=setting(digest="sha384")), "N2", "DIGEST_ALGORITHM"),
    ],
)
def test_a_bad_document_is_refused_by_name(spec: Spec, check_: str, finding: str) -> None:
    assert refused(spec) == {check_: {finding}}


# 82
def test_a_missing_measurement_is_none_of_the_allowed_ones() -> None:
    wanted = policy(pcr8=("08" * 48,))
    appraisal = judged(Spec(fields=without_pcr(8)), policy=wanted)
    assert found(appraisal) == {"N7": {Finding.REFERENCE_MISMATCH}}
    assert appraisal.verdict is Verdict.INVALID


# 83
def test_an_empty_list_of_measurements_allows_nothing_and_is_an_error() -> None:
    with pytest.raises(MalformedError) as error:
        check(policy(pcr0=()), RULES)
    assert error.value.reason is Reason.POLICY_EMPTY
    with pytest.raises(MalformedError) as error:
        judged(policy=policy(pcr0=()))
    assert error.value.reason is Reason.POLICY_EMPTY


# 84
@pytest.mark.parametrize("index", [0, 1, 2, 3, 4, 8, 16, 31])
def test_every_measurement_is_compared(index: int) -> None:
    pcrs = {each: bytes([each + 1] * 48) for each in range(32)}
    same, other = f"{index + 1:02x}" * 48, f"{index + 1:02x}" * 47 + "ff"
    assert judged(Spec(pcrs=pcrs), policy=policy(**{f"pcr{index}": (other, same)})).verdict is (
        Verdict.VALID
    )
    appraisal = judged(Spec(pcrs=pcrs), policy=policy(**{f"pcr{index}": (other,)}))
    assert found(appraisal) == {"N7": {Finding.REFERENCE_MISMATCH}}
    assert appraisal.verdict is Verdict.INVALID


# 86
def test_a_tagged_document_is_the_same_evidence() -> None:
    minted = mint()
    tagged = changed(minted, b"\xd2" + minted.evidence)
    assert judged(tagged).verdict is Verdict.VALID
    assert examined(tagged).evidence_id == examined(minted).evidence_id


# 87
def test_a_document_whose_map_leaves_its_length_open_is_good() -> None:
    minted = mint(Spec(indefinite=True))
    assert Message.parse(minted.evidence).payload[0] == 0xBF
    assert judged(minted).verdict is Verdict.VALID


@pytest.mark.parametrize(
    "edit",
    [
        row(87, "pcrs", lambda all_: all_.replace(b"dpcrs\xb0", b"dpcrs\xbf", 1)),
        row(87, "no break", lambda all_: b"\xbf" + all_[1:]),
        row(87, "break inside", lambda all_: b"\xbf" + all_[1:] + b"\xff\xff"),
    ],
)
def test_no_other_length_may_be_left_open(edit: Callable[[bytes], bytes]) -> None:
    assert set(refused(Spec(payload=edit))) == {"N2"}


# 85, 87
def test_a_duplicate_key_has_the_same_name_in_the_newer_form() -> None:
    def edit(payload: bytes) -> bytes:
        return payload[:-1] + cbor2.dumps("nonce") + b"\xf6\xff"

    assert refused(Spec(payload=edit, indefinite=True)) == {"N2": {NitroFinding.DUPLICATE_KEY}}


# 89
def test_the_other_signature_that_is_as_good_makes_the_same_evidence() -> None:
    one, other = mint(), mint(Spec(signature=high_s))
    assert one.evidence != other.evidence
    assert judged(other).verdict is Verdict.VALID
    assert examined(one).evidence_id == examined(other).evidence_id


@pytest.mark.parametrize(
    "signature",
    [
        row(89, "r zero", lambda all_: bytes(48) + all_[48:]),
        row(89, "s zero", lambda all_: all_[:48] + bytes(48)),
        row(89, "all ones", lambda _: b"\xff" * 96),
        row(89, "little-endian", lambda all_: all_[47::-1] + all_[:47:-1]),
        row(89, "swapped", lambda all_: all_[48:] + all_[:48]),
    ],
)
def test_a_signature_of_another_kind_does_not_verify(signature: Callable[[bytes], bytes]) -> None:
    assert refused(Spec(signature=signature)) == {"N5": {NitroFinding.BAD_SIGNATURE}}


@pytest.mark.parametrize(
    "data",
    [
        row(90, "arrays", b"\x81" * 10_000),
        row(90, "maps", b"\xa1\x00" * 5_000),
        row(90, "tags", b"\xd2" * 10_000),
        row(90, "open arrays", b"\x9f" * 10_000),
        row(90, "behind a payload", b"\x84\x44" + PROTECTED + b"\xa0" + b"\x81" * 10_000),
        row(91, "bytes", b"\x84\x44" + PROTECTED + b"\xa0\x5a\x80\x00\x00\x00"),
        row(91, "text", b"\x7a\x80\x00\x00\x00"),
        row(91, "array", b"\x9a\x80\x00\x00\x00"),
        row(91, "map", b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff"),
        row(141, "too long", bytes(MAX_DOCUMENT_BYTES + 1)),
        row(140, "empty", b""),
        row(140, "an SNP report", b"\x02" + bytes(1183)),
    ],
)
def test_what_is_no_document_costs_nothing(data: bytes) -> None:
    minted = changed(mint(), data)
    tracemalloc.start()
    began = time.thread_time()
    try:
        appraisal = judged(minted)
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()
    assert time.thread_time() - began < 0.5
    assert set(found(appraisal)) == {"N1"}
    assert appraisal.verdict is Verdict.INVALID
    assert examined(minted).evidence_id is None


# 90, 91
@pytest.mark.parametrize(
    "payload",
    [b"\x81" * 10_000, b"\xa1\x00" * 5_000, b"\x5a\x80\x00\x00\x00", b"\xbf" * 9_000 + b"\xff"],
    ids=["deep", "deep maps", "huge", "open"],
)
def test_a_signed_payload_that_is_no_map_is_refused(payload: bytes) -> None:
    assert refused(Spec(payload=lambda _: payload)) == {"N2": {NitroFinding.NOT_CBOR}}


# 92
def test_a_time_in_seconds_lies_before_any_certificate() -> None:
    appraisal = judged(Spec(fields=setting(timestamp=int(NOON.timestamp()))))
    assert found(appraisal)["N4"] == {NitroFinding.SIGNED_OUTSIDE_CHAIN}
    assert appraisal.verdict is Verdict.INVALID


# 92
def test_a_document_from_the_future_is_not_believed_yet() -> None:
    minted = mint(Spec(levels=(*LEVELS[:4], LEAF)))
    later = mint(Spec(fields=setting(timestamp=int((NOON + HOUR).timestamp() * 1000))))
    assert judged(minted).verdict is Verdict.VALID
    appraisal = judged(later)
    assert found(appraisal) == {"N8": {NitroFinding.SIGNED_LATER}}
    assert appraisal.verdict is Verdict.INDETERMINATE
    far = mint(Spec(fields=setting(timestamp=int((NOON + 4 * HOUR).timestamp() * 1000))))
    assert found(judged(far))["N4"] == {NitroFinding.SIGNED_OUTSIDE_CHAIN}
    assert judged(far).verdict is Verdict.INVALID


# 94, 95, 98
NONCE, KEY = b"\x11" * 32, b"a DER key"
BOUND = Binding(nonce=NONCE, session_key=KEY, model=b"\x22" * 32)
COMMITTED = Spec(user_data=BOUND.report_data(), nonce=NONCE, public_key=KEY)


def bound(spec: Spec, stated: Binding = BOUND, expected: Binding = BOUND) -> Any:
    appraisal = judged(spec, question=Question(stated=stated, expected=expected))
    return (appraisal.verdict, found(appraisal).get("N8", set()))


def test_a_document_that_commits_to_what_it_is_for_is_valid() -> None:
    assert bound(COMMITTED) == (Verdict.VALID, set())


@pytest.mark.parametrize(
    "fields",
    [
        row(94, "nonce null", {"nonce": None}),
        row(94, "nonce empty", {"nonce": b""}),
        row(94, "nonce another", {"nonce": b"\x12" * 32}),
        row(95, "prefix", {"user_data": BOUND.report_data()[:63]}),
        row(95, "longer", {"user_data": BOUND.report_data() + b"\0"}),
        row(95, "hexadecimal", {"user_data": BOUND.report_data().hex().encode()}),
        row(95, "null", {"user_data": None}),
        row(98, "another key", {"public_key": b"another key"}),
        row(98, "no key", {"public_key": None}),
    ],
)
def test_a_document_that_commits_to_something_else_is_refused(fields: dict[str, Any]) -> None:
    spec = Spec(fields=lambda all_: all_ | {"user_data": BOUND.report_data(), "nonce": NONCE,
                                            "public_key": KEY} | fields)  # fmt: skip
    assert bound(spec) == (Verdict.INVALID, {Mismatch.WRONG_COMMITMENT})


# 98
def test_a_good_document_of_another_key_on_the_channel_is_refused() -> None:
    other = Binding(nonce=NONCE, session_key=b"the key of the channel", model=b"\x22" * 32)
    assert bound(COMMITTED, expected=other) == (Verdict.INVALID, {Mismatch.WRONG_SESSION_KEY})


# 96
def test_the_fields_alone_prove_nothing() -> None:
    minted = mint()
    message = Message.parse(minted.evidence)
    edited = message.payload.replace(bytes([1]) * 48, bytes([9]) * 48)
    assert edited != message.payload
    forged = cbor2.dumps([PROTECTED, {}, edited, message.signature])
    assert refused(changed(minted, forged)) == {"N5": {NitroFinding.BAD_SIGNATURE}}


# 134
def test_a_moment_at_which_nothing_can_be_judged_is_refused() -> None:
    minted = mint()
    with pytest.raises(MalformedError) as error:
        examined(minted, NOON.replace(tzinfo=None))
    assert error.value.reason is Reason.BAD_TIME


def test_the_vendors_own_root_does_not_make_ours_good() -> None:
    minted = mint()
    appraisal = judged(Minted(minted.evidence, minted.chain, minted.endorsements, Roots()))
    assert found(appraisal) == {"N3": {Finding.UNTRUSTED_ROOT}}


def test_the_chain_of_a_document_needs_no_more_levels_than_it_has() -> None:
    assert judged(Spec(levels=(ROOT, INSTANCE, LEAF))).verdict is Verdict.VALID
