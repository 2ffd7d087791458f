"""``provreg verify``: judge a capsule, with no network and no server."""

from pathlib import Path

import click

from registry.cli.output import VERDICT_STATUS, json_option, show
from registry.cli.trust import known_logs, parse_log_key
from registry.config import ClientSettings
from registry.core import digest
from registry.core.capsule.container import MAX_CAPSULE_BYTES, Capsule
from registry.core.capsule.walk import appraise
from registry.core.profiles.recognise import candidates
from registry.core.verdict import overall


@click.command()
@click.argument("capsule", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--log-key", "own_key", metavar="VKEY|@FILE", help="The log's verifier key.")
@click.option(
    "--output",
    "answer",
    metavar="FILE|sha256:HEX",
    help="The output that the capsule must be about.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    capsule: Path,
    own_key: str | None,
    answer: str | None,
    as_json: bool,
) -> int:
    """Judge CAPSULE: which model version made the output, and can it be believed?

    Exit status: 0 valid, 1 invalid, 4 indeterminate.
    """
    with capsule.open("rb") as file:
        # One byte more than allowed, so that a file that is too long is refused, not cut.
        parsed = Capsule.parse(file.read(MAX_CAPSULE_BYTES + 1))
    chosen = ClientSettings.read(log_key=own_key or ctx.obj["log_key"])
    log_key = (
        parse_log_key(chosen.log_key)
        if chosen.log_key
        else known_logs(chosen.folder).of_origin(parsed.log.name)
    )
    report = appraise(parsed, log_key, None if answer is None else digests_of(answer))
    show(report, report.to_text().splitlines(), as_json=as_json)
    return VERDICT_STATUS[overall((*report.checks_then, *report.checks_now))]


def digests_of(answer: str) -> tuple[bytes, ...]:
    """The content digests that an output may have: of a file, or one that is given."""
    if answer.startswith("sha256:"):
        return (digest.parse(answer),)
    path = Path(answer)
    if not path.is_file():
        raise click.BadParameter(f"there is no file {answer}", param_hint="output")
    return candidates(path.read_bytes())
