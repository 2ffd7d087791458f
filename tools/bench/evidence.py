"""Appraisal of evidence: so many documents, quotes and reports a second on one core.

What comes again is cached by its bytes: intermediate certificates, lists, endorsements. The leaf
certificate and the signature of a document are verified each time, since a registry sees each but
once. Times of the processor are told beside those of the clock: on a
machine that others use, they say more.

``python -m tools.bench.evidence [family … | server]``
"""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from registry.core.evidence.appraisal import appraise
from registry.core.evidence.claims import Family
from registry.core.evidence.policy import Policy
from registry.core.evidence.rules import Rules
from registry.core.verdict import Verdict
from tools.bench.meanwhile import meanwhile
from tools.bench.world import machine

ROUNDS: Final = 3


def measure(name: str, promised: float, count: int, act: Callable[[int], None]) -> bool:
    """Run ``act`` so many times in each round; whether the best round keeps the promise."""
    rates = []
    for _ in range(ROUNDS):
        clock, processor = time.perf_counter(), time.process_time()
        for number in range(count):
            act(number)
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
        rates.append((count / processor, count / clock))
    best = max(rates)
    kept = best[0] >= promised
    said = "kept" if kept else "BROKEN"
    print(f"{name:32} {best[0]:8.0f}/s of a core {best[1]:8.0f}/s by the clock", end="")
    print(f"   promised {promised:g}: {said}")
    return kept


def _skipping(rules: Rules) -> Policy:
    return Policy(name="bench", family=rules.family, skip=tuple(rules.references))


def nitro() -> bool:
    """AWS Nitro: documents with revocation lists; instance and authorities known, or not."""
    from registry.core.evidence import crl  # noqa: PLC0415 - one family at a time
    from registry.core.evidence.nitro import chain  # noqa: PLC0415
    from registry.core.evidence.nitro.rules import RULES  # noqa: PLC0415
    from tools.fake_vendor.nitro import NOON, Spec, mint  # noqa: PLC0415

    minted = [mint(Spec(user_data=number.to_bytes(64, "big"))) for number in range(200)]
    policy = _skipping(RULES)

    def act(number: int) -> None:
        one = minted[number]
        examination = RULES.examine(one.evidence, one.endorsements, NOON, one.roots)
        if appraise(examination, policy, RULES).verdict is not Verdict.VALID:
            message = "a good document was refused"
            raise AssertionError(message)

    def afresh(number: int) -> None:
        for room in (chain, crl):
            for value in vars(room).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
        act(number)

    kept = measure("nitro document, instance known", 180, len(minted), act)
    return measure("nitro document, nothing known", 180, len(minted), afresh) and kept


def intel() -> bool:
    """Intel TDX: quotes of many trust domains, whose platforms and collateral come again."""
    from registry.core.evidence.intel.rules import RULES  # noqa: PLC0415 - one family at a time
    from tools.fake_vendor.intel import NOON, Spec, mint  # noqa: PLC0415

    minted = [mint(Spec(report_data=number.to_bytes(64, "big"))) for number in range(400)]
    policy = _skipping(RULES)

    def act(number: int) -> None:
        one = minted[number]
        examination = RULES.examine(one.evidence, one.endorsements, NOON, one.roots)
        if appraise(examination, policy, RULES).verdict is not Verdict.VALID:
            message = "a good quote was refused"
            raise AssertionError(message)

    def afresh(number: int) -> None:
        read_pem.cache_clear()
        read_chain.cache_clear()
        read_platform.cache_clear()
        act(number)

    from registry.core.evidence.intel.certificate import (  # noqa: PLC0415
        read_chain,
        read_pem,
    )
    from registry.core.evidence.intel.platform import read_platform  # noqa: PLC0415

    kept = measure("intel quote, platform known", 200, len(minted), act)
    return measure("intel quote, platform new", 200, len(minted), afresh) and kept


def snp() -> bool:
    """AMD SEV-SNP: reports of one chip, whose certificates come again, and of chips never seen."""
    from registry.core.evidence.sev_snp import certificate, chain  # noqa: PLC0415 - one at a time
    from registry.core.evidence.sev_snp.rules import RULES  # noqa: PLC0415
    from tools.fake_vendor.amd import NOON, Spec, mint, roots  # noqa: PLC0415

    minted = [mint(Spec(report_data=number.to_bytes(64, "big"))) for number in range(600)]
    policy, named = _skipping(RULES), roots()

    def act(number: int) -> None:
        one = minted[number]
        examination = RULES.examine(one.evidence, one.endorsements, NOON, named)
        if appraise(examination, policy, RULES).verdict is not Verdict.VALID:
            message = "a good report was refused"
            raise AssertionError(message)

    def afresh(number: int) -> None:
        for room in (certificate, chain):
            for value in vars(room).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
        act(number)

    kept = measure("AMD report, chain known", 700, len(minted), act)
    return measure("AMD report, nothing known", 100, len(minted), afresh) and kept


def azure() -> bool:
    """Azure: submissions of one virtual machine on AMD, each with a quote of its own."""
    from registry.core.evidence.azure.rules import SNP_RULES as RULES  # noqa: PLC0415 - as above
    from tools.fake_vendor.azure import NOON, Spec, mint  # noqa: PLC0415

    minted = [mint(Spec(nonce=number.to_bytes(32, "big"))) for number in range(300)]
    policy = _skipping(RULES)

    def act(number: int) -> None:
        one = minted[number]
        examination = RULES.examine(one.evidence, one.endorsements, NOON, one.roots)
        if appraise(examination, policy, RULES).verdict is not Verdict.VALID:
            message = "a good submission was refused"
            raise AssertionError(message)

    return measure("Azure submission, chain known", 100, len(minted), act)


def nvidia() -> bool:
    """NVIDIA GPUs: each seen for the first time; manifests and authorities known, and not."""
    from registry.core.evidence.endorsements import Endorsements  # noqa: PLC0415 - one at a time
    from registry.core.evidence.nvidia import chain, ocsp, rim  # noqa: PLC0415
    from registry.core.evidence.nvidia.rules import DEVICE_RULES as RULES  # noqa: PLC0415
    from tools.fake_vendor.nvidia import Spec, mint  # noqa: PLC0415
    from tools.fake_vendor.nvidia_ocsp import NOON  # noqa: PLC0415

    count = 60
    minted = [mint(Spec(number=number)) for number in range(2 * ROUNDS * count)]
    # No device comes twice: what is remembered of one must not speed up the next round.
    bare, full = iter(minted), iter(reversed(minted))
    policy = _skipping(RULES)

    def report(_: int) -> None:
        one = next(bare)
        examination = RULES.examine(one.evidence, Endorsements(), NOON, one.roots)
        passed = {item.check for item in examination.checks if item.outcome == "pass"}
        if not passed >= {"G1", "G2", "G3", "G4"}:
            message = "a good report was refused"
            raise AssertionError(message)

    def whole(_: int) -> None:
        one = next(full)
        examination = RULES.examine(one.evidence, one.endorsements, NOON, one.roots)
        if appraise(examination, policy, RULES).verdict is not Verdict.VALID:
            message = "good evidence was refused"
            raise AssertionError(message)

    def unknown(number: int) -> None:
        for room in (chain, ocsp, rim):
            for value in vars(room).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
        one = minted[number]
        examination = RULES.examine(one.evidence, one.endorsements, NOON, one.roots)
        if appraise(examination, policy, RULES).verdict is not Verdict.VALID:
            message = "good evidence was refused"
            raise AssertionError(message)

    kept = [
        measure("NVIDIA report and chain", 200, count, report),
        measure("NVIDIA GPU, manifests known", 20, count, whole),
        measure("NVIDIA GPU, nothing known", 20, count, unknown),
    ]
    return all(kept)


FAMILIES: Final[Mapping[str, Callable[[], bool]]] = {
    Family.NVIDIA_SPDM: nvidia,
    Family.AWS_NITRO: nitro,
    Family.INTEL_DCAP: intel,
    Family.AMD_SNP: snp,
    Family.AZURE_SNP_VTPM: azure,
    "server": meanwhile,
}
"""Each family, and what measures it; and the server, which takes statements meanwhile."""


def main() -> int:
    """Measure the families that are named, or all of them; 1 if a promise is broken."""
    print(machine())
    chosen = sys.argv[1:] or list(FAMILIES)
    kept = [FAMILIES[name]() for name in chosen]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
