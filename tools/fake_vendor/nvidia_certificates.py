"""Certificates of the fake vendor's GPUs and switches, from the root to the running firmware."""

from datetime import UTC, datetime
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core import der
from registry.core.digest import sha256
from registry.core.evidence.nvidia import dice
from tools.fake_vendor import pki
from tools.fake_vendor.pki import Holder

FIRST: Final = datetime(2020, 10, 17, tzinfo=UTC)
"""From when devices' certificates are valid."""

LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""Until when."""

CHIPS: Final = {"HOPPER": "GH100", "BLACKWELL": "GB100", "LS10": "LS10"}
"""The chip of each generation."""


def pdi(number: int) -> bytes:
    """The name that is burnt into a device."""
    return sha256(f"device {number}".encode())[:8]


@cache
def device_root(root: str) -> Holder:
    """The root of all devices."""
    return pki.issue(
        pki.name("NVIDIA Device Identity CA", O="NVIDIA"),
        pki.p384(f"{root} device root"),
        None,
        start=FIRST,
        life=LAST - FIRST,
    )


@cache
def authorities(root: str, chip: str) -> tuple[Holder, Holder, Holder]:
    """Root, chip family, provisioner."""
    top = device_root(root)
    family = pki.issue(
        pki.name(f"NVIDIA {chip} Identity", O="NVIDIA Corporation"),
        pki.p384(f"{root} {chip} identity"),
        top,
        start=FIRST,
        life=LAST - FIRST,
    )
    provisioner = pki.issue(
        pki.name(f"NVIDIA {chip} Provisioner ICA 1", O="NVIDIA Corporation", C="US"),
        pki.p384(f"{root} {chip} provisioner"),
        family,
        start=FIRST,
        life=LAST - FIRST,
    )
    return top, family, provisioner


@cache
def boot_rom(root: str, architecture: str, number: int) -> Holder:
    """The certificate that a device is born with."""
    chip = CHIPS[architecture]
    prefix = b"\x50" if architecture == "LS10" else b"\x41"
    return pki.issue(
        pki.name(f"{chip} A01 GSP BROM", O="NVIDIA Corporation", C="US"),
        pki.p384(f"{root} {architecture} {number} boot ROM"),
        authorities(root, chip)[2],
        start=FIRST,
        life=LAST - FIRST,
        serial=int.from_bytes(prefix + pdi(number), "big"),
    )


def leaf(
    root: str,
    architecture: str,
    number: int,
    *,
    common: str = "",
    fwid: bytes | None = None,
    start: datetime = FIRST,
    end: datetime = LAST,
) -> Holder:
    """The certificate of the firmware that runs."""
    chip = CHIPS[architecture]
    written = "LS_10 A01 FSP FMC LF" if architecture == "LS10" else f"{chip} A01 GSP FMC LF"
    key = firmware_key(root, architecture, number)
    return pki.issue(
        pki.name(common or written, O="NVIDIA Corporation", C="US"),
        key,
        boot_rom(root, architecture, number),
        start=start,
        life=end - start,
        ca=False,
        extensions=() if fwid is None else _dice(architecture, key, fwid),
    )


def firmware_key(root: str, architecture: str, number: int) -> ec.EllipticCurvePrivateKey:
    """The key that signs reports."""
    return pki.p384(f"{root} {architecture} {number} firmware")


def _dice(
    architecture: str, key: ec.EllipticCurvePrivateKey, fwid: bytes
) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    algorithm = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.2")
    stated = dice.FWID(algorithm=algorithm, digest=fwid)
    if architecture == "BLACKWELL":
        unused = dice.FWID(algorithm=algorithm, digest=bytes(48))
        value = der.write(dice.TCBInfo(vendor=b"NVIDIA", fwids=[stated, unused]))
        return ((x509.UnrecognizedExtension(dice.TCB_INFO, value), False),)
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # CompositeDeviceID: the version, the key as it is, the firmware.
    body = b"\x02\x01\x01" + spki + der.write(stated)
    value = b"\x30\x81" + bytes([len(body)]) + body
    return ((x509.UnrecognizedExtension(dice.RIOT, value), False),)
