"""Writes evidence of the fake vendor into a folder, with everything that is needed to judge it.

::

    python -m tools.fake_vendor aws-nitro --out device --nonce HEX --session-key node.pem.pub

makes ``device/evidence.bin``, the files of ``device/endorsements``, named by their role, and
``device/policy.json``: the starter policy of the family, with the fake vendor's roots named.
Whoever does not name them does not believe it.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from registry.cli.bound import binding_of
from registry.core.encoding import write_json
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.policy import NamedRoot
from registry.core.evidence.roots import Roots
from registry.core.evidence.starters import starter
from registry.errors import RegistryError
from tools.fake_vendor import amd, azure, intel, nitro, nvidia, nvidia_token


@dataclass(frozen=True)
class Minted:
    """Evidence, and what is needed to judge it."""

    evidence: bytes
    endorsements: Endorsements
    roots: Roots


def _intel(at: datetime, binding: Binding) -> Minted:
    minted = intel.mint(intel.Spec(at=at, report_data=binding.report_data()))
    return Minted(minted.evidence, minted.endorsements, minted.roots)


def _amd(at: datetime, binding: Binding) -> Minted:
    spec = amd.Spec(start=at - timedelta(days=1), report_data=binding.report_data())
    minted = amd.mint(spec)
    return Minted(minted.evidence, minted.endorsements, amd.roots())


def _azure_snp(at: datetime, binding: Binding) -> Minted:
    hardware = amd.Spec(start=at - timedelta(days=1))
    minted = azure.mint(azure.Spec(hardware=hardware, nonce=binding.tpm_nonce()))
    return Minted(minted.evidence, minted.endorsements, minted.roots)


def _azure_tdx(at: datetime, binding: Binding) -> Minted:
    minted = azure.mint(azure.Spec(hardware=intel.Spec(at=at), nonce=binding.tpm_nonce()))
    return Minted(minted.evidence, minted.endorsements, minted.roots)


def _nitro(at: datetime, binding: Binding) -> Minted:
    minted = nitro.mint(
        nitro.Spec(
            signed_at=at,
            user_data=binding.report_data(),
            nonce=binding.nonce,
            public_key=binding.session_key,
        )
    )
    return Minted(minted.evidence, minted.endorsements, minted.roots)


def _nvidia(at: datetime, binding: Binding) -> Minted:
    minted = nvidia.mint(nvidia.Spec(nonce=binding.gpu_nonce(), answered_at=at))
    return Minted(minted.evidence, minted.endorsements, minted.roots)


def _nvidia_set(at: datetime, binding: Binding) -> Minted:
    machine = nvidia.machine(nonce=binding.gpu_nonce())
    minted = nvidia.mint_set(replace(spec, answered_at=at) for spec in machine)
    return Minted(minted.evidence, minted.endorsements, minted.roots)


def _nvidia_token(at: datetime, binding: Binding) -> Minted:
    minted = nvidia_token.mint(nvidia_token.Spec(at=at, nonce=binding.gpu_nonce()))
    return Minted(minted.evidence, minted.endorsements, minted.roots)


MINTS: Final[Mapping[Family, Callable[[datetime, Binding], Minted]]] = {
    Family.INTEL_DCAP: _intel,
    Family.AMD_SNP: _amd,
    Family.AZURE_SNP_VTPM: _azure_snp,
    Family.AZURE_TDX_VTPM: _azure_tdx,
    Family.AWS_NITRO: _nitro,
    Family.NVIDIA_SPDM: _nvidia,
    Family.NVIDIA_SET: _nvidia_set,
    Family.NVIDIA_EAT: _nvidia_token,
}
"""Family → its device."""


def write(minted: Minted, family: Family, folder: Path, policy_name: str) -> None:
    """Write evidence, endorsements and policy into a folder."""
    endorsements = folder / "endorsements"
    endorsements.mkdir(parents=True, exist_ok=True)
    (folder / "evidence.bin").write_bytes(minted.evidence)
    for number, item in enumerate(minted.endorsements.items):
        (endorsements / f"{item.role}.{number}").write_bytes(item.data)
    roots = tuple(NamedRoot(vendor=vendor, sha256=root) for vendor, root in minted.roots.named)
    policy = msgspec.structs.replace(
        starter(family), name=policy_name, roots=tuple(sorted(roots, key=lambda item: item.sha256))
    )
    text = msgspec.json.format(write_json(policy), indent=2)
    (folder / "policy.json").write_bytes(text + b"\n")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def main(arguments: list[str] | None = None) -> int:
    """Mint one piece of evidence; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fake_vendor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("family", choices=[item.value for item in MINTS])
    parser.add_argument("--out", type=Path, required=True, help="the folder")
    parser.add_argument("--at", type=_moment, help="when, with a zone; now if absent")
    parser.add_argument("--policy-name", default="fake/vendor", help="fake/vendor if absent")
    parser.add_argument("--nonce", metavar="HEX", help="as evidence challenge says")
    parser.add_argument("--session-key", type=Path, metavar="FILE", help="public key")
    parser.add_argument("--model", metavar="sha256:HEX", help="manifest of the version")
    parser.add_argument("--gpu", metavar="HEX", help="evidence id of the GPUs")
    parser.add_argument("--context", metavar="HEX", help="digest of batch or boot")
    options = parser.parse_args(arguments)
    at = (options.at or datetime.now(UTC)).replace(microsecond=0)
    family = Family(options.family)
    try:
        binding = binding_of(
            options.nonce, options.session_key, options.model, options.gpu, options.context
        )
    except RegistryError as error:
        parser.error(str(error))
    write(MINTS[family](at, binding), family, options.out, options.policy_name)
    print(f"FAKE evidence of {family} is in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
