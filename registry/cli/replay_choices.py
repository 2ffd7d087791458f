"""How a call is run again, as options of the command line."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, Final

import click
import msgspec

from registry.cli.duration import seconds
from registry.client.closeness import DEFAULT_TOLERANCE
from registry.client.replay import Choices
from registry.core.records.replay import Tolerance
from registry.errors import MalformedError, Reason
from registry.inspection.rerun import MEMORY_BYTES, TIME_LIMIT, Limits
from registry.inspection.session import OPT_LEVELS

_MIB: Final = 1024 * 1024


def choice_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options, as one argument ``choices``."""

    @click.option("--model-file", help="Which file of the version ran, if it has several.")
    @click.option("--opt-level", type=click.Choice(OPT_LEVELS), help="Instead of the recorded one.")
    @click.option("--threads", type=click.IntRange(min=0), help="Instead of the recorded ones.")
    @click.option(
        "--abs-tolerance",
        default=DEFAULT_TOLERANCE.abs,
        show_default=True,
        help="How far apart two numbers may be, in the unit of the output,",
    )
    @click.option(
        "--rel-tolerance",
        default=DEFAULT_TOLERANCE.rel,
        show_default=True,
        help="or by which part of the larger of the two.",
    )
    @click.option("--any-top1", is_flag=True, help="Let another element of a row be the largest.")
    @click.option(
        "--timeout",
        type=float,
        callback=seconds,
        default=TIME_LIMIT.total_seconds(),
        show_default=True,
        metavar="SECONDS",
        help="How long the run may take.",
    )
    @click.option(
        "--memory",
        type=click.IntRange(min=1),
        default=MEMORY_BYTES // _MIB,
        show_default=True,
        metavar="MIB",
        help="How much memory it may have, beside three copies of the model.",
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        model_file: str | None,
        opt_level: str | None,
        threads: int | None,
        abs_tolerance: str,
        rel_tolerance: str,
        any_top1: bool,
        timeout: float,
        memory: int,
        **more: Any,
    ) -> Any:
        choices = Choices(
            model_file,
            opt_level,
            threads,
            _tolerance(abs_tolerance, rel_tolerance, top1=not any_top1),
            Limits(timedelta(seconds=timeout), memory * _MIB),
        )
        return command(*args, choices=choices, **more)

    return wrapped


def _tolerance(abs_: str, rel: str, *, top1: bool) -> Tolerance:
    try:
        return msgspec.convert({"abs": abs_, "rel": rel, "top1": top1}, Tolerance)
    except msgspec.ValidationError as error:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this is no tolerance",
            where="--abs-tolerance, --rel-tolerance",
            expected="a decimal number from 0 on, such as 0.00001",
            actual=f"{abs_[:40]}, {rel[:40]}",
        ) from error
