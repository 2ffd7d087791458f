"""``--policy``: which witnesses must have cosigned what is believed."""

from pathlib import Path

import click

from registry.core.tlog.policy import MAX_POLICY_BYTES, Policy

policy_option = click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Who must have cosigned the checkpoint: a C2SP tlog-policy.",
)
"""``--policy``, on commands that judge a checkpoint."""


def read_policy(path: Path | None) -> Policy | None:
    """The policy in a file; None without one.

    Raises:
        MalformedError: What is wrong with it.
        OSError: It cannot be read.
    """
    if path is None:
        return None
    with path.open("rb") as file:
        # One byte more than allowed, so that a file that is too long is refused, not cut.
        return Policy.parse(file.read(MAX_POLICY_BYTES + 1))
