"""What the vector policy makes of minted evidence."""

import json
from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from registry.core.encoding import base64_text
from registry.core.evidence.appraisal import Appraisal, Question, appraise
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Role
from registry.core.evidence.nvidia.container import Device
from registry.core.evidence.nvidia.rules import DEVICE_RULES, SET_RULES
from registry.core.evidence.policy import Policy
from registry.core.evidence.rules import Rules
from registry.core.verdict import Verdict
from tools.fake_vendor.nvidia import Minted, Spec, mint
from tools.fake_vendor.nvidia_ocsp import NOON
from tools.fake_vendor.nvidia_rim import Rim


def policy(rules: Rules = DEVICE_RULES, **more: object) -> Policy:
    """The vector policy: everything required, nothing compared."""
    said = {"name": "vectors", "family": rules.family, "skip": tuple(rules.references), **more}
    return Policy(**said)  # type: ignore[arg-type]  # members are checked by appraise()


def judge(
    what: Minted | Spec,
    at: datetime = NOON,
    by: Policy | None = None,
    question: Question | None = None,
) -> Appraisal:
    """The appraisal of a device; of a set, if the policy is for one."""
    minted = mint(what) if isinstance(what, Spec) else what
    chosen = by or policy()
    rules = SET_RULES if chosen.family is Family.NVIDIA_SET else DEVICE_RULES
    examination = rules.examine(minted.evidence, minted.endorsements, at, minted.roots)
    return appraise(examination, chosen, rules, question)


def findings(appraisal: Appraisal) -> set[tuple[str, str]]:
    """The failed checks, each with its finding."""
    return {(item.check, item.finding) for item in appraisal.findings()}


def refused(what: Minted | Spec, *expected: tuple[str, str], at: datetime = NOON) -> Appraisal:
    """Assert that evidence is contradicted, for just these reasons."""
    appraisal = judge(what, at)
    assert findings(appraisal) == set(expected)
    assert appraisal.verdict is Verdict.INVALID
    return appraisal


def left_open(what: Minted | Spec, *expected: tuple[str, str], at: datetime = NOON) -> Appraisal:
    """Assert that evidence is neither contradicted nor good, for just these reasons."""
    appraisal = judge(what, at)
    assert findings(appraisal) == set(expected)
    assert appraisal.verdict is Verdict.INDETERMINATE
    return appraisal


def with_rims(rims: Iterable[Rim], **more: object) -> Spec:
    """A Hopper GPU with these manifests."""
    return Spec(rims=tuple(rims), **more)  # type: ignore[arg-type]  # tests name what exists


def exchanged(minted: Minted, role: Role, data: Iterable[bytes]) -> Minted:
    """The same evidence with other endorsements of one role."""
    kept = [(item.role, item.data) for item in minted.endorsements.items if item.role is not role]
    said = [*kept, *((role, item) for item in data)]
    endorsements = type(minted.endorsements).of(said)
    return Minted(minted.evidence, endorsements, minted.roots, minted.devices)


def serialized(devices: Iterable[Device], architecture: str, nonce: str = "") -> bytes:
    """Devices as NVIDIA's tools write them; each with the nonce of its report, if none is given."""
    return json.dumps(
        [
            {
                "arch": architecture,
                "certificate": base64_text(
                    b"".join(
                        x509.load_der_x509_certificate(item).public_bytes(Encoding.PEM)
                        for item in device.chain
                    )
                ),
                "evidence": base64_text(device.report),
                "nonce": nonce or device.report[4:36].hex(),
            }
            for device in devices
        ]
    ).encode()
