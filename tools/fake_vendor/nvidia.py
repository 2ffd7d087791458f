"""NVIDIA evidence of the fake vendor: GPUs and switches, answers about them, and any defect.

::

    minted = mint(Spec(nonce=nonce))
    examine(minted.evidence, minted.endorsements, NOON, minted.roots)

Manifests are minted by :mod:`tools.fake_vendor.nvidia_rim`, answers about certificates by
:mod:`tools.fake_vendor.nvidia_ocsp`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from registry.core.digest import sha256
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nvidia.container import Device, write_device, write_set
from registry.core.evidence.nvidia.spdm import Opaque
from registry.core.evidence.roots import Roots, Vendor
from tools.fake_vendor.nvidia_certificates import (
    CHIPS,
    FIRST,
    LAST,
    authorities,
    boot_rom,
    device_root,
    firmware_key,
    leaf,
    pdi,
)
from tools.fake_vendor.nvidia_ocsp import NOON, Said, answer
from tools.fake_vendor.nvidia_rim import MANIFEST_ROOT, Rim, golden, mint_rim, signers

NONCE: Final = bytes(range(32))
"""What a device is asked with if nobody says otherwise."""

ORDER_P384: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffff"
    "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
"""How many points the curve has: s and this number minus s are both good."""

GPU_MEASUREMENTS: Final = 64
SWITCH_MEASUREMENTS: Final = 31
DRIVER_INDICES: Final = (*range(12, 33), 35)
FIRMWARE_INDICES: Final = tuple(range(12))


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Spec:
    """One device. What is not stated is as a real one has it.

    Attributes:
        architecture: ``HOPPER``, ``BLACKWELL`` or ``LS10``.
        number: Which device of the factory.
        nonce: What it is asked with.
        driver: Its driver's version; None for none.
        firmware: The version of its firmware.
        switches: Numbers of the switches at the ends of a GPU's links.
        gpus: Numbers of the GPUs that a switch knows of.
        nvdec0: Status of the video decoder.
        protected_pcie: Status; None if the firmware does not say.
        feature_flag: As ``protected_pcie``.
        fwid: Firmware identity in the report; None for none.
        certificate_fwid: In the certificate; None for no extension.
        measurements: Edits the measurements.
        opaque: Edits the opaque items.
        record: Edits the measurement record.
        request: Edits the request before it is signed.
        response: Edits the response before it is signed.
        report: Edits the signed report.
        common: The leaf's common name.
        signer: Another key that signs than the leaf's.
        chain: Edits the certificates.
        root: Which of the fake vendor's roots.
        leaf_start: From when the leaf is valid.
        leaf_end: Until when.
        claimed: The generation that the wrapper claims.
        answered_at: When responders spoke, unless one of the next two says otherwise.
        answers: What is said of the certificates by their place in the chain, from 1; None for
            no answer.
        rims: The manifests; None for those that fit.
        signer_answers: What is said of manifests' signers by their place in the chain, from 0.
    """

    architecture: str = "HOPPER"
    number: int = 1
    nonce: bytes = NONCE
    driver: str | None = "550.90.07"
    firmware: str = "96.00.9F.00.01"
    switches: tuple[int, ...] = ()
    gpus: tuple[int, ...] = ()
    nvdec0: int = 0x55
    protected_pcie: int | None = 0xAA
    feature_flag: int | None = 2
    fwid: bytes | None = b"\xf1" * 48
    certificate_fwid: bytes | None = b"\xf1" * 48
    measurements: Callable[[dict[int, bytes]], Mapping[int, bytes]] = _same
    opaque: Callable[[dict[int, bytes]], Mapping[int, bytes]] = _same
    record: Callable[[bytes], bytes] = _same
    request: Callable[[bytes], bytes] = _same
    response: Callable[[bytes], bytes] = _same
    report: Callable[[bytes], bytes] = _same
    common: str = ""
    signer: ec.EllipticCurvePrivateKey | None = None
    chain: Callable[[tuple[bytes, ...]], Sequence[bytes]] = _same
    root: str = "nvidia"
    leaf_start: datetime = FIRST
    leaf_end: datetime = LAST
    claimed: str = ""
    answered_at: datetime = NOON - timedelta(hours=1)
    answers: Mapping[int, Said | None] = field(default_factory=dict)
    rims: tuple[Rim, ...] | None = None
    signer_answers: Mapping[int, Said | None] = field(default_factory=dict)

    @property
    def is_switch(self) -> bool:
        """Whether it is a switch."""
        return self.architecture == "LS10"

    @property
    def chip(self) -> str:
        """Its chip."""
        return CHIPS[self.architecture]


@dataclass(frozen=True)
class Minted:
    """Evidence, what speaks of it, and the roots that must be named for it to count."""

    evidence: bytes
    endorsements: Endorsements
    roots: Roots
    devices: tuple[Device, ...]


def mint(spec: Spec | None = None) -> Minted:
    """One device."""
    spec = spec or Spec()
    device = mint_device(spec)
    return Minted(
        write_device(device), Endorsements.of(endorse(spec)), roots_of(spec.root), (device,)
    )


def mint_set(specs: Iterable[Spec]) -> Minted:
    """The devices of one machine."""
    several = list(specs)
    devices = [mint_device(spec) for spec in several]
    spoken = [item for spec in several for item in endorse(spec)]
    return Minted(
        write_set(devices), Endorsements.of(spoken), roots_of(several[0].root), tuple(devices)
    )


def machine(gpus: int = 8, switches: int = 4, nonce: bytes = NONCE) -> list[Spec]:
    """GPUs and switches that name each other."""
    gpu_numbers, switch_numbers = range(1, gpus + 1), range(101, 101 + switches)
    return [
        *(Spec(number=n, nonce=nonce, switches=tuple(switch_numbers)) for n in gpu_numbers),
        *(switch(number=n, nonce=nonce, gpus=tuple(gpu_numbers)) for n in switch_numbers),
    ]


def switch(**more: Any) -> Spec:
    """An LS10 switch."""
    usual: dict[str, Any] = {
        "architecture": "LS10",
        "number": 101,
        "driver": None,
        "firmware": "96.10.55.00.01",
        "fwid": None,
        "protected_pcie": None,
        "feature_flag": None,
    }
    return Spec(**{**usual, **more})


def blackwell(**more: Any) -> Spec:
    """A GB100 GPU."""
    usual: dict[str, Any] = {
        "architecture": "BLACKWELL",
        "driver": "590.48.01",
        "firmware": "97.00.D9.00.35",
        "protected_pcie": None,
        "feature_flag": 1,
    }
    return Spec(**{**usual, **more})


def roots_of(name: str = "nvidia", *, answer_days: int | None = None) -> Roots:
    """The fake vendor's roots, named."""
    named = [
        (Vendor.NVIDIA_DEVICE, sha256(device_root(name).der).hex()),
        (Vendor.NVIDIA_RIM, sha256(signers(MANIFEST_ROOT)[0].der).hex()),
    ]
    return Roots.also(named, answer_days=answer_days)


def mint_device(spec: Spec) -> Device:
    """A report and its certificates."""
    head = b"\x11\xe0\x01\xff" + spec.nonce + b"\x00"
    request = spec.request(head)
    signed = request + spec.response(_response(spec))
    holder = leaf(
        spec.root,
        spec.architecture,
        spec.number,
        common=spec.common,
        fwid=spec.certificate_fwid,
        start=spec.leaf_start,
        end=spec.leaf_end,
    )
    key = spec.signer or firmware_key(spec.root, spec.architecture, spec.number)
    report = spec.report(signed + sign(key, signed))
    upper = authorities(spec.root, spec.chip)
    born = boot_rom(spec.root, spec.architecture, spec.number)
    chain = tuple(item.der for item in (holder, born, *reversed(upper)))
    return Device(report, tuple(spec.chain(chain)), spec.claimed)


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """A P-384 signature, r ‖ s."""
    r, s = decode_dss_signature(
        key.sign(data, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
    )
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def high_s(report: bytes) -> bytes:
    """The same report with the other spelling of its signature."""
    s = int.from_bytes(report[-48:], "big")
    return report[:-48] + (ORDER_P384 - s).to_bytes(48, "big")


def _response(spec: Spec) -> bytes:
    count = SWITCH_MEASUREMENTS if spec.is_switch else GPU_MEASUREMENTS
    values = spec.measurements({index + 1: golden(index) for index in range(count)})
    record = spec.record(b"".join(block(index, value) for index, value in values.items()))
    opaque = b"".join(item(kind, value) for kind, value in spec.opaque(_opaque(spec)).items())
    return b"".join(
        (
            b"\x11\x60\x00\x00",
            bytes([len(values)]),
            len(record).to_bytes(3, "little"),
            record,
            sha256(spec.nonce + pdi(spec.number)),
            len(opaque).to_bytes(2, "little"),
            opaque,
        )
    )


def block(index: int, value: bytes) -> bytes:
    """One measurement of the record."""
    size = len(value)
    head = bytes([index, 1]) + (size + 3).to_bytes(2, "little")
    return head + b"\x01" + size.to_bytes(2, "little") + value


def item(kind: int, value: bytes) -> bytes:
    """One item of the opaque data."""
    return kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value


def _opaque(spec: Spec) -> dict[int, bytes]:
    said: dict[int, bytes] = {}
    if spec.is_switch:
        said[Opaque.VBIOS_VERSION] = spec.firmware.encode()
        said[Opaque.SWITCH_PDIS] = pdi(spec.number)
        known = [pdi(number) for number in spec.gpus]
        known += [b"\xff" * 8] * (8 - len(known))
        said[Opaque.GPU_PDIS] = b"".join(known) + b"\xff" * 64
    else:
        parts = [int(part, 16) for part in spec.firmware.split(".")]
        said[Opaque.VBIOS_VERSION] = bytes([0, 0, 0, parts[4], *parts[:4]])[::-1]
        said[Opaque.CHIP_SKU] = b"882\0\0\0"
        said[Opaque.PROJECT] = b"1010\0"
        said[Opaque.PROJECT_SKU] = b"0200\0"
        said[Opaque.NVDEC0_STATUS] = bytes([spec.nvdec0])
        if spec.switches:
            said[Opaque.SWITCH_PDIS] = b"".join(pdi(n)[::-1] for n in spec.switches)
    if spec.driver is not None:
        said[Opaque.DRIVER_VERSION] = spec.driver.encode() + b"\0"
    if spec.fwid is not None:
        said[Opaque.FWID] = spec.fwid
    if spec.protected_pcie is not None:
        said[Opaque.PROTECTED_PCIE] = bytes([spec.protected_pcie])
    if spec.feature_flag is not None:
        said[Opaque.FEATURE_FLAG] = spec.feature_flag.to_bytes(2, "little")
    return said


def endorse(spec: Spec) -> list[tuple[Role, bytes]]:
    """Manifests and answers about one device."""
    spoken: list[tuple[Role, bytes]] = []
    good = Said(this_update=spec.answered_at)
    chain = (
        boot_rom(spec.root, spec.architecture, spec.number),
        *reversed(authorities(spec.root, spec.chip)),
    )
    for place, (subject, issuer) in enumerate(pairwise(chain), start=1):
        said = spec.answers.get(place, good)
        if said is not None:
            spoken.append((Role.NVIDIA_OCSP, answer(subject, issuer, said)))
    for rim in fitting(spec) if spec.rims is None else spec.rims:
        spoken.append((Role.NVIDIA_RIM, mint_rim(rim)))
        holders = (*reversed(signers(rim.root, rim.signer_start, rim.signer_end)),)
        for place, (subject, issuer) in enumerate(pairwise(holders)):
            said = spec.signer_answers.get(place, good)
            if said is not None:
                spoken.append((Role.NVIDIA_OCSP, answer(subject, issuer, said)))
    return spoken


def fitting(spec: Spec) -> tuple[Rim, ...]:
    """The manifests that a device's software matches."""
    if spec.is_switch:
        return (
            Rim(
                spec.chip, spec.firmware, active=tuple(range(SWITCH_MEASUREMENTS)), edition="SWITCH"
            ),
        )
    return (
        Rim(spec.chip, spec.driver or "", active=DRIVER_INDICES),
        Rim(spec.chip, spec.firmware, active=FIRMWARE_INDICES),
    )


def without(spec: Spec, *places: int) -> Spec:
    """A device about whose certificates at these places nothing is said."""
    return replace(spec, answers={**spec.answers, **dict.fromkeys(places)})
