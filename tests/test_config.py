"""Settings that are written in a form of their own."""

from pathlib import Path

import pytest

from registry.config import TimestampAuthority, VendorSettings, attestation_required
from registry.errors import MalformedError, Reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example/tsr=a.pem", ("https://a.example/tsr", Path("a.pem"), None)),
        ("http://a.example=/x/a.pem,1.2.3", ("http://a.example", Path("/x/a.pem"), "1.2.3")),
        ("https://a.example/?key=v=a.pem", ("https://a.example/?key=v", Path("a.pem"), None)),
    ],
)
def test_a_timestamp_authority_is_read(text: str, expected: tuple[str, Path, str | None]) -> None:
    found = TimestampAuthority.parse(text)
    assert (found.url, found.chain, found.policy) == expected


@pytest.mark.parametrize(
    "text", ["", "a.pem", "https://a.example", "https://a.example=", "ftp://a=b", "https://a=b,"]
)
def test_what_is_no_timestamp_authority_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        TimestampAuthority.parse(text)
    assert caught.value.reason is Reason.BAD_SETTING


def test_vendors_are_asked_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    own = VendorSettings.read()
    assert own == VendorSettings()
    for name, value in (
        ("PROVREG_INTEL_PCS", "https://pccs.example"),
        ("PROVREG_INTEL_ROOT_CRL", "https://pccs.example/root.der"),
        ("PROVREG_AMD_KDS", "https://kds.example"),
        ("PROVREG_NVIDIA_RIM", "https://rim.example"),
        ("PROVREG_NVIDIA_OCSP", "https://ocsp.example"),
        ("PROVREG_NVIDIA_JWKS", "https://nras.example/jwks.json"),
        ("PROVREG_CRL_HOSTS", "a.example, crl-*.example:8443,"),
        ("PROVREG_VENDOR_CA_FILE", "/etc/ca.pem"),
    ):
        monkeypatch.setenv(name, value)
    assert VendorSettings.read() == VendorSettings(
        "https://pccs.example",
        "https://pccs.example/root.der",
        "https://kds.example",
        "https://rim.example",
        "https://ocsp.example",
        "https://nras.example/jwks.json",
        ("a.example", "crl-*.example:8443"),
        Path("/etc/ca.pem"),
    )


@pytest.mark.parametrize(("text", "expected"), [("", False), ("0", False), ("1", True)])
def test_attestation_is_required_if_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: bool
) -> None:
    monkeypatch.setenv("PROVREG_REQUIRE_ATTESTATION", text)
    assert attestation_required() is expected


def test_a_setting_that_says_neither_yes_nor_no_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROVREG_REQUIRE_ATTESTATION", "perhaps")
    with pytest.raises(MalformedError) as caught:
        attestation_required()
    assert caught.value.reason is Reason.BAD_SETTING
