"""``provreg verify``: judge a capsule, with no network and no server."""

from pathlib import Path
from typing import Any

import click

from registry.cli.output import VERDICT_STATUS, json_option, show
from registry.cli.trust import known_origin, parse_log_key
from registry.config import ClientSettings
from registry.core import digest
from registry.core.capsule.container import MAX_CAPSULE_BYTES, Capsule
from registry.core.capsule.walk import appraise
from registry.core.profiles.recognise import candidates
from registry.core.verdict import overall
from registry.errors import LimitExceededError, Reason


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
    capsule: Path,
    own_key: str | None,
    answer: str | None,
    as_json: bool,  # noqa: FBT001 - click passes it
) -> int:
    """Judge CAPSULE: which model version made the output, and can it be believed?

    Exit status: 0 valid, 1 invalid, 4 indeterminate.
    """
    size = capsule.stat().st_size
    if size > MAX_CAPSULE_BYTES:
        raise LimitExceededError(
            Reason.MALFORMED_CAPSULE,
            "this file is too large for a capsule",
            where=str(capsule),
            expected=f"at most {MAX_CAPSULE_BYTES} bytes",
            actual=f"{size} bytes",
        )
    parsed = Capsule.parse(capsule.read_bytes())
    chosen = ClientSettings.read(log_key=own_key or ctx.obj["log_key"])
    if chosen.log_key:
        key = parse_log_key(chosen.log_key)
    else:
        key = known_origin(chosen.folder, parsed.log.name)
    report = appraise(parsed, key, None if answer is None else digests_of(answer))
    show(report, report.to_text().splitlines(), as_json=as_json)
    return VERDICT_STATUS[overall((*report.checks_then, *report.checks_now))]


def digests_of(answer: str) -> tuple[bytes, ...]:
    """The content digests that an output may have: of a file, or one that is given."""
    if answer.startswith("sha256:"):
        return (digest.parse(answer),)
    path = Path(answer)
    if not path.is_file():
        raise click.BadParameter(f"there is no file {answer}", param_hint="output")
    found: Any = candidates(path.read_bytes())
    return tuple(found)
