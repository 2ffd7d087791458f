"""TCB statuses: how they merge, and when a trust domain is advised to be launched again."""

from typing import Any

import pytest

from registry.core.evidence.intel.findings import Found
from registry.core.evidence.intel.quote import Body
from registry.core.evidence.intel.tcb import Status, merge
from registry.core.evidence.trust import Tier
from registry.core.verdict import Verdict
from tests.core.evidence.intel.minted import examine, failures, judged
from tools.fake_vendor.intel import Spec, enclave_level, level, mint

UP, SW, CONF, BOTH, OLD, OLD_CONF = (
    Status.UP_TO_DATE,
    Status.SW_HARDENING_NEEDED,
    Status.CONFIGURATION_NEEDED,
    Status.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    Status.OUT_OF_DATE,
    Status.OUT_OF_DATE_CONFIGURATION_NEEDED,
)
GONE = Status.REVOKED
RELAUNCH, RELAUNCH_CONF = (
    Status.TD_RELAUNCH_ADVISED,
    Status.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED,
)


@pytest.mark.parametrize(
    ("platform", "part", "merged"),
    [
        *((status, UP, status) for status in Status),
        *((status, GONE, GONE) for status in Status),
        (GONE, OLD, GONE),
        (UP, OLD, OLD),
        (SW, OLD, OLD),
        (CONF, OLD, OLD_CONF),
        (BOTH, OLD, OLD_CONF),
        (OLD, OLD, OLD),
        (OLD_CONF, OLD, OLD_CONF),
        (RELAUNCH, OLD, RELAUNCH),
        (RELAUNCH_CONF, OLD, RELAUNCH_CONF),
    ],
)
def test_a_part_can_only_make_the_whole_worse(
    platform: Status, part: Status, merged: Status
) -> None:
    assert merge(platform, part) is merged


def status(**defects: Any) -> object:
    return examine(mint(Spec(**{"version": 5, **defects}))).claims.get("tcb_status")


def launched(then: tuple[int, int, int], now: tuple[int, int, int]) -> dict[str, bytes]:
    """The module at launch and the one that runs now."""
    return {"tee_tcb_svn": bytes(then), "tee_tcb_svn_2": bytes(now)}


def levels(newest: str = "UpToDate", oldest: str = "OutOfDate") -> Any:
    """A new level, and one that anything reaches."""

    def edit(info: dict[str, Any]) -> dict[str, Any]:
        high = level((3, 3, 2, 2, 3, 1, 0, 5), newest, tdx=(5, 0, 4))
        return {**info, "tcbLevels": [high, level((0,), oldest, tdx=(0,))]}

    return edit


OLD_MODULE = (3, 1, 4)
CURRENT = (6, 1, 4)


@pytest.mark.parametrize(
    ("defects", "expected"),
    [
        ({"fields": launched(CURRENT, CURRENT)}, UP),
        ({"fields": launched(OLD_MODULE, CURRENT)}, RELAUNCH),
        ({"fields": launched(OLD_MODULE, (3, 3, 4))}, RELAUNCH),
        ({"fields": launched(OLD_MODULE, (5, 0, 4))}, RELAUNCH),
        ({"fields": launched(OLD_MODULE, (4, 0, 4))}, OLD),
        ({"fields": launched(OLD_MODULE, (5, 0, 3))}, OLD),
        ({"fields": launched(OLD_MODULE, (5, 1, 4))}, OLD),
        ({"fields": launched(OLD_MODULE, (2, 3, 4))}, OLD),
        ({"fields": launched(OLD_MODULE, (6, 1, 3))}, OLD),
        ({"fields": launched(OLD_MODULE, OLD_MODULE)}, OLD),
        ({"fields": launched((3, 1, 3), CURRENT)}, RELAUNCH),
        ({"fields": launched(OLD_MODULE, CURRENT), "qe": {"isv_svn": b"\x06\x00"}}, OLD),
        ({"fields": launched(OLD_MODULE, CURRENT), "body": Body.TD_1_0}, OLD),
        ({"fields": launched(OLD_MODULE, CURRENT), "version": 4}, OLD),
        (
            {"fields": launched(OLD_MODULE, CURRENT), "tcb_info": levels("ConfigurationNeeded")},
            RELAUNCH_CONF,
        ),
        (
            {"fields": launched(OLD_MODULE, CURRENT), "tcb_info": levels("SWHardeningNeeded")},
            RELAUNCH,
        ),
        (
            {
                "fields": launched((3, 1, 3), CURRENT),
                "tcb_info": levels(oldest="OutOfDateConfigurationNeeded"),
            },
            RELAUNCH_CONF,
        ),
        ({"fields": launched(OLD_MODULE, CURRENT), "tcb_info": levels("OutOfDate")}, OLD),
        ({"fields": launched(OLD_MODULE, CURRENT), "tcb_info": levels("Revoked")}, GONE),
        # The platform itself is old: a launch would not help.
        (
            {
                "fields": launched(OLD_MODULE, CURRENT),
                "components": (2,) * 16,
                "tcb_info": levels(),
            },
            OLD,
        ),
    ],
)
def test_relaunch_is_advised_where_only_the_module_was_old(
    defects: dict[str, Any], expected: Status
) -> None:
    given = {"tcb_info": levels(), **defects}
    assert status(**given) == expected


def test_an_advised_relaunch_is_a_warning() -> None:
    fields = launched(OLD_MODULE, CURRENT)
    appraisal = judged(mint(Spec(version=5, fields=fields)))
    assert failures(appraisal.examination) == {("I16", Found.TD_RELAUNCH_ADVISED)}
    assert (appraisal.verdict, appraisal.tier) == (Verdict.VALID, Tier.WARNING)
    assert appraisal.examination.claims["advisory_ids"] == ("INTEL-SA-00002",)


def test_a_module_of_now_that_nothing_is_known_of_is_refused() -> None:
    minted = mint(Spec(version=5, fields=launched(OLD_MODULE, (6, 9, 4))))
    assert failures(examine(minted)) == {("I16", Found.MODULE_MISSING)}
    assert judged(minted).verdict is Verdict.INVALID


def test_a_module_of_now_without_levels_advises_nothing() -> None:
    def empty(info: dict[str, Any]) -> dict[str, Any]:
        first, second = info["tdxModuleIdentities"]
        return {**info, "tdxModuleIdentities": [first, {**second, "tcbLevels": []}]}

    assert status(fields=launched(OLD_MODULE, (3, 3, 4)), tcb_info=empty) == OLD


def test_a_revoked_module_revokes_the_whole() -> None:
    def revoke(info: dict[str, Any]) -> dict[str, Any]:
        first, *rest = info["tdxModuleIdentities"]
        first = {**first, "tcbLevels": [enclave_level(0, "Revoked")]}
        return {**info, "tdxModuleIdentities": [first, *rest]}

    minted = mint(Spec(tcb_info=revoke))
    assert failures(examine(minted)) == {("I16", Found.TCB_REVOKED)}
    assert judged(minted).verdict is Verdict.INVALID
    assert judged(minted).trust["hardware"] == 96


def test_levels_of_modules_and_enclaves_are_sorted_too() -> None:
    def shuffle(info: dict[str, Any]) -> dict[str, Any]:
        first, *rest = info["tdxModuleIdentities"]
        first = {**first, "tcbLevels": first["tcbLevels"][::-1]}
        return {**info, "tdxModuleIdentities": [first, *rest]}

    def turn(identity: dict[str, Any]) -> dict[str, Any]:
        return {**identity, "tcbLevels": identity["tcbLevels"][::-1]}

    assert status(tcb_info=shuffle, qe_identity=turn) == UP
