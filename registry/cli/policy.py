"""``provreg policy``: say what evidence must say."""

import click

from registry.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "starter": ("registry.cli.policy_file:starter", "Print a policy to begin with."),
        "check": ("registry.cli.policy_file:check_policy", "Check a policy in a file, offline."),
        "register": ("registry.cli.policy_service:register", "Register a policy."),
        "show": ("registry.cli.policy_service:show_one", "Print a policy that is registered."),
        "list": ("registry.cli.policy_service:list_all", "List all policies."),
    },
)
def command() -> None:
    """Say what evidence must say."""
