"""``provreg attribution``: say which datasets a model version owes how much to."""

from pathlib import Path
from typing import Any

import click

from registry.cli.connection import connect
from registry.cli.output import json_option, show
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.digest import text as digest_text
from registry.core.encoding import time_text
from registry.core.records import attribution, dataset
from registry.core.records.attribution import Attribution, DatasetShare
from registry.core.records.names import split_reference
from registry.signing.file import StatementSigner

_METHODS = (
    "declared",
    "token_count",
    "exact_ngram",
    "trak",
    "influence_ekfac",
    "tracin",
    "loo",
    "group_shapley",
    "retrieval",
)


@click.group()
def command() -> None:
    """Say which datasets a model version owes how much to."""


def _share(given: str) -> tuple[str, str, int]:
    reference, found, share = given.rpartition("=")
    if not found or not share.isascii() or not share.isdigit() or int(share[:16]) < 1:
        raise click.BadParameter(f"{given!r} is not NAME@VERSION=SHARE", param_hint="--dataset")
    return (*split_reference(reference), int(share))


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
@click.option("--method", type=click.Choice(_METHODS), default="declared", show_default=True)
@click.option("--note", default="")
@click.option("--key", required=True, type=click.Path(path_type=Path), help="Your private key.")
@json_option
@click.pass_context
def register(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    model: str,
    datasets: tuple[str, ...],
    method: Any,
    note: str,
    key: Path,
    as_json: bool,  # noqa: FBT001 - click passes it
) -> None:
    """Register an attribution: a signed estimate, not a proof."""
    name, version = split_reference(model)
    signer = StatementSigner.load(key)
    with connect(ctx) as client:
        known = client.release(name, version)
        shares = tuple(
            sorted(
                (
                    DatasetShare(
                        dataset=client.find_version(
                            dataset.PREDICATE_TYPE, dataset_name, dataset_version
                        ).record_id,
                        share=share,
                    )
                    for dataset_name, dataset_version, share in map(_share, datasets)
                ),
                key=lambda item: item.dataset,
            )
        )
        said = Attribution(
            release=known.logged.record_id,
            name=name,
            version=version,
            scope="model",
            method=method,
            datasets=shares,
            issued_at=time_text(ctx.obj["now"]()),
            note=note,
        )
        subject = Subject.named(model, known.version_id)
        attribution.validate((subject,), said)
        envelope = signer.sign(
            Statement(
                type_=STATEMENT_TYPE,
                predicate=said,
                predicate_type=attribution.PREDICATE_TYPE,
                subject=(subject,),
            )
        )
        receipt = client.register(envelope, signer.public_key)
    record_id = digest_text(envelope.record_id)
    show(
        {"model": model, "record_id": record_id, "index": receipt.index},
        [
            f"registered  {model} owes to {len(shares)} datasets",
            f"record      {record_id}",
            f"log entry   {receipt.index}, proof checked",
        ],
        as_json=as_json,
    )
