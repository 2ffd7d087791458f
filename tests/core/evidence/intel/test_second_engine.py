"""dcap-qvl beside ours: equal on all real quotes but for the named differences; else disputed."""

import sys
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.evidence.appraisal import Question
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Role
from registry.core.evidence.intel import second_engine
from registry.core.evidence.intel.quote import Body
from registry.core.evidence.intel.rules import RULES
from registry.core.evidence.intel.second_engine import (
    Comparison,
    Difference,
    Opinion,
    ask,
    compare,
    second_opinion,
)
from registry.core.evidence.policy import NamedRoot, Policy
from registry.core.evidence.result import Material, Verifier
from registry.core.evidence.roots import Roots, Vendor
from registry.core.evidence.trust import Tier
from registry.core.verdict import Verdict
from registry.errors import Reason, UnsupportedError
from registry.inspection.appraisal_exchange import Task
from tests.core.evidence.intel.minted import POLICY, examine, swapped
from tests.core.evidence.intel.sets import SETS, load, needs_sets
from tools.fake_vendor.intel import NOON, Minted, Revoked, Spec, enclave_level, level, mint

pytest.importorskip("dcap_qvl", reason="the second engine is not installed (extra dcap)")

DAY = timedelta(days=1)
DIFFERENT = {
    "alibaba_quote_5": Difference.SERVICE_TD,
    "automata-quote_sgx": Difference.DEBUG,
    "azure-td-quote": Difference.SEPT_VE_ENABLED,
    "trustee-tdx_quote_4": Difference.DEBUG,
}
"""Real quotes that the second engine refuses by a rule of its own."""


def compared(minted: Minted) -> Comparison:
    examination = examine(minted)
    return compare(examination, ask(minted.evidence, minted.endorsements, examination))


@needs_sets
@pytest.mark.parametrize("name", SETS)
def test_both_engines_say_the_same_of_a_real_quote(name: str) -> None:
    case = load(name)
    for at in (case.at, case.start, case.start - DAY, case.end + DAY):
        examination = case.examine(at)
        comparison = compare(examination, ask(case.quote, case.endorsements, examination))
        assert comparison.opinion is not None
        assert comparison.dispute == ""
        if at is case.at:
            wanted = DIFFERENT.get(name.partition("@")[0])
            assert comparison.differences == (() if wanted is None else (wanted,))
            if wanted is None:
                assert comparison.opinion.status == (case.expected["tcb_status"] or "")


@needs_sets
def test_both_engines_notice_a_flipped_bit_of_a_real_quote() -> None:
    case = load("phala-tdx_quote@2025-07-04")
    for place in range(0, 1400, 37):
        quote = bytearray(case.quote)
        quote[place] ^= 1
        examination = RULES.examine(bytes(quote), case.endorsements, case.at, Roots())
        opinion = ask(bytes(quote), case.endorsements, examination)
        assert compare(examination, opinion).dispute == ""


OLD: dict[str, Any] = {"components": (2, 2, 2, 2, 3, 1, 0, 5, *(0,) * 8), "pce_svn": 11}
AGREED: dict[str, dict[str, Any]] = {
    "SGX v3": {"version": 3},
    "TDX v4": {},
    "TDX v5": {"version": 5},
    "TDX 1.0 in v5": {"version": 5, "body": Body.TD_1_0},
    "out of date": OLD,
    "no level": {"pce_svn": 1},
    "old QE": {"qe": {"isv_svn": b"\x06\x00"}},
    "unknown QE": {"qe": {"isv_svn": b"\x00\x00"}},
    "other QE": {"qe": {"mr_signer": bytes(32)}},
    "other FMSPC": {"fmspc": "00806f050000"},
    "other vendor": {"header": lambda h: h[:12] + bytes(16) + h[28:]},
    "bad signature": {"signature": lambda s: s[:-1] + bytes([s[-1] ^ 1])},
    "old module": {"fields": {"tee_tcb_svn": bytes((3, 1, 4))}},
    "no module": {"fields": {"tee_tcb_svn": bytes((3, 9, 4))}},
    "module signer": {"fields": {"mr_signer_seam": b"\x01"}},
    "relaunch": {"version": 5, "fields": {"tee_tcb_svn": bytes((3, 1, 4))}},
    "revoked": {"revoked": [Revoked("pck", NOON - DAY)]},
    "revoked authority": {"revoked": [Revoked("ca", NOON - DAY)]},
    "TCB info of the future": {"windows": {"tcb_info": (NOON + DAY, NOON + 9 * DAY)}},
    "old TCB info": {"windows": {"tcb_info": (NOON - 9 * DAY, NOON - DAY)}},
    "old CRL": {"windows": {"pck_crl": (NOON - 9 * DAY, NOON)}},
    "padding": {"tail": bytes(70)},
}


@pytest.mark.parametrize("name", AGREED)
def test_both_engines_agree_on_minted_quotes(name: str) -> None:
    comparison = compared(mint(Spec(**AGREED[name])))
    assert comparison.opinion is not None
    assert (comparison.dispute, comparison.differences) == ("", ())


STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
_svn = st.integers(0, 3)
_levels = st.lists(
    st.builds(
        lambda sgx, tdx, pce, status, number: level(
            sgx, status, tdx=tdx, pce_svn=pce, advisories=[f"INTEL-SA-{number:05}"]
        ),
        st.tuples(_svn, _svn),
        st.tuples(_svn, _svn, _svn),
        _svn,
        st.sampled_from(STATUSES),
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=5,
)
_parts = st.lists(
    st.builds(
        lambda svn, status, number: enclave_level(svn, status, [f"INTEL-SA-{number:05}"]),
        _svn,
        st.sampled_from(("UpToDate", "OutOfDate", "Revoked")),
        st.integers(10, 19),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda item: item["tcb"]["isvsvn"],
    # The second engine takes the first that fits, in the order in which Intel lists them.
).map(lambda many: sorted(many, key=lambda item: item["tcb"]["isvsvn"], reverse=True))
_running = st.tuples(_svn, st.integers(0, 2), _svn)


@given(
    version=st.sampled_from([3, 4, 5, 5]),
    platform=st.tuples(st.tuples(_svn, _svn), _svn),
    running=st.tuples(_running, _running),
    known=st.tuples(_levels, _parts, _parts, _parts),
    qe_svn=_svn,
)
@settings(max_examples=200, deadline=None)
def test_both_engines_come_to_the_same_status_whatever_the_tcb(
    version: int, platform: Any, running: Any, known: Any, qe_svn: int
) -> None:
    many, first, second, enclaves = known

    def info(said: dict[str, Any]) -> dict[str, Any]:
        if version == 3:
            for item in many:
                item["tcb"].pop("tdxtcbcomponents", None)
            return {**said, "tcbLevels": many}
        one, two = said["tdxModuleIdentities"]
        modules = [{**one, "tcbLevels": first}, {**two, "id": "TDX_02", "tcbLevels": second}]
        return {**said, "tcbLevels": many, "tdxModuleIdentities": modules}

    fields = {"tee_tcb_svn": bytes(running[0]), "tee_tcb_svn_2": bytes(running[1])}
    minted = mint(
        Spec(
            version=version,
            components=(*platform[0], *(0,) * 14),
            pce_svn=platform[1],
            fields={} if version == 3 else fields,
            qe={"isv_svn": bytes((qe_svn, 0))},
            tcb_info=info,
            qe_identity=lambda said: {**said, "tcbLevels": enclaves},
        )
    )
    comparison = compared(minted)
    if version == 5 and comparison.opinion and "Revoked" in comparison.opinion.refusal:
        # It also refuses a domain whose module of now is revoked though it was launched by another.
        return
    assert comparison.dispute == ""
    allowed = {Difference.TCB_REVOKED}
    if version == 5:
        allowed |= {Difference.RELAUNCH_RULE, Difference.RUNNING_TCB}
    assert set(comparison.differences) <= allowed


KNOWN: dict[Difference, dict[str, Any]] = {
    Difference.PCE_ID: {"pce_id": "0001"},
    Difference.PCK_NAME: {"pck_name": "Other"},
    Difference.QE_REPORT_PADDING: {"qe_report_data": lambda data: data[:63] + b"\x01"},
    Difference.CRL_OF_THE_FUTURE: {"windows": {"pck_crl": (NOON + DAY, NOON + 9 * DAY)}},
    Difference.REVOKED_LATER: {"revoked": [Revoked("pck", NOON + DAY)]},
    Difference.AUTH_DATA_SIZE: {"auth_data": bytes(33)},
    Difference.ENCLAVE_IN_VERSION_5: {"version": 5, "body": Body.ENCLAVE},
    Difference.DEBUG: {"fields": {"td_attributes": b"\x01\x00\x00\x10"}},
    Difference.TD_UNDER_DEBUG: {"fields": {"td_attributes": b"\x02\x00\x00\x10"}},
    Difference.SEPT_VE_ENABLED: {"fields": {"td_attributes": bytes(4)}},
    Difference.SERVICE_TD: {"version": 5, "fields": {"mr_service_td": b"\x01"}},
    Difference.RELAUNCH_RULE: {
        "version": 5,
        "fields": {"tee_tcb_svn": bytes((6, 1, 1)), "tee_tcb_svn_2": bytes((6, 1, 4))},
        "tcb_info": lambda said: {
            **said,
            "tcbLevels": [
                level((0,), "UpToDate", tdx=(0, 0, 2)),
                level((0,), "OutOfDate", tdx=(0,)),
            ],
        },
    },
    Difference.RUNNING_TCB: {"version": 5, "fields": {"tee_tcb_svn_2": bytes(16)}},
    Difference.TCB_REVOKED: {
        "tcb_info": lambda said: {**said, "tcbLevels": [level((0,), "Revoked", tdx=(0,))]}
    },
}


@pytest.mark.parametrize("difference", Difference)
def test_each_known_difference_is_named(difference: Difference) -> None:
    comparison = compared(mint(Spec(**KNOWN[difference])))
    assert comparison.dispute == ""
    assert comparison.differences == (difference,)


def test_a_known_difference_excuses_nothing_else() -> None:
    examination = examine(mint(Spec(**KNOWN[Difference.DEBUG])))
    for refusal in ("", "TDX module MRSIGNER mismatch", "SEPT_VE_DISABLE is not enabled"):
        assert compare(examination, Opinion("engine", refusal=refusal)).dispute
    two = examine(mint(Spec(pce_id="0001", signature=lambda data: data[:63] + bytes(1))))
    assert compare(two, Opinion("engine", "UpToDate")).dispute


DISPUTED: dict[str, Any] = {
    # The second engine reads every level, we read those that count.
    "tcb_info": lambda said: {
        **said,
        "tcbLevels": [*said["tcbLevels"], level((0,), "Strange", tdx=(0,))],
    }
}


# 150
def test_a_disagreement_is_stated_and_decides_nothing() -> None:
    minted = mint(Spec(**DISPUTED))
    comparison = compared(minted)
    assert comparison.opinion is not None
    assert comparison.opinion.refusal
    assert "dcap-qvl 0.7" in comparison.dispute
    assert "we say UpToDate" in comparison.dispute
    named = NamedRoot(vendor=Vendor.INTEL_SGX, sha256=next(iter(minted.roots.named))[1])
    policy = Policy(name="disputed", family=RULES.family, skip=POLICY.skip, roots=(named,))
    for defects, wanted in (({}, Verdict.VALID), (DISPUTED, Verdict.INDETERMINATE)):
        made = mint(Spec(**defects))
        task = Task(
            Family.INTEL_DCAP,
            Material(made.evidence, made.endorsements, policy),
            Question(),
            NOON,
            Verifier(build="test", developer="test"),
        )
        said = task.carry_out().submods[Family.INTEL_DCAP]
        assert said.verdict is wanted
        assert bool(said.disputed) is (wanted is Verdict.INDETERMINATE)
        if said.disputed:
            assert said.status is Tier.NONE


def test_another_status_or_advisory_is_a_disagreement() -> None:
    examination = examine(mint(Spec(**OLD)))
    assert compare(examination, Opinion("engine", "OutOfDate", ("INTEL-SA-00001",))).dispute == ""
    for status, advisories in (
        ("UpToDate", ("INTEL-SA-00001",)),
        ("OutOfDate", ()),
        ("OutOfDate", ("INTEL-SA-00001", "INTEL-SA-00002")),
    ):
        assert compare(examination, Opinion("engine", status, advisories)).dispute
    unknown = examine(mint(Spec(pce_svn=1)))
    assert compare(unknown, Opinion("engine", "UpToDate")).dispute


@pytest.mark.parametrize("role", Role)
def test_an_engine_that_lacks_something_is_not_asked(role: Role) -> None:
    minted = mint(Spec())
    if role not in minted.roles:
        return
    without = swapped(minted, **{role.name: b""})
    opinion = ask(without.evidence, without.endorsements, examine(without))
    # The chain of the PCK CRL is in the quote, too.
    assert (opinion is None) is (role is not Role.INTEL_PCK_CRL_CHAIN)
    assert compare(examine(without), None) == Comparison(None)
    assert second_opinion(b"", without.endorsements, examine(without)) == ""


def test_without_the_extra_there_is_no_second_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    minted = mint(Spec(**DISPUTED))
    examination = examine(minted)
    monkeypatch.setitem(sys.modules, "dcap_qvl", None)
    with pytest.raises(UnsupportedError) as caught:
        ask(minted.evidence, minted.endorsements, examination)
    assert caught.value.reason is Reason.MISSING_EXTRA
    assert second_opinion(minted.evidence, minted.endorsements, examination) == ""


def test_a_version_that_nobody_compared_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    minted = mint(Spec(**DISPUTED))
    examination = examine(minted)
    assert second_opinion(minted.evidence, minted.endorsements, examination)
    monkeypatch.setattr(second_engine, "VERSIONS", ("0.9.",))
    with pytest.raises(UnsupportedError) as caught:
        ask(minted.evidence, minted.endorsements, examination)
    assert caught.value.reason is Reason.MISSING_EXTRA
    assert second_opinion(minted.evidence, minted.endorsements, examination) == ""
