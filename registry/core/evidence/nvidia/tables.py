"""The table of checks: what each of G1 to G12 looks at."""

from typing import Final

CHECKS: Final = {
    "G1": "container and report layout; the nonce of the signed request",
    "G2": "five certificates to the pinned device root; the leaf is of the claimed generation",
    "G3": "signature of the report by the leaf's key",
    "G4": "firmware id of the report is one of the certificate's",
    "G5": "OCSP answers about every certificate between leaf and root, and manifests' signers",
    "G6": "manifests named by the report, of its versions, and of the one shape",
    "G7": "manifests' signatures, and their signers' chains to the pinned root",
    "G8": "every active golden measurement, and at least one",
    "G9": "feature flag and protected-PCIe status as they are stated",
    "G10": "devices of one machine: distinct, asked together, naming each other",
    "G11": "what the devices were asked with, and whether the CPU's evidence commits to them",
    "G12": "tokens are signed by a key of their issuer",
}
"""Name → what it checks, in order."""
