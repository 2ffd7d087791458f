"""All targets, by name."""

from collections.abc import Mapping
from typing import Final

from tools.fuzz.target import Target
from tools.fuzz.targets import (
    admission,
    amd,
    answers,
    appraisal,
    foreign,
    formats,
    identity,
    intel,
    log,
    nitro,
    nvidia,
    replays,
    reports,
    requests,
    sigstore,
    statements,
    vendors,
)

TARGETS: Final[Mapping[str, Target]] = {
    target.name: target
    for target in (
        *log.TARGETS,
        *statements.TARGETS,
        *sigstore.TARGETS,
        *requests.TARGETS,
        *identity.TARGETS,
        *admission.TARGETS,
        *formats.TARGETS,
        *nitro.TARGETS,
        *nvidia.TARGETS,
        *intel.TARGETS,
        *amd.TARGETS,
        *appraisal.TARGETS,
        *vendors.TARGETS,
        *foreign.TARGETS,
        *replays.TARGETS,
        *answers.TARGETS,
        *reports.TARGETS,
    )
}
"""Every decoder that takes bytes from outside."""
