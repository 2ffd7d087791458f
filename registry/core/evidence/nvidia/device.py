"""One device: its report, its certificates, and everything that speaks of them, in check order."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity, missing
from registry.core.evidence.claims import ClaimValue, Family, evidence_id
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nvidia import chain, dice, measurements, rim
from registry.core.evidence.nvidia.chain import Architecture, Identity
from registry.core.evidence.nvidia.container import Device
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.measurements import Needed
from registry.core.evidence.nvidia.ocsp import Answer, Answers, Subject
from registry.core.evidence.nvidia.rim import Manifest
from registry.core.evidence.nvidia.spdm import Opaque, Report
from registry.core.evidence.nvidia.tables import CHECKS
from registry.core.evidence.roots import Roots, Vendor

_ECDSA = ec.ECDSA(hashes.SHA384())
_WITHOUT_FWID = frozenset([(Architecture.HOPPER, "535.86.09")])
"""Firmware whose reports have no FWID; reports of LS10 switches have none, either."""

_PCIE_MODES = (b"\xaa", b"\x55")
_SIGNATURE_FINDINGS = (
    Found.RIM_UNSIGNED,
    Found.RIM_WRAPPING,
    Found.RIM_ALGORITHM,
    Found.RIM_REFERENCE,
)


@dataclass(frozen=True, slots=True)
class Material:
    """What devices are examined with.

    Attributes:
        answers: OCSP answers.
        manifests: Reference manifests that can be read.
        broken: What is wrong with those that cannot.
        roots: Whom we believe.
        strays: Answers about no certificate of the devices or of the manifests' signers.
        unclaimed: Manifests that no device needs.
    """

    answers: Answers
    manifests: tuple[Manifest, ...]
    broken: tuple[tuple[bytes, CheckError], ...]
    roots: Roots
    strays: tuple[Answer, ...] = ()
    unclaimed: tuple[Manifest, ...] = ()

    @classmethod
    def of(cls, endorsements: Endorsements, roots: Roots) -> "Material":
        """Read what is at hand.

        Raises:
            UnavailableError: ``MISSING_EXTRA``.
        """
        manifests: list[Manifest] = []
        broken: list[tuple[bytes, CheckError]] = []
        for data in endorsements.all(Role.NVIDIA_RIM):
            try:
                manifests.append(rim.read(data))
            except CheckError as error:
                broken.append((data, error))
        answers = Answers(endorsements.all(Role.NVIDIA_OCSP), roots.answer_days)
        return cls(answers, tuple(manifests), tuple(broken), roots)

    def beside(self, examined: Sequence["Examined"]) -> "Material":
        """The same, knowing what of it speaks of none of these devices."""
        subjects = [item for one in examined for item in one.subjects()]
        subjects += [item for one in self.manifests for item in _subjects(one.certificates)]
        wanted = {item for one in examined for item in one.wanted}
        return replace(
            self,
            strays=self.answers.strays(frozenset(subjects)),
            unclaimed=tuple(
                item for item in self.manifests if not any(one.is_met_by(item) for one in wanted)
            ),
        )


@dataclass(slots=True)
class Examined:
    """One device under examination; filled in as its checks go on.

    Attributes:
        device: What was submitted.
        ledger: The results.
        report: None if it could not be read.
        identity: None if its certificates do not say.
        sound: Whether the chain holds but for its windows.
        genuine: Whether the report is that device's word; else nothing in it means anything.
        wanted: The manifests that the report needs.
        compared: How many measurements were compared and match.
        used: Endorsements that were used.
        named_roots: Roots that were only named, in hexadecimal.
    """

    device: Device
    ledger: Ledger
    report: Report | None = None
    identity: Identity | None = None
    sound: bool = False
    genuine: bool = False
    wanted: tuple[Needed, ...] = ()
    compared: int | None = None
    used: set[bytes] = field(default_factory=set)
    named_roots: set[str] = field(default_factory=set)

    @property
    def evidence_id(self) -> bytes | None:
        """Its name; None if the report could not be read."""
        if self.report is None:
            return None
        return evidence_id(Family.NVIDIA_SPDM, (self.report.signed,))

    def subjects(self) -> tuple[Subject, ...]:
        """The certificates between leaf and root."""
        if not self.genuine:
            return ()
        return _subjects(self.device.chain[1:])

    def claims(self) -> dict[str, ClaimValue]:
        """What the report and its certificates say, under stable names; what is absent is not."""
        if self.report is None:
            return {}
        report, claims = self.report, dict[str, ClaimValue]()
        claims["nonce"] = report.nonce
        claims["responder_nonce"] = report.responder_nonce
        if self.identity is not None:
            claims |= self.identity.claims()
        for name, kind in (
            ("driver_version", Opaque.DRIVER_VERSION),
            ("project", Opaque.PROJECT),
            ("project_sku", Opaque.PROJECT_SKU),
            ("chip_sku", Opaque.CHIP_SKU),
            ("chip_info", Opaque.CHIP_INFO),
        ):
            text = _quietly(report, kind)
            if text is not None:
                claims[name] = text
        for name, kind in (
            ("fwid", Opaque.FWID),
            ("protected_pcie", Opaque.PROTECTED_PCIE),
            ("nvdec0", Opaque.NVDEC0_STATUS),
        ):
            if kind in report.opaque:
                claims[name] = report.opaque[kind]
        flag = report.number(Opaque.FEATURE_FLAG)
        if flag is not None:
            claims["feature_flag"] = flag
        for wanted in self.wanted:
            claims |= wanted.claims()
        if self.compared is not None:
            claims["golden_measurements"] = self.compared
        return claims


def open_device(device: Device, at: int, evidence: bytes) -> Examined:
    """Begin with a device: G1, and whose it claims to be.

    Args:
        device: What was submitted.
        at: The moment that counts, in Unix seconds.
        evidence: The bytes that it was read from.
    """
    examined = Examined(device, Ledger(CHECKS, at, evidence))
    with examined.ledger.check("G1", evidence):
        examined.report = Report.parse(device.report)
        if device.nonce and device.nonce != examined.report.nonce.hex():
            # The wrapper is not signed: only what the device was really asked with counts.
            raise CheckError(
                Found.NONCE_FIELD,
                "the wrapper names another nonce than the signed request",
                severity=Severity.IDENTITY,
                expected=examined.report.nonce.hex(),
                actual=device.nonce[:80],
            )
    return examined


def examine_identity(examined: Examined, roots: Roots) -> None:
    """G2 to G4: the certificates, the signature, the firmware that signed."""
    device, ledger, report = examined.device, examined.ledger, examined.report
    with ledger.check("G2", *device.chain):
        if not device.chain:
            # Not MISSING, which a policy may waive: without certificates nothing is verified.
            raise CheckError(
                Found.CHAIN_MISSING,
                "the device's certificates were not submitted with its report",
                severity=Severity.TIME,
            )
        only_named = chain.check_links(
            device.chain, chain.DEVICE_CERTIFICATES, Vendor.NVIDIA_DEVICE, roots
        )
        if only_named:
            examined.named_roots.add(sha256(device.chain[-1]).hex())
        examined.sound = True
        chain.check_windows(ledger, device.chain)
    if not device.chain:
        return
    with ledger.check("G2", *device.chain):
        examined.identity = chain.identity(device.chain)
        if device.architecture.upper() not in ("", examined.identity.architecture):
            raise CheckError(
                Found.WRONG_ARCHITECTURE,
                "the device is of another generation than claimed",
                severity=Severity.IDENTITY,
                expected=device.architecture[:40],
                actual=examined.identity.architecture,
            )
    if report is None:
        return
    with ledger.check("G3", report.data, device.chain[0]):
        _check_signature(report, device.chain[0])
        examined.genuine = examined.sound and examined.identity is not None
    if examined.genuine and examined.identity is not None:
        with ledger.check("G4", report.data, device.chain[0]):
            _check_fwid(report, examined.identity, device.chain[0])


def examine_software(examined: Examined, material: Material) -> None:
    """G5 to G9: revocation, manifests, measurements, modes."""
    ledger = examined.ledger
    if not examined.genuine or examined.report is None or examined.identity is None:
        return
    with ledger.check("G5"):
        material.answers.check_readable()
    _check_answers(examined, ledger, examined.subjects(), material)
    for data, error in material.broken:
        with ledger.check("G7" if error.finding in _SIGNATURE_FINDINGS else "G6", data):
            raise error
    trusted: list[Manifest] = []
    absent: list[CheckError] = []
    for wanted in examined.wanted:
        found: tuple[Manifest, ...] = ()
        with ledger.check("G6", examined.report.data):
            found = measurements.choose(wanted, material.manifests, material.unclaimed)
        if not found:
            absent.append(missing(f"the manifest {wanted.name}", Role.NVIDIA_RIM))
            continue
        trial = _Trial(ledger.at, material)
        manifest = min(found, key=trial.rank) if len(found) > 1 else found[0]
        examined.used.add(manifest.data)
        signed = _check_manifest(examined, ledger, manifest, material)
        if signed is not None:
            trusted.append(signed)
    for name in ("G7", "G8"):
        for error in absent:
            with ledger.check(name):
                raise error
    if trusted:
        with ledger.check("G8", examined.report.data, *(item.data for item in trusted)):
            examined.compared = measurements.compare(examined.report, trusted)
    if len(trusted) != len(examined.wanted) or not trusted:
        ledger.find("G8", Found.NOT_COMPARED, "not all measurements were compared")
    _check_modes(examined.report, examined.identity, ledger)


def need(examined: Examined) -> None:
    """The manifests that a device needs, named by its report (the first part of G6)."""
    if not examined.genuine or examined.report is None or examined.identity is None:
        return
    with examined.ledger.check("G6", examined.report.data):
        examined.wanted = measurements.needed(examined.report, examined.identity)


class _Trial:
    """Tells which of several issues of one manifest holds best at a moment."""

    def __init__(self, at: int, material: Material) -> None:
        self._at = at
        self._material = material

    def rank(self, manifest: Manifest) -> tuple[int, ...]:
        """How badly it fails: contradictions first, then what is outside its window."""
        examined = Examined(Device(b"", ()), Ledger(CHECKS, self._at))
        _check_manifest(examined, examined.ledger, manifest, self._material)
        failed = [item.severity for item in examined.ledger.results() if item.outcome == "fail"]
        return tuple(
            failed.count(severity)
            for severity in (Severity.CRYPTO, Severity.IDENTITY, Severity.TIME, Severity.POLICY)
        )


def _check_manifest(
    examined: Examined,
    ledger: Ledger,
    manifest: Manifest,
    material: Material,
) -> Manifest | None:
    """G7, and G5 of the signers; what the vendor signed, if it did."""
    signed: Manifest | None = None
    with ledger.check("G7", manifest.data):
        opened = rim.open_signed(manifest.data)
        only_named = chain.check_links(
            opened.certificates, chain.MANIFEST_CERTIFICATES, Vendor.NVIDIA_RIM, material.roots
        )
        if only_named:
            examined.named_roots.add(sha256(opened.certificates[-1]).hex())
        signed = opened
        chain.check_windows(ledger, opened.certificates)
    if signed is not None:
        own = _subjects(signed.certificates)
        _check_answers(examined, ledger, own, material)
    return signed


def _check_answers(
    examined: Examined,
    ledger: Ledger,
    own: Sequence[Subject],
    material: Material,
) -> None:
    for subject in own:
        about = material.answers.about(subject)
        examined.used.update(about)
        with ledger.check("G5", *about):
            material.answers.check(ledger, "G5", subject, material.strays)


def _check_signature(report: Report, leaf: bytes) -> None:
    half = len(report.signature) // 2
    r, s = (
        int.from_bytes(part, "big") for part in (report.signature[:half], report.signature[half:])
    )
    key = chain.public_key(chain.certificate(leaf))
    try:
        key.verify(encode_dss_signature(r, s), report.signed, _ECDSA)
    except InvalidSignature as error:
        raise CheckError(
            Found.REPORT_SIGNATURE, "the report was not signed by the device's key"
        ) from error


def _check_fwid(report: Report, identity: Identity, leaf: bytes) -> None:
    stated = dice.fwids(chain.certificate(leaf))
    reported = report.opaque.get(Opaque.FWID)
    if reported is None:
        listed = (identity.architecture, _quietly(report, Opaque.DRIVER_VERSION)) in _WITHOUT_FWID
        if not listed and not identity.architecture.is_switch:
            raise CheckError(
                Found.FWID_MISSING,
                "the report does not say which firmware signed it",
                severity=Severity.IDENTITY,
            )
    elif reported not in stated:
        raise CheckError(
            Found.FWID_MISMATCH,
            "the report names other firmware than the certificate",
            severity=Severity.IDENTITY,
            expected=", ".join(item.hex() for item in stated),
            actual=reported.hex()[:96],
        )


def _check_modes(report: Report, identity: Identity, ledger: Ledger) -> None:
    if identity.architecture.is_switch:
        ledger.skip("G9", Finding.NOT_APPLICABLE, "a switch has no modes")
        return
    with ledger.check("G9", report.data):
        mode = report.opaque.get(Opaque.PROTECTED_PCIE)
    if mode is not None and mode not in _PCIE_MODES:
        ledger.find("G9", Found.MODE_UNKNOWN, f"protected PCIe is {mode.hex()[:32]}")


def _subjects(certificates: Sequence[bytes]) -> tuple[Subject, ...]:
    """Every certificate but the last one, with its issuer."""
    return tuple(Subject(certificate, issuer) for certificate, issuer in pairwise(certificates))


def _quietly(report: Report, kind: Opaque) -> str | None:
    """A text for the claims; one that is no name is not claimed, and G6 says why."""
    try:
        return report.text(kind)
    except CheckError:
        return None
