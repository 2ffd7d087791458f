"""From evidence to what the vendors say of it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from registry.core.evidence.checks import CheckError
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nitro.rules import RULES as NITRO
from registry.errors import Reason, UnavailableError
from registry.remote.endorser import VendorEndorser, gather
from registry.remote.vendor_cache import Items
from tools.fake_vendor.nitro import NOON, Spec, mint
from tools.fake_vendor.services import Services

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def services() -> Iterator[Services]:
    with Services() as running:
        yield running


def test_a_nitro_document_gets_all_its_lists_and_passes(services: Services) -> None:
    minted = mint(Spec(crl_base=services.crl_base))
    services.add_nitro(minted, NOON)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    fetched = Endorsements.of(endorser.endorse(Family.AWS_NITRO, minted.evidence, NOON))
    assert len(fetched.all(Role.NITRO_CRL)) == 2
    examination = NITRO.examine(minted.evidence, fetched, NOON, minted.roots)
    assert {item.outcome for item in examination.checks if item.check == "N9"} == {"pass"}


def test_a_document_that_leads_elsewhere_gets_nothing_and_asks_nobody(services: Services) -> None:
    minted = mint(Spec(crl_base="http://169.254.169.254"))
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    with pytest.raises(Exception, match="FOREIGN_ADDRESS"):
        endorser.endorse(Family.AWS_NITRO, minted.evidence, NOON)
    assert services.asked == []


def test_one_list_that_is_not_to_be_had_is_a_gap(services: Services) -> None:
    minted = mint(Spec(crl_base=services.crl_base))
    first, _ = services.add_nitro(minted, NOON)
    services.edit(first, status=500)
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    assert len(list(endorser.endorse(Family.AWS_NITRO, minted.evidence, NOON))) == 1


def test_what_cannot_be_read_asks_nobody(services: Services) -> None:
    endorser = VendorEndorser.open(services.settings(), lambda: NOON)
    for family in (Family.AWS_NITRO, Family.AMD_SNP):
        with pytest.raises(CheckError):
            endorser.endorse(family, b"no evidence", NOON)
    assert services.asked == []


def test_when_time_is_up_what_was_answered_is_kept() -> None:
    def answered() -> Items:
        return ((Role.AMD_CRL, b"a"),)

    assert gather([answered, answered], seconds=60) == answered()
    with pytest.raises(UnavailableError) as caught:
        gather([answered], seconds=-1)
    assert caught.value.reason is Reason.DEADLINE


def test_nothing_to_ask_is_nothing_missing() -> None:
    assert gather([]) == ()
