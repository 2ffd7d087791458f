"""Evidence at a registry: get a nonce, submit, show results, and have all judged again."""

import re
from pathlib import Path

import click

from registry.cli.bound import about_options, binding_of, read_key
from registry.cli.connection import connect
from registry.cli.endorsement_files import endorsements_option, read_endorsements
from registry.cli.evidence_text import environment_lines, next_step
from registry.cli.output import VERDICT_STATUS, json_option, show
from registry.client.evidence import Change, EvidenceCalls, result_of
from registry.client.statements import LoggedStatement
from registry.core import digest
from registry.core.encoding import hex_bytes, time_text
from registry.core.evidence.binding import NONCE_BYTES
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES, Family
from registry.core.evidence.effect import Effect
from registry.core.evidence.recognise import recognise, unwrap
from registry.core.keys import PublicKey
from registry.errors import MalformedError, Reason, RegistryError

_KEY_ID = re.compile("[0-9a-f]{64}")
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@about_options
@json_option
@click.pass_context
def challenge(
    ctx: click.Context,
    *,
    session_key: Path | None,
    model: str | None,
    gpu: str | None,
    context: str | None,
    as_json: bool,
) -> None:
    """Get a nonce that is good once, and what a device must commit to with it.

    Ask GPUs first, with their nonce, and submit their evidence; then ask the CPU, with --gpu.
    """
    with connect(ctx) as client:
        issued = EvidenceCalls(client).challenge(read_key(session_key))
    binding = binding_of(issued.nonce.hex(), session_key, model, gpu, context)
    value = {
        "nonce": issued.nonce.hex(),
        "expires_at": time_text(issued.expires_at),
        "report_data": binding.report_data().hex(),
        "tpm_nonce": binding.tpm_nonce().hex(),
        "gpu_nonce": binding.gpu_nonce().hex(),
    }
    show(
        value,
        [f"{name.replace('_', ' '):12}{text}" for name, text in value.items()],
        as_json=as_json,
    )


@click.command()
@click.argument("file", type=_FILE)
@click.option("--nonce", required=True, metavar="HEX", help="As evidence challenge said.")
@click.option("--policy", required=True, metavar="NAME|sha256:HEX", help="See policy list.")
@click.option("--family", type=click.Choice([item.value for item in Family]))
@about_options
@endorsements_option
@json_option
@click.pass_context
def submit(
    ctx: click.Context,
    *,
    file: Path,
    nonce: str,
    policy: str,
    family: str | None,
    session_key: Path | None,
    model: str | None,
    gpu: str | None,
    context: str | None,
    endorsements: tuple[str, ...],
    as_json: bool,
) -> int:
    """Have the evidence in FILE judged by a policy, archived and logged.

    Whatever comes of it is logged; the exit status is that of the verdict: 0 valid, 1 invalid, 4
    indeterminate.
    """
    with file.open("rb") as opened:
        evidence = unwrap(opened.read(3 * MAX_EVIDENCE_BYTES))
    known = Family(family) if family else recognise(evidence, ctx.obj["now"]()).family
    binding = binding_of(nonce, session_key, model, gpu, context)
    given = [(item.role, item.data) for item in read_endorsements(endorsements).items]
    with connect(ctx) as client:
        logged = EvidenceCalls(client).submit(known, evidence, binding, policy, given)
    show(_value(logged), _lines(logged), as_json=as_json)
    return VERDICT_STATUS[result_of(logged).submods[known].verdict]


@click.command("show")
@click.argument("evidence", required=False, metavar="[EVIDENCE_ID]")
@click.option("--key", "key", metavar="FILE|KEY_ID", help="Results that attest this session key.")
@click.option("--record", metavar="sha256:HEX", help="The one result of this name.")
@click.option("--verifier", metavar="NAME VERSION", help="Results that this verifier made.")
@click.option("--redo", is_flag=True, help="Fetch what each rests on, and judge again, here.")
@json_option
@click.pass_context
def show_results(
    ctx: click.Context,
    *,
    evidence: str | None,
    key: str | None,
    record: str | None,
    verifier: str | None,
    redo: bool,
    as_json: bool,
) -> None:
    """Show all results about some evidence, newest last."""
    if sum(item is not None for item in (evidence, key, record, verifier)) != 1:
        message = "say EVIDENCE_ID, --key, --record or --verifier"
        raise click.UsageError(message)
    with connect(ctx) as client:
        calls = EvidenceCalls(client)
        found = calls.results(
            evidence_id=b"" if evidence is None else hex_bytes(evidence, NONCE_BYTES),
            key_id="" if key is None else _key_id(key),
            record_id=b"" if record is None else digest.parse(record),
            verifier=verifier or "",
        )
        if redo:
            for item in found:
                calls.redo(item)
    lines = [line for item in found for line in _lines(item)]
    if redo:
        lines.append(f"judged again here: {len(found)} of {len(found)} come to the same")
    show([_value(item) for item in found], lines, as_json=as_json)


@click.command()
@click.argument("evidence", required=False, metavar="[EVIDENCE_ID]")
@click.option("--all", "everything", is_flag=True, help="All evidence that ever was submitted.")
@json_option
@click.pass_context
def reappraise(
    ctx: click.Context, *, evidence: str | None, everything: bool, as_json: bool
) -> None:
    """Judge known evidence as of now, and say which nodes, versions and outputs that changes.

    Each piece gets one more result in the log; none is edited. What changed because something else
    is known comes first; evidence whose endorsements merely ran out since is listed after it.
    """
    if everything == (evidence is not None):
        message = "say EVIDENCE_ID or --all"
        raise click.UsageError(message)
    name = b"" if evidence is None else hex_bytes(evidence, NONCE_BYTES)
    changes: list[Change] = []
    failure: RegistryError | None = None
    try:
        with connect(ctx) as client:
            # They come once: asked again, the registry says that nothing has changed.
            changes.extend(EvidenceCalls(client).reappraise(name))
    except RegistryError as error:
        if not changes:
            raise
        failure = error
    lines = []
    counts = [f"{len(changes)} judged again"]
    for effect, words in _EFFECTS.items():
        found = [item for item in changes if item.effect is effect]
        lines += [line for item in found for line in _change_lines(item, words)]
        counts.append(f"{len(found)} {words}")
    lines.append(", ".join(counts))
    show([_change_value(item) for item in changes], lines, as_json=as_json)
    if failure is not None:
        raise failure


_EFFECTS = {
    Effect.CHANGED: "changed",
    Effect.EXPIRED: "expired since",
    Effect.RENEWED: "renewed",
}
"""What is told of a change, in the order in which it is told."""


def _key_id(key: str) -> str:
    path = Path(key)
    if not path.is_file():
        if not _KEY_ID.fullmatch(key):
            raise MalformedError(
                Reason.BAD_SETTING,
                "this is neither a file nor the id of a key",
                where="--key",
                expected="64 lowercase hexadecimal digits, as provreg key show prints them",
                actual=key[:200],
            )
        return key
    der = read_key(path)
    return "" if der is None else PublicKey.parse(der).key_id


def _value(logged: LoggedStatement) -> dict[str, object]:
    return {
        "result": result_of(logged),
        "record_id": logged.record_id,
        "index": logged.index,
    }


def _lines(logged: LoggedStatement) -> list[str]:
    said = result_of(logged)
    lines: list[str] = []
    for family, environment in said.submods.items():
        lines += environment_lines(said, family, environment)
        step = next_step(environment.checks, at_registry=True)
        lines += [f"  next: {step}"] if step else []
    return [*lines, f"  record      {logged.record_id} (entry {logged.index})"]


def _change_value(change: Change) -> dict[str, object]:
    return {
        "evidence_id": change.evidence_id.hex(),
        "before": change.before,
        "now": change.now,
        "effect": change.effect,
        "principal": change.principal,
        "key_id": change.key_id,
        "versions": change.versions,
        "record_id": change.logged.record_id,
        "batches": [
            {
                "index": item.index,
                "shim_id": item.shim_id.hex(),
                "n_first": item.n_first,
                "n_last": item.n_last,
                "outputs": item.outputs,
            }
            for item in change.batches
        ],
    }


def _change_lines(change: Change, words: str) -> list[str]:
    lines = [
        f"{change.evidence_id.hex()}: {change.before} before, {change.now} now: {words}",
        f"  node        {change.principal or 'none'}",
        f"  key         {change.key_id or 'none'}",
    ]
    lines += [f"  version     {version}" for version in change.versions]
    lines += [
        f"  batch       entry {item.index}, records {item.n_first} to {item.n_last} of shim "
        f"{item.shim_id.hex()}: {item.outputs} outputs"
        for item in change.batches
        if item.outputs
    ]
    silent = sum(not item.outputs for item in change.batches)
    lines += [f"  batches     {silent} more, with no output"] if silent else []
    found = [item for each in result_of(change.logged).submods.values() for item in each.checks]
    because = [f"{item.check} {item.finding}" for item in found if item.outcome == "fail"]
    return [*lines, f"  because     {', '.join(because) or 'nothing fails any more'}"]
