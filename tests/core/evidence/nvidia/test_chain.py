"""Tests of registry.core.evidence.nvidia.chain and dice."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core import der
from registry.core.evidence.checks import CheckError, Finding
from registry.core.evidence.nvidia import chain, dice
from registry.core.evidence.nvidia.chain import Architecture, Identity
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.roots import Roots, Vendor
from tests.core.evidence.nvidia.judging import left_open
from tools.fake_vendor import pki
from tools.fake_vendor.nvidia import Spec, mint, roots_of, switch
from tools.fake_vendor.nvidia_certificates import authorities, boot_rom, leaf, pdi
from tools.fake_vendor.nvidia_ocsp import NOON

_KEY = pki.p384("chain test")
_SHA384 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.2")


def links(certificates: list[bytes], roots: Roots | None = None) -> str:
    """What is found of a device's chain; empty if nothing."""
    try:
        chain.check_links(certificates, 5, Vendor.NVIDIA_DEVICE, roots or roots_of())
    except CheckError as error:
        return error.finding
    return ""


def built(place: int, **changed: object) -> list[bytes]:
    """A chain whose certificate at a place, leaf first, is issued otherwise."""
    top, family, provisioner = authorities("nvidia", "GH100")
    holders = [leaf("nvidia", "HOPPER", 1), boot_rom("nvidia", "HOPPER", 1), provisioner, family]
    usual: Mapping[str, object] = {"ca": place > 0, **changed}
    issuers = [*holders[1:], top]
    key = usual.get("key", holders[place].key)
    extra = {name: value for name, value in usual.items() if name not in ("key", "subject")}
    holders[place] = pki.issue(
        usual.get("subject", holders[place].certificate.subject),  # type: ignore[arg-type]  # names
        key,  # type: ignore[arg-type]  # keys
        issuers[place],
        **extra,  # type: ignore[arg-type]  # what issue() takes
    )
    return [*(item.der for item in holders), top.der]


def test_a_chain_of_a_device_holds() -> None:
    assert links([*built(3)]) == ""
    assert links(built(3), Roots()) == Finding.UNTRUSTED_ROOT
    assert links([]) == Found.CHAIN_LENGTH
    assert links(built(3)[::-1]) == Finding.UNTRUSTED_ROOT


@pytest.mark.parametrize("place", range(4))
def test_every_certificate_is_signed_with_sha_384(place: int) -> None:
    assert links(built(place, hash_=hashes.SHA256())) == Found.CHAIN_CERTIFICATE


@pytest.mark.parametrize("place", range(4))
def test_every_key_is_on_p_384(place: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert links(built(place, key=key)) == Found.CHAIN_CERTIFICATE


@pytest.mark.parametrize("place", range(1, 4))
def test_every_issuer_is_an_authority(place: int) -> None:
    assert links(built(place, ca=False)) == Found.CHAIN_CERTIFICATE
    assert links(built(place, usage=False)) == Found.CHAIN_CERTIFICATE


def test_the_leaf_is_no_authority() -> None:
    assert links(built(0, ca=True)) == Found.CHAIN_CERTIFICATE
    assert links(built(0, usage=False)) == Found.CHAIN_CERTIFICATE
    signing = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    authority = x509.BasicConstraints(ca=True, path_length=None)
    for said, finding in (((signing,), ""), ((signing, authority), Found.CHAIN_CERTIFICATE)):
        extensions = [(item, True) for item in said]
        assert links(built(0, usage=False, extensions=extensions)) == finding


@pytest.mark.parametrize(("place", "allowed"), [(1, 0), (2, 1), (3, 2)])
def test_path_lengths_are_kept(place: int, allowed: int) -> None:
    assert links(built(place, path_length=allowed)) == ""
    if allowed:
        assert links(built(place, path_length=allowed - 1)) == Found.CHAIN_CERTIFICATE


@pytest.mark.parametrize("place", range(4))
def test_a_critical_extension_that_nobody_understands_is_refused(place: int) -> None:
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
    assert links(built(place, extensions=[(odd, True)])) == Found.CHAIN_CERTIFICATE
    assert links(built(place, extensions=[(odd, False)])) == ""


def test_a_certificate_is_bounded() -> None:
    long = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(4096))
    assert links(built(2, extensions=[(long, False)])) == Found.CHAIN_CERTIFICATE


@pytest.mark.parametrize("place", range(1, 4))
def test_names_must_meet(place: int) -> None:
    assert links(built(place, subject=pki.name("another"))) == Found.CHAIN_SIGNATURE


@pytest.mark.parametrize("place", range(1, 4))
def test_signatures_must_hold(place: int) -> None:
    assert links(built(place, key=_KEY)) == Found.CHAIN_SIGNATURE


def test_key_identifiers_must_meet() -> None:
    born = boot_rom("nvidia", "HOPPER", 1)
    issuer = x509.SubjectKeyIdentifier.from_public_key(
        authorities("nvidia", "GH100")[2].key.public_key()
    )
    named = (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False)
    other = x509.SubjectKeyIdentifier(b"\1" * 20)
    said = built(2, extensions=[(other, False)])
    said[1] = built(1, extensions=[named])[1]
    assert links(said) == Found.CHAIN_SIGNATURE
    said = built(2, extensions=[(issuer, False)])
    said[1] = built(1, extensions=[named])[1]
    assert links(said) == ""
    assert born.certificate.subject == x509.load_der_x509_certificate(said[1]).subject


@pytest.mark.parametrize(
    ("spec", "finding"),
    [
        (Spec(leaf_start=NOON + timedelta(seconds=1)), Finding.NOT_YET_VALID),
        (Spec(leaf_end=NOON - timedelta(seconds=1)), Finding.EXPIRED),
    ],
    ids=["later", "ended"],
)
def test_a_chain_outside_its_window_leaves_it_open(spec: Spec, finding: str) -> None:
    left_open(spec, ("G2", finding))


@pytest.mark.parametrize(
    ("common", "chip", "architecture"),
    [
        ("GH100 A01 GSP FMC LF", "GH100", Architecture.HOPPER),
        ("GB100 A01 GSP FMC LF", "GB100", Architecture.BLACKWELL),
        ("GB202 B02 GSP FMC LF", "GB202", Architecture.BLACKWELL),
        ("LS_10 A01 FSP FMC LF", "LS10", Architecture.LS10),
    ],
)
def test_a_device_is_named_by_its_certificates(
    common: str, chip: str, architecture: Architecture
) -> None:
    device = mint(Spec(common=common, number=5)).devices[0]
    assert chain.identity(device.chain) == Identity(chip, architecture, pdi(5))


@pytest.mark.parametrize(
    "common",
    [
        "GH100 A01 GSP BROM",
        "XGH100 A01 GSP FMC LF",
        "GH100 A01 GSP FMC LF2",
        "GA100 A01 GSP FMC LF",
    ],
)
def test_other_names_are_no_devices(common: str) -> None:
    with pytest.raises(CheckError) as caught:
        chain.identity(mint(Spec(common=common)).devices[0].chain)
    assert caught.value.finding is Found.LEAF_NAME


def test_a_leaf_alone_does_not_say_which_device_it_is() -> None:
    with pytest.raises(CheckError) as caught:
        chain.identity(mint(switch()).devices[0].chain[:1])
    assert caught.value.finding is Found.CHAIN_CERTIFICATE


def _fwids(oid: x509.ObjectIdentifier, value: bytes) -> tuple[bytes, ...]:
    odd = (x509.UnrecognizedExtension(oid, value), False)
    return dice.fwids(pki.issue(pki.name("leaf"), _KEY, None, extensions=[odd]).certificate)


_GOOD = dice.FWID(algorithm=_SHA384, digest=b"\1" * 48)


def test_firmware_ids_are_read_from_either_extension() -> None:
    unused = dice.FWID(algorithm=_SHA384, digest=bytes(48))
    assert _fwids(dice.TCB_INFO, der.write(dice.TCBInfo(fwids=[_GOOD, unused]))) == (b"\1" * 48,)


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (dice.TCB_INFO, b""),
        (dice.TCB_INFO, der.write(dice.TCBInfo(vendor=b"x"))),
        (dice.TCB_INFO, der.write(dice.TCBInfo(fwids=[_GOOD])) + b"\0"),
        (
            dice.TCB_INFO,
            der.write(dice.TCBInfo(fwids=[dice.FWID(algorithm=_SHA384, digest=b"\1" * 32)])),
        ),
        (
            dice.TCB_INFO,
            der.write(
                dice.TCBInfo(
                    fwids=[
                        dice.FWID(
                            algorithm=x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1"),
                            digest=b"\1" * 48,
                        )
                    ]
                )
            ),
        ),
        (
            dice.TCB_INFO,
            der.write(dice.TCBInfo(fwids=[dice.FWID(algorithm=_SHA384, digest=bytes(48))])),
        ),
        (dice.RIOT, der.write(_GOOD)),
        (x509.ObjectIdentifier("2.23.133.5.4.1.2"), der.write(_GOOD)),
    ],
    ids=["empty", "none", "trailing", "short", "SHA-256", "zero", "other shape", "other extension"],
)
def test_other_extensions_state_no_firmware(oid: x509.ObjectIdentifier, value: bytes) -> None:
    with pytest.raises(CheckError) as caught:
        _fwids(oid, value)
    assert caught.value.finding is Found.FWID_MISSING
