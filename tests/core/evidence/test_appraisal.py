"""Tests of registry.core.evidence.appraisal, policy, trust and distrust, on a family of its own."""

from dataclasses import replace

import msgspec
import pytest

from registry.core import encoding
from registry.core.evidence import distrust
from registry.core.evidence.appraisal import Appraisal, Question, appraise, policy_digest
from registry.core.evidence.binding import Binding
from registry.core.evidence.checks import Finding
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.policy import Policy, check
from registry.core.evidence.trust import Tier, tier_of, worst
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tests.core.evidence.toy import MODEL, NOON, POLICY, RULES, examine


def judged(words: str = "", policy: Policy = POLICY, question: Question | None = None) -> Appraisal:
    examination = examine(words.encode(), Endorsements(), NOON, policy.trusted_roots())
    return appraise(examination, policy, RULES, question)


def findings(appraisal: Appraisal) -> list[str]:
    return [item.finding for item in appraisal.findings()]


@pytest.mark.parametrize(
    ("words", "verdict", "tier"),
    [
        ("", Verdict.VALID, Tier.AFFIRMING),
        ("old", Verdict.VALID, Tier.WARNING),
        ("debug", Verdict.INVALID, Tier.CONTRAINDICATED),
        ("forged", Verdict.INVALID, Tier.CONTRAINDICATED),
        ("late", Verdict.INDETERMINATE, Tier.NONE),
        ("bare", Verdict.INDETERMINATE, Tier.NONE),
        ("late debug", Verdict.INDETERMINATE, Tier.NONE),
        ("late forged", Verdict.INVALID, Tier.CONTRAINDICATED),
        ("unseen", Verdict.INDETERMINATE, Tier.NONE),
        ("unseen old", Verdict.INDETERMINATE, Tier.NONE),
        ("unseen debug", Verdict.INVALID, Tier.CONTRAINDICATED),
    ],
)
def test_the_verdict_follows_the_gravest_finding(words: str, verdict: str, tier: str) -> None:
    appraisal = judged(words)
    assert (appraisal.verdict, appraisal.tier) == (verdict, tier)


def test_broken_cryptography_is_kept_apart_from_what_a_policy_refuses() -> None:
    assert set(judged("forged").trust.values()) == {99}
    assert judged("debug").trust["configuration"] == 96
    assert judged("debug").trust["hardware"] == 2


def test_a_policy_says_what_a_finding_weighs() -> None:
    strict = Policy(
        name="s", family=Family.AMD_SNP, skip=("measurement",), treatments={"OLD": "fatal"}
    )
    assert judged("old", strict).verdict is Verdict.INVALID
    lenient = Policy(
        name="l", family=Family.AMD_SNP, skip=("measurement",), treatments={"OLD": "accept"}
    )
    assert judged("old", lenient).tier is Tier.AFFIRMING
    assert findings(judged("old", lenient)) == ["OLD"]


def test_a_policy_that_only_warns_of_the_gravest_finding_does_not_contraindicate() -> None:
    lenient = Policy(
        name="w", family=Family.AMD_SNP, skip=("measurement",), treatments={"DEBUG": "warning"}
    )
    appraisal = judged("debug", lenient)
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)
    assert appraisal.trust == {"hardware": 2, "configuration": 36, "runtime-opaque": 32}


def test_a_check_that_lacks_an_endorsement_can_be_required_or_skipped_by_name() -> None:
    assert judged("uncrl").verdict is Verdict.VALID
    wanted = Policy(name="r", family=Family.AMD_SNP, skip=("measurement",), require=("X4",))
    assert judged("uncrl", wanted).verdict is Verdict.INDETERMINATE
    skipping = Policy(name="s", family=Family.AMD_SNP, skip=("measurement", "X2"))
    assert judged("bare", skipping).verdict is Verdict.VALID
    assert judged("late", skipping).verdict is Verdict.INDETERMINATE


def test_a_reference_value_is_compared_and_another_is_refused() -> None:
    same = Policy(name="r", family=Family.AMD_SNP, reference_values={"measurement": ("aa",)})
    assert judged("", same).trust["executables"] == 2
    other = Policy(name="r", family=Family.AMD_SNP, reference_values={"measurement": ("bb",)})
    assert judged("", other).verdict is Verdict.INVALID
    assert findings(judged("", other)) == [Finding.REFERENCE_MISMATCH]
    [failed] = judged("", other).findings()
    assert failed.detail == "measurement is aa, not bb"
    values = ("bb", "cc", "dd", "ee", "ff")
    many = Policy(name="r", family=Family.AMD_SNP, reference_values={"measurement": values})
    [failed] = judged("", many).findings()
    assert failed.detail == "measurement is aa, not bb or cc or dd or one of 2 more"


def test_a_minimum_is_a_floor() -> None:
    at = Policy(name="m", family=Family.AMD_SNP, skip=("measurement",), minimum={"svn": 7})
    assert judged("", at).verdict is Verdict.VALID
    above = Policy(name="m", family=Family.AMD_SNP, skip=("measurement",), minimum={"svn": 8})
    assert findings(judged("", above)) == [Finding.BELOW_MINIMUM]
    assert judged("", above).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Policy(name="p", family=Family.AMD_SNP), Reason.POLICY_UNSET),
        (
            Policy(name="p", family=Family.AMD_SNP, reference_values={"measurement": ()}),
            Reason.POLICY_EMPTY,
        ),
        (
            Policy(name="p", family=Family.AMD_SNP, skip=("measurement", "typo")),
            Reason.MALFORMED_POLICY,
        ),
        (
            Policy(name="p", family=Family.AMD_SNP, skip=("measurement", "X1")),
            Reason.MALFORMED_POLICY,
        ),
        (
            Policy(name="p", family=Family.AMD_SNP, skip=("measurement", "X4"), require=("X4",)),
            Reason.MALFORMED_POLICY,
        ),
        (
            Policy(
                name="p", family=Family.AMD_SNP, skip=("measurement",), treatments={"X": "fatal"}
            ),
            Reason.MALFORMED_POLICY,
        ),
        (
            Policy(
                name="p",
                family=Family.AMD_SNP,
                skip=("measurement",),
                reference_values={"measurement": ("aa",)},
            ),
            Reason.MALFORMED_POLICY,
        ),
    ],
    ids=[
        "unset",
        "empty",
        "unknown skip",
        "skips what verifies",
        "requires and skips",
        "unknown finding",
        "both",
    ],
)
def test_a_policy_that_does_not_say_what_it_wants_is_an_error(
    policy: Policy, reason: Reason
) -> None:
    with pytest.raises(MalformedError) as caught:
        check(policy, RULES)
    assert caught.value.reason is reason


def test_a_policy_for_another_family_judges_nothing() -> None:
    with pytest.raises(MalformedError):
        judged("", Policy(name="p", family=Family.AWS_NITRO, skip=("measurement",)))


def test_evidence_for_another_model_is_refused_by_name() -> None:
    question = Question(stated=Binding(model=MODEL), expected=Binding(model=MODEL))
    assert judged("", question=question).verdict is Verdict.VALID
    other = replace(question, expected=Binding(model=b"\x0b" * 32))
    assert findings(judged("", question=other)) == ["WRONG_MODEL"]
    lying = replace(other, stated=Binding(model=b"\x0b" * 32))
    assert findings(judged("", question=lying)) == ["WRONG_COMMITMENT"]
    assert judged("", question=lying).verdict is Verdict.INVALID


def entry(**members: object) -> distrust.Entry:
    selector = distrust.Selector(family=Family.AMD_SNP, claims={"line": "Milan"})
    told: dict[str, object] = {"selector": selector, "effective_from": "2026-06-01T12:00:01Z"}
    return distrust.Entry(reason="its keys leaked", **(told | members))  # type: ignore[arg-type]


def test_distrust_applies_from_its_date_or_always_or_now() -> None:
    def with_(item: distrust.Entry, *, now: bool = False) -> Verdict:
        return judged("", question=Question(now=now, distrusted=[item])).verdict

    assert with_(entry()) is Verdict.VALID
    assert with_(entry(), now=True) is Verdict.INVALID
    assert with_(entry(effective_from="2026-06-01T12:00:00Z")) is Verdict.INVALID
    assert with_(entry(retroactive=True)) is Verdict.INVALID
    assert findings(judged("", question=Question(distrusted=[entry(retroactive=True)]))) == [
        "DISTRUSTED"
    ]


def test_an_entry_selects_only_what_it_says() -> None:
    def now(selector: distrust.Selector) -> Verdict:
        asked = Question(now=True, distrusted=[entry(selector=selector)])
        return judged("", question=asked).verdict

    family = Family.AMD_SNP
    assert now(distrust.Selector(family=family, claims={"line": "Genoa"})) is Verdict.VALID
    assert now(distrust.Selector(family=family, claims={"no": "Milan"})) is Verdict.VALID
    assert now(distrust.Selector(family=family, below={"svn": 8})) is Verdict.INVALID
    assert now(distrust.Selector(family=family, below={"svn": 7})) is Verdict.VALID
    both = distrust.Selector(family=family, claims={"line": "Milan"}, below={"svn": 7})
    assert now(both) is Verdict.VALID
    other = distrust.Selector(family=Family.AWS_NITRO, claims={"line": "Milan"})
    assert now(other) is Verdict.VALID
    assert now(distrust.Selector(family=family, verifiers=("x 1",))) is Verdict.VALID
    with pytest.raises(MalformedError):
        distrust.check(entry(selector=distrust.Selector(family=family)))


def test_a_policy_and_an_entry_have_one_spelling() -> None:
    for value, kind in ((POLICY, Policy), (entry(), distrust.Entry)):
        assert encoding.read_json(encoding.write_json(value), kind) == value
    renamed = Policy(name="other", family=Family.AMD_SNP, skip=("measurement",))
    assert policy_digest(renamed) != policy_digest(POLICY)


def test_a_policy_says_how_long_answers_about_revocation_count() -> None:
    assert POLICY.trusted_roots().answer_days is None
    assert msgspec.structs.replace(POLICY, endorsement_days=90).trusted_roots().answer_days == 90


@pytest.mark.parametrize(
    ("value", "tier"),
    [
        (0, Tier.NONE),
        (1, Tier.NONE),
        (-1, Tier.NONE),
        (2, Tier.AFFIRMING),
        (31, Tier.AFFIRMING),
        (-2, Tier.AFFIRMING),
        (-32, Tier.AFFIRMING),
        (32, Tier.WARNING),
        (95, Tier.WARNING),
        (-33, Tier.WARNING),
        (-96, Tier.WARNING),
        (96, Tier.CONTRAINDICATED),
        (127, Tier.CONTRAINDICATED),
        (-97, Tier.CONTRAINDICATED),
        (-128, Tier.CONTRAINDICATED),
    ],
)
def test_tiers_are_those_of_ar4si(value: int, tier: Tier) -> None:
    assert tier_of(value) is tier


def test_the_worst_claim_decides() -> None:
    assert worst([]) is Tier.NONE
    assert worst([2, 32, 3]) is Tier.WARNING
