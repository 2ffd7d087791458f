"""SCTs: exactly one promise by a CT log that was trusted when it made it."""

from datetime import timedelta

import pytest

from registry.core.certificates.chain import Window
from registry.core.certificates.sct import CTKey, verify_sct
from registry.errors import Reason, VerificationError
from tests.private_certificates import CA, CTLog, Leaf, p256

ROOT = CA.root()
LOG = CTLog()
CERTIFICATE = LOG.certify(ROOT, Leaf())


def refused(der: bytes, *keys: CTKey, issuer: bytes = ROOT.der) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_sct(der, issuer, keys)
    assert caught.value.reason is Reason.SCT
    return str(caught.value)


def test_a_promise_by_a_trusted_log_is_accepted() -> None:
    verify_sct(CERTIFICATE, ROOT.der, [LOG.trusted()])


def test_a_promise_with_extensions_is_accepted() -> None:
    log = CTLog(extensions=bytes.fromhex("0000050000000007"))
    verify_sct(log.certify(ROOT, Leaf()), ROOT.der, [log.trusted()])


def test_a_certificate_without_a_promise_is_refused() -> None:
    assert "0 embedded" in refused(Leaf().plain(ROOT), LOG.trusted())


def test_a_certificate_with_two_promises_is_refused() -> None:
    assert "2 embedded" in refused(CTLog(count=2).certify(ROOT, Leaf()), LOG.trusted())


def test_a_promise_by_another_log_is_refused() -> None:
    assert "not a trusted one" in refused(CERTIFICATE, CTLog(key=p256(32)).trusted())
    assert "not a trusted one" in refused(CERTIFICATE)


def test_a_promise_outside_the_window_of_the_log_is_refused() -> None:
    made_at, tick = LOG.made_at, timedelta(milliseconds=1)
    verify_sct(CERTIFICATE, ROOT.der, [LOG.trusted(Window(made_at, made_at))])
    for window in (Window(made_at + tick), Window(made_at - tick, made_at - tick)):
        assert "at that time" in refused(CERTIFICATE, LOG.trusted(window))
        verify_sct(CERTIFICATE, ROOT.der, [LOG.trusted(window), LOG.trusted()])


def test_a_promise_about_another_issuer_is_refused() -> None:
    other = CA.root(key=p256(14))
    assert "does not verify" in refused(CERTIFICATE, LOG.trusted(), issuer=other.der)


@pytest.mark.parametrize("part", ["made_at", "extensions"])
def test_everything_in_a_promise_is_signed(part: str) -> None:
    log = CTLog(extensions=b"\x00\x00\x01\x07")
    good = log.certify(ROOT, Leaf())
    old, new = {
        "made_at": (
            (LOG.trusted().log_id + int(log.made_at.timestamp() * 1000).to_bytes(8, "big")),
            (LOG.trusted().log_id + int(log.made_at.timestamp() * 1000 + 1).to_bytes(8, "big")),
        ),
        "extensions": (b"\x00\x04\x00\x00\x01\x07", b"\x00\x04\x00\x00\x01\x08"),
    }[part]
    assert good.count(old) == 1
    assert "does not verify" in refused(good.replace(old, new), log.trusted())
