"""``provreg attribution``: say which datasets a model version owes how much to."""

from typing import Any, get_args

import click

from registry.cli.connection import connect
from registry.cli.dataset import share_of
from registry.cli.output import json_option, show
from registry.cli.signing import key_option, load_signer
from registry.client.data import register_attribution
from registry.core.records.attribution import Method
from registry.core.records.names import split_reference


@click.group()
def command() -> None:
    """Say which datasets a model version owes how much to."""


@command.command()
@click.option("--model", required=True, metavar="acme/x@1.2.0")
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    required=True,
    metavar="acme/corpus@1=SHARE",
    help="A dataset and its part; the whole is the sum of all shares.",
)
@click.option(
    "--method", type=click.Choice(get_args(Method)), default="declared", show_default=True
)
@click.option("--note", default="")
@key_option
@json_option
@click.pass_context
def register(
    ctx: click.Context,
    *,
    model: str,
    datasets: tuple[str, ...],
    method: Any,
    note: str,
    key: str,
    as_json: bool,
) -> None:
    """Register an attribution: a signed estimate, not a proof."""
    split_reference(model)
    signer = load_signer(key)
    shares: dict[str, int] = {}
    for given in datasets:
        reference, _, share = given.rpartition("=")
        if reference in shares:
            raise click.BadParameter(f"{reference} is named twice", param_hint="--dataset")
        shares[reference] = share_of(share)
    with connect(ctx) as client:
        done = register_attribution(
            client, model, shares, signer, ctx.obj["now"](), method=method, note=note
        )
    show(
        {"model": model, "record_id": done.record_id, "index": done.receipt.index},
        [
            f"registered  {model} owes to {len(shares)} datasets",
            f"record      {done.record_id}",
            f"log entry   {done.receipt.index}, proof checked",
        ],
        as_json=as_json,
    )
