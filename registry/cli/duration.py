"""Options that are a number of seconds."""

import click

MAX_SECONDS = 366 * 86_400.0
"""Seconds that anybody can mean to wait."""


def seconds(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    """Refuse what is not more than 0, more than a year, or not a number."""
    # What is not a number is not less than another one either.
    if not 0 < value <= MAX_SECONDS:
        message = f"{value} is not more than 0 and at most {MAX_SECONDS:.0f} seconds"
        raise click.BadParameter(message)
    return value
