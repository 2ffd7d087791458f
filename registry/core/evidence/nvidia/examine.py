"""Examination of NVIDIA evidence: one device, or the devices of one machine."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Final

import msgspec

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, CheckResult, Finding, Ledger
from registry.core.evidence.claims import (
    ClaimValue,
    Examination,
    Family,
    check_size,
    evidence_id,
)
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.nvidia import container, topology
from registry.core.evidence.nvidia.container import Submission
from registry.core.evidence.nvidia.device import (
    Examined,
    Material,
    examine_identity,
    examine_software,
    need,
    open_device,
)
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.tables import CHECKS
from registry.core.evidence.nvidia.topology import Member
from registry.core.evidence.roots import Roots
from registry.core.evidence.validity import Validity, appraised_at

_SHOWN_DEVICES = 8
_OF_GPUS: Final = ("driver_version", "vbios_version", "feature_flag", "protected_pcie")


def examine_device(
    evidence: bytes, endorsements: Endorsements, at: datetime, roots: Roots
) -> Examination:
    """Examine the evidence of one GPU or switch.

    Raises:
        MalformedError: ``BAD_TIME``.
        LimitExceededError: ``EVIDENCE_SIZE``.
        UnavailableError: ``MISSING_EXTRA``, if there are manifests and XML cannot be read.
    """
    check_size(evidence)
    moment = appraised_at(at)
    submission, ledger = _open(evidence, moment, many=False)
    if not submission.devices:
        return Examination(Family.NVIDIA_SPDM, moment, None, {}, ledger.results(), ledger.window)
    material = Material.of(endorsements, roots)
    examined = [open_device(submission.devices[0], moment, evidence)]
    _run(examined, material)
    examined[0].ledger.skip("G10", Finding.NOT_APPLICABLE, "one device has no topology")
    _skip_the_rest(examined[0].ledger)
    return _examination(examined[0])


def examine_set(
    evidence: bytes, endorsements: Endorsements, at: datetime, roots: Roots
) -> Examination:
    """Examine the evidence of the devices of one machine, each alone and all together.

    Raises:
        MalformedError: ``BAD_TIME``.
        LimitExceededError: ``EVIDENCE_SIZE``.
        UnavailableError: ``MISSING_EXTRA``, if there are manifests and XML cannot be read.
    """
    check_size(evidence)
    moment = appraised_at(at)
    submission, ledger = _open(evidence, moment, many=True)
    if not submission.devices:
        return Examination(Family.NVIDIA_SET, moment, None, {}, ledger.results(), ledger.window)
    material = Material.of(endorsements, roots)
    examined = [open_device(device, moment, device.report) for device in submission.devices]
    _run(examined, material)
    read = [
        Member(item.report, item.identity)
        for item in examined
        if item.report is not None and item.identity is not None
    ]
    if len(read) == len(examined):
        with ledger.check("G10", *(item.report.data for item in read)):
            topology.check(read)
    _skip_the_rest(ledger)
    members = [_examination(item) for item in examined]
    ids = [item.evidence_id for item in members if item.evidence_id is not None]
    windows = [item.window for item in members if item.window is not None]
    return Examination(
        family=Family.NVIDIA_SET,
        at=moment,
        evidence_id=(
            evidence_id(Family.NVIDIA_SET, sorted(set(ids))) if len(ids) == len(members) else None
        ),
        claims=_claims(examined, [item.claims for item in members]),
        checks=_together(ledger.results(), [item.checks for item in members]),
        window=reduce(Validity.overlap, windows) if windows else None,
        endorsements=_union(item.endorsements for item in members),
        configured_roots=_union(item.configured_roots for item in members),
        members=tuple(members),
    )


def _open(evidence: bytes, at: int, *, many: bool) -> tuple[Submission, Ledger]:
    """Read the container; of what cannot be read, there are no devices."""
    ledger = Ledger(CHECKS, at, evidence)
    submission = Submission()
    with ledger.check("G1", evidence):
        read = container.read(evidence)
        if not many and (read.as_set or len(read.devices) > 1):
            raise CheckError(
                Found.CONTAINER,
                "this is the evidence of a set of devices",
                expected="one device; a set is of family nvidia-set",
                actual=str(len(read.devices)),
            )
        if read.tokens is not None:
            raise CheckError(
                Found.CONTAINER,
                "this is a token about devices",
                expected="reports of devices; a token is of family nvidia-eat",
            )
        submission = read
    return submission, ledger


def _skip_the_rest(ledger: Ledger) -> None:
    ledger.skip("G11", Finding.NOT_APPLICABLE, "nobody says what the devices were asked for")
    ledger.skip("G12", Finding.NOT_APPLICABLE, "no token was submitted")


def _run(examined: Sequence[Examined], material: Material) -> None:
    for item in examined:
        examine_identity(item, material.roots)
        need(item)
    known = material.beside(examined)
    for item in examined:
        examine_software(item, known)


def _examination(examined: Examined) -> Examination:
    return Examination(
        family=Family.NVIDIA_SPDM,
        at=examined.ledger.at,
        evidence_id=examined.evidence_id,
        claims=examined.claims(),
        checks=examined.ledger.results(),
        window=examined.ledger.window,
        endorsements=tuple(sorted(sha256(data).hex() for data in examined.used)),
        configured_roots=tuple(sorted(examined.named_roots)),
    )


def _union(parts: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({item for part in parts for item in part}))


def _claims(
    examined: Sequence[Examined], members: Sequence[Mapping[str, ClaimValue]]
) -> dict[str, ClaimValue]:
    """What the devices say together; where they differ, all values, sorted."""
    switch = [
        item.identity is not None and item.identity.architecture.is_switch for item in examined
    ]
    gpus = [said for said, is_switch in zip(members, switch, strict=True) if not is_switch]
    switches = [said for said, is_switch in zip(members, switch, strict=True) if is_switch]
    claims: dict[str, ClaimValue] = {"gpu_count": len(gpus), "switch_count": len(switches)}
    for name in _OF_GPUS:
        _say(claims, name, gpus, name)
    _say(claims, "switch_bios_version", switches, "vbios_version")
    _say(claims, "product_line", members, "product_line")
    nonces = {said.get("nonce") for said in members}
    if len(nonces) == 1 and isinstance(nonce := nonces.pop(), bytes):
        claims["nonce"] = nonce
    return claims


def _say(
    claims: dict[str, ClaimValue],
    name: str,
    members: Sequence[Mapping[str, ClaimValue]],
    member_name: str,
) -> None:
    values = {said.get(member_name) for said in members}
    if not members or values == {None}:
        return
    single = values.pop() if len(values) == 1 else None
    if single is not None:
        claims[name] = single
        return
    written = [value.hex() if isinstance(value, bytes) else str(value) for value in values]
    claims[name] = tuple(sorted("none" if text == "None" else text for text in written))


def _together(
    own: Sequence[CheckResult], members: Sequence[Sequence[CheckResult]]
) -> tuple[CheckResult, ...]:
    """One result for each way in which a check went, naming the devices with which it did."""
    said: list[CheckResult] = []
    for name in CHECKS:
        of_set = [item for item in own if item.check == name]
        if name in ("G10", "G11", "G12"):
            said += of_set
            continue
        numbered = [
            (number, item)
            for number, checks in enumerate(members, start=1)
            for item in checks
            if item.check == name
        ]
        failed = [(number, item) for number, item in numbered if item.outcome == "fail"]
        passed = [item for _, item in numbered if item.outcome == "pass"]
        if failed:
            said += _grouped(failed)
        elif passed:
            inputs = tuple(dict.fromkeys(part for item in passed for part in item.inputs))
            said.append(msgspec.structs.replace(passed[0], inputs=inputs))
        else:
            said.append(numbered[0][1])
    return tuple(said)


def _grouped(failed: Sequence[tuple[int, CheckResult]]) -> list[CheckResult]:
    groups: dict[tuple[str, str], list[tuple[int, CheckResult]]] = {}
    for number, item in failed:
        groups.setdefault((item.finding, item.severity), []).append((number, item))
    said = []
    for group in groups.values():
        numbers = list(dict.fromkeys(number for number, _ in group))
        shown = ", ".join(str(number) for number in numbers[:_SHOWN_DEVICES])
        more = f" and {len(numbers) - _SHOWN_DEVICES} more" * (len(numbers) > _SHOWN_DEVICES)
        first = group[0][1]
        detail = f"device {shown}{more}: {first.detail}"[:1000]
        said.append(msgspec.structs.replace(first, detail=detail))
    return said
