"""How a node's key is attested, as options of the command line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from registry.cli.output import say
from registry.client.evidence import EvidenceCalls
from registry.client.registry import RegistryClient
from registry.core.capsule.facts import NO_VENDOR, TEST_ROOT
from registry.core.encoding import time_text
from registry.core.keys import PublicKey
from registry.errors import MalformedError, Reason, UnsupportedError
from registry.shim.app import keep_attested
from registry.shim.attestation import Attested, Attesting, Device, KeyAttestation
from registry.shim.attester.choice import find_device, open_attester
from registry.shim.release import PinnedRelease


@dataclass(frozen=True, slots=True)
class Attest:
    """What the options say.

    Attributes:
        mode: ``off``, ``auto`` or ``required``.
        attester: Where the device is; empty for that of this host.
        policy: By which appraisal policy its evidence is judged.
        gpu_attester: Where the GPUs are; empty if they are not asked.
        gpu_policy: By which appraisal policy theirs is judged.
    """

    mode: str
    attester: str
    policy: str
    gpu_attester: str
    gpu_policy: str


def attest_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options, as one argument ``attest``."""

    @click.option(
        "--attest",
        "attest_mode",
        type=click.Choice(["off", "auto", "required"]),
        default="off",
        show_default=True,
        help="Have this node's key attested: auto goes on without, and its outputs are then "
        "unattested; required refuses every call while no result is in force.",
    )
    @click.option(
        "--attester",
        default="",
        metavar="ADDRESS",
        help="The device: tsm:, nsm:, azure:, agent:http://127.0.0.1:PORT or agent:unix:/PATH. "
        "That of this host if absent.",
    )
    @click.option(
        "--attest-policy", default="", metavar="NAME|sha256:HEX", help="See: provreg policy list."
    )
    @click.option(
        "--gpu-attester",
        default="",
        metavar="ADDRESS",
        help="The GPUs, which are asked first: nvml: or agent:….",
    )
    @click.option("--gpu-policy", default="", metavar="NAME|sha256:HEX")
    @wraps(command)
    def wrapped(
        *args: Any,
        attest_mode: str,
        attester: str,
        attest_policy: str,
        gpu_attester: str,
        gpu_policy: str,
        **more: Any,
    ) -> Any:
        attest = Attest(attest_mode, attester, attest_policy, gpu_attester, gpu_policy)
        return command(*args, attest=attest, **more)

    return wrapped


@contextmanager
def attesting(
    attest: Attest, client: RegistryClient, key: PublicKey, release: PinnedRelease
) -> Iterator[KeyAttestation | None]:
    """Keep the key attested while the block runs, if that is wanted and there is a device.

    Raises:
        MalformedError: ``BAD_SETTING``.
        UnsupportedError: ``ATTESTER_ABSENT`` if it is required and this host has no device.
        UnavailableError: ``MISSING_EXTRA``.
    """
    chosen = _chosen(attest, client)
    if chosen is None:
        yield None
        return
    with keep_attested(chosen, key, release) as attestation:
        status = attestation.status()
        if status.newest is None:
            say(f"UNATTESTED so far, and asked again until it is: {status.failed}")
        attestation.follow(_tell)
        yield attestation


def _chosen(attest: Attest, client: RegistryClient) -> Attesting | None:
    named = (attest.attester, attest.policy, attest.gpu_attester, attest.gpu_policy)
    if attest.mode == "off":
        if any(named):
            raise _bad("what attests is named, and --attest is off", "--attest auto or required")
        return None
    if bool(attest.gpu_attester) != bool(attest.gpu_policy):
        raise _bad("GPUs want both an attester and a policy", "--gpu-attester and --gpu-policy")
    address = attest.attester or find_device()
    if not address:
        if attest.mode == "required" or attest.gpu_attester:
            raise UnsupportedError(
                Reason.ATTESTER_ABSENT,
                "this host has no device that attests it",
                expected="configfs-tsm (Intel TDX, AMD SEV-SNP) or a Nitro security module",
                hint="name another with --attester",
            )
        say("this host has no device that attests it: outputs will be UNATTESTED")
        return None
    if not attest.policy:
        raise _bad("evidence is judged by a policy", "--attest-policy NAME")
    gpus = None
    if attest.gpu_attester:
        gpus = Device(open_attester(attest.gpu_attester), attest.gpu_policy)
    return Attesting(
        EvidenceCalls(client),
        Device(open_attester(address), attest.policy),
        gpus,
        required=attest.mode == "required",
    )


def _tell(attested: Attested) -> None:
    say(
        f"attested by entry {attested.index} until {time_text(attested.expires_at)}, "
        f"evidence {attested.evidence_id.hex()}"
    )
    if attested.configured_roots:
        say(f"  {NO_VENDOR}: {TEST_ROOT}")


def _bad(what: str, expected: str) -> MalformedError:
    return MalformedError(Reason.BAD_SETTING, what, expected=expected)
