"""``provreg verify``: judge a capsule, with no network and no server."""

from pathlib import Path

import click

from registry.cli.output import VERDICT_STATUS, json_option, say, show
from registry.cli.trust import known_logs, parse_log_key
from registry.cli.witness_policy import policy_option, read_policy
from registry.config import ClientSettings
from registry.core import digest
from registry.core.capsule.bound import LEVELS
from registry.core.capsule.container import MAX_CAPSULE_BYTES, Capsule
from registry.core.capsule.walk import appraise
from registry.core.profiles.recognise import candidates
from registry.core.tlog.note import ED25519, VerifierKey
from registry.core.tlog.policy import Policy
from registry.core.verdict import overall
from registry.signing.timestamping import read_chain

tsa_chain_option = click.option(
    "--tsa-chain",
    "tsa_chains",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="PEM chain of a timestamp authority to believe, its own certificate first. "
    "[PROVREG_TSA_CHAIN]",
)

require_attestation_option = click.option(
    "--require-attestation",
    is_flag=True,
    help="Refuse an output whose node was not attested when it made it.",
)

require_level_option = click.option(
    "--require-level",
    type=click.IntRange(*LEVELS),
    metavar="1..4",
    help="Refuse an output that is bound to its model less strongly: 1 the node's word, 2 the "
    "version's files compared, 3 attested, 4 run again.",
)


@click.command()
@click.argument("capsule", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--log-key", "own_key", metavar="VKEY|@FILE", help="The log's verifier key.")
@click.option(
    "--output",
    "answer",
    metavar="FILE|sha256:HEX",
    help="The output that the capsule must be about.",
)
@policy_option
@tsa_chain_option
@require_attestation_option
@require_level_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    capsule: Path,
    own_key: str | None,
    answer: str | None,
    policy_file: Path | None,
    tsa_chains: tuple[Path, ...],
    require_attestation: bool,
    require_level: int | None,
    as_json: bool,
) -> int:
    """Judge CAPSULE: which model version made the output, and can it be believed?

    With a policy, its witnesses must have cosigned the log as it is shown here; a log that it
    names needs no other --log-key.

    Exit status: 0 valid, 1 invalid, 4 indeterminate.
    """
    with capsule.open("rb") as file:
        # One byte more than allowed, so that a file that is too long is refused, not cut.
        parsed = Capsule.parse(file.read(MAX_CAPSULE_BYTES + 1))
    policy = read_policy(policy_file)
    chains = ClientSettings.read(tsa_chains=tsa_chains).tsa_chains
    report = appraise(
        parsed,
        _log_key(ctx, parsed.log.name, own_key, policy),
        None if answer is None else digests_of(answer),
        policy,
        [read_chain(each) for each in chains],
        demand_attestation=require_attestation,
        demand_level=require_level or 0,
    )
    show(report, report.to_text().splitlines(), as_json=as_json)
    if parsed.stamped is not None and not chains:
        say("The log was stamped: with --tsa-chain this says by when the output existed.")
    return VERDICT_STATUS[overall((*report.checks_then, *report.checks_now))]


def _log_key(
    ctx: click.Context, origin: str, own_key: str | None, policy: Policy | None
) -> VerifierKey | None:
    """The key to insist on: that which was given, is in the policy, or was met before."""
    chosen = ClientSettings.read(log_key=own_key or ctx.obj["log_key"])
    if chosen.log_key:
        return parse_log_key(chosen.log_key)
    named = () if policy is None else policy.keys_of(origin)
    for key in named:
        if key.kind == ED25519:
            return key
    return known_logs(chosen.folder).of_origin(origin)


def digests_of(answer: str) -> tuple[bytes, ...]:
    """The content digests that an output may have: of a file, or one that is given."""
    if answer.startswith("sha256:"):
        return (digest.parse(answer),)
    path = Path(answer)
    if not path.is_file():
        raise click.BadParameter(f"there is no file {answer}", param_hint="output")
    return candidates(path.read_bytes())
