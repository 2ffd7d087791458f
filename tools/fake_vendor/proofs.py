"""Writes another system's proof of an answer into a folder, as whoever caught it has it.

::

    python -m tools.fake_vendor.proofs near --out caught
    provreg import near caught $(cat caught.options)

makes a file for each part, named by what it is, and beside the folder the options that believe the
fake vendor and tell the nonce and the moment: without them the proof is of hardware of nobody.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from registry.core.encoding import time_text
from registry.core.foreign.proof import System
from tools.fake_vendor import aci, air, near, opengradient
from tools.fake_vendor import opengradient_settlement as settlement
from tools.fake_vendor.caught import NOON, Caught

_VENDORS: Final = {"Intel SGX": "intel-sgx", "AWS Nitro": "aws-nitro"}
"""A vendor → how the command line calls it."""


def _near() -> Caught:
    return near.mint(near.Spec(algorithms=("ecdsa", "ed25519")))


def _opengradient() -> Caught:
    """A response that is settled in a batch."""
    mine = opengradient.mint()
    batch = settlement.dump([settlement.proof_of(mine), settlement.another(1)])
    return settlement.settled(mine, batch, settlement.receipt(settlement.batch_event(batch)))


MINTS: Final[Mapping[System, Callable[[], Caught]]] = {
    System.ACI: aci.mint,
    System.AIR: air.mint,
    System.NEAR: _near,
    System.OPENGRADIENT: _opengradient,
}
"""System → one whole proof."""


def options_of(caught: Caught) -> list[str]:
    """What ``provreg import`` must be told to believe it."""
    told = ["--at", time_text(NOON)]
    for root in caught.policy.roots:
        told += ["--root", f"{_VENDORS[root.vendor]}={root.sha256}"]
    return told if caught.nonce is None else [*told, "--nonce", caught.nonce.hex()]


def write(caught: Caught, folder: Path) -> None:
    """Write every part, and the options beside the folder."""
    folder.mkdir(parents=True)
    for number, (role, data) in enumerate(caught.parts):
        (folder / f"{role}.{number}").write_bytes(data)
    for item in caught.endorsements.items:
        (folder / f"{item.role}.{item.sha256[:8]}").write_bytes(item.data)
    told = " ".join(options_of(caught))
    folder.with_name(f"{folder.name}.options").write_text(told + "\n", encoding="ascii")


def main(arguments: list[str] | None = None) -> int:
    """Mint one proof; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fake_vendor.proofs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("system", choices=[item.value for item in MINTS])
    parser.add_argument("--out", type=Path, required=True, help="the folder, which is made")
    options = parser.parse_args(arguments)
    if options.out.exists():
        parser.error(f"{options.out} is there already")
    write(MINTS[System(options.system)](), options.out)
    print(f"a FAKE proof of {options.system} is in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
