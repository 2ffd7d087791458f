"""TDX and SNP through a folder that is served as Linux serves it."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Role
from registry.errors import Reason, UnavailableError, UnsupportedError
from registry.shim.attester import configfs_tsm
from registry.shim.attester.certificate_table import (
    ARK,
    ASK,
    CRL,
    MAX_ENTRIES,
    VCEK,
    VLEK,
    endorsements,
    entries,
)
from registry.shim.attester.configfs_tsm import TRIES, ConfigfsTSM
from tools.fake_vendor import pki
from tools.fake_vendor.configfs import TSMFolder

DATA = bytes(range(64))
ROOT = pki.issue(pki.name("ARK"), pki.p384("table root"), None)
MIDDLE = pki.issue(pki.name("ASK"), pki.p384("table middle"), ROOT)


def table(*rows: tuple[object, bytes]) -> bytes:
    """A certificate table as a host writes it."""
    offset = (len(rows) + 1) * 24
    head, body = b"", b""
    for name, data in rows:
        head += name.bytes + struct.pack("<II", offset + len(body), len(data))  # type: ignore[attr-defined]  # a UUID
        body += data
    return head + bytes(24) + body


TABLE = table((VCEK, b"vcek"), (ASK, MIDDLE.der), (ARK, ROOT.der), (CRL, b"crl"))


@pytest.fixture
def snp(tmp_path: Path) -> Iterator[TSMFolder]:
    with TSMFolder(tmp_path / "report", lambda data: b"signed " + data, auxblob=TABLE) as folder:
        yield folder


def asking(folder: TSMFolder, **more: object) -> ConfigfsTSM:
    return ConfigfsTSM(folder.path, make=folder.make, remove=folder.remove, **more)  # type: ignore[arg-type]  # by name


def ask(attester: ConfigfsTSM) -> object:
    return attester.evidence(DATA, b"nonce", b"key")


def test_an_snp_report_comes_with_the_hosts_certificates(snp: TSMFolder) -> None:
    collected = asking(snp).evidence(DATA, b"nonce", b"key")
    assert (collected.family, collected.evidence) == (Family.AMD_SNP, b"signed " + DATA)
    assert collected.endorsements == (
        (Role.AMD_VEK, b"vcek"),
        (Role.AMD_CHAIN, MIDDLE.pem + ROOT.pem),
        (Role.AMD_CRL, b"crl"),
    )
    assert snp.seen == [DATA]


def test_a_td_quote_comes_with_the_event_log(tmp_path: Path) -> None:
    log = tmp_path / "CCEL"
    log.write_bytes(b"events")
    with TSMFolder(tmp_path / "report", lambda data: data, provider="tdx_guest") as folder:
        collected = asking(folder, event_log=log).evidence(DATA, b"", b"")
        assert (collected.family, collected.evidence) == (Family.INTEL_DCAP, DATA)
        assert collected.endorsements == ((Role.EVENT_LOG, b"events"),)
        without = asking(folder, event_log=tmp_path / "none").evidence(DATA, b"", b"")
        assert without.endorsements == ()


def test_no_report_is_left_behind(snp: TSMFolder) -> None:
    ask(asking(snp))
    assert snp.reports == []


def test_a_privilege_level_is_asked_for_and_counted(snp: TSMFolder) -> None:
    ask(asking(snp, privilege=2))
    assert snp.privileges == ["2"]


def test_a_report_that_somebody_else_wrote_to_is_asked_for_again(snp: TSMFolder) -> None:
    snp.foreign_writes = TRIES - 1
    ask(asking(snp))
    assert len(snp.seen) == TRIES
    assert snp.reports == []


def test_a_report_that_is_always_written_to_is_given_up(snp: TSMFolder) -> None:
    snp.foreign_writes = TRIES
    with pytest.raises(UnavailableError) as caught:
        ask(asking(snp))
    assert caught.value.reason is Reason.ATTESTER_FAILED
    assert snp.reports == []


def test_a_device_that_does_not_sign_is_left_in_time(
    snp: TSMFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configfs_tsm, "TIMEOUT_SECONDS", 0.1)
    snp.silent = True
    with pytest.raises(UnavailableError) as caught:
        ask(asking(snp))
    assert caught.value.reason is Reason.ATTESTER_FAILED
    assert snp.reports == []


def test_a_kernel_without_reports_has_no_such_device(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path / "file" / "below"):
        (tmp_path / "file").touch()
        with pytest.raises(UnsupportedError) as caught:
            ask(ConfigfsTSM(folder))
        assert caught.value.reason is Reason.ATTESTER_ABSENT


def test_a_provider_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with (
        TSMFolder(tmp_path / "report", lambda data: data, provider="arm_cca_guest") as folder,
        pytest.raises(UnsupportedError, match="arm_cca_guest"),
    ):
        ask(asking(folder))


def test_more_than_any_device_says_is_refused(tmp_path: Path) -> None:
    with (
        TSMFolder(tmp_path / "report", lambda _: bytes(5 * 1024 * 1024)) as folder,
        pytest.raises(UnavailableError) as caught,
    ):
        ask(asking(folder))
    assert caught.value.reason is Reason.ATTESTER_FAILED


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_a_commitment_of_another_size_is_not_padded(snp: TSMFolder, size: int) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        asking(snp).evidence(bytes(size), b"", b"")
    assert snp.seen == []


def test_a_loaded_key_stands_in_the_table_under_its_own_name() -> None:
    assert endorsements(table((VLEK, b"vlek"))) == ((Role.AMD_VEK, b"vlek"),)


def test_half_a_chain_is_none() -> None:
    assert endorsements(table((ASK, MIDDLE.der))) == ()
    assert endorsements(table((ASK, b"no certificate"), (ARK, ROOT.der))) == ()


def test_a_table_ends_where_it_makes_no_sense() -> None:
    cut = TABLE[: TABLE.index(b"vcek") + 2]
    assert list(entries(cut)) == []
    assert endorsements(b"") == ()
    assert len(list(entries(table(*[(VCEK, b"x")] * 30)))) == MAX_ENTRIES


@given(st.binary(max_size=400))
def test_whatever_a_host_writes_is_read_or_left(data: bytes) -> None:
    endorsements(data)
    endorsements(TABLE[:100] + data)
