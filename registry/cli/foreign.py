"""``provreg import``: keep another system's proof of an output, and say what it is worth."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from registry.cli import endorsement_files
from registry.cli.connection import connect
from registry.cli.distrust_file import read_distrust
from registry.cli.evidence_verify import named_roots, root_option
from registry.cli.foreign_fetch import Fetching, fetch_options, gather
from registry.cli.foreign_text import next_step, proof_lines
from registry.cli.output import VERDICT_STATUS, json_option, show
from registry.cli.policy_file import read_policy
from registry.cli.signing import KEY_HELP, load_signer
from registry.client.foreign import Imported, import_proof
from registry.core import digest, encoding
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.policy import Policy
from registry.core.evidence.validity import appraised_at
from registry.core.foreign.captured import (
    MAX_NONCE_BYTES,
    MAX_PART_BYTES,
    Asked,
    Captured,
    PartRole,
)
from registry.core.foreign.systems import READERS, Examined, examine, system_of
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason, RefusedError

_BODIES = frozenset(PartRole) - {PartRole.SETTLEMENT}
"""What is never headers."""

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("system", type=click.Choice([item.value for item in READERS]))
@click.argument("files", nargs=-1, metavar="FILE|ROLE=FILE|DIR…")
@fetch_options
@click.option("--key", metavar="FILE|URI", help=f"{KEY_HELP} Without it nothing is sent.")
@click.option("--at", type=_TIME, help="The moment that counts (UTC); now if absent.")
@click.option("--fetched-at", type=_TIME, help="When you fetched it (UTC); --at if absent.")
@click.option("--policy", "policy_file", type=_FILE, help="What evidence must say; a starter else.")
@root_option
@click.option(
    "--distrust", "distrust_file", type=_FILE, help="As provreg distrust list --json prints it."
)
@click.option("--nonce", metavar="HEX", help="The nonce that you had sent.")
@click.option("--model", metavar="sha256:HEX", help="The hash that the model should have.")
@click.option(
    "--withhold",
    multiple=True,
    type=click.Choice([item.value for item in PartRole]),
    help="Check this part and keep it to yourself: only its digest is logged.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    system: str,
    files: tuple[str, ...],
    key: str | None,
    at: datetime | None,
    fetched_at: datetime | None,
    policy_file: Path | None,
    roots: tuple[str, ...],
    distrust_file: Path | None,
    nonce: str | None,
    model: str | None,
    withhold: tuple[str, ...],
    as_json: bool,
    **fetching: Any,
) -> int:
    r"""Check another system's proof of an output, and keep it with what it is worth.

    The name of a file says what it is: receipt, response, request, signature, report, keyset,
    session, key, evidence, settlement, transaction, or an endorsement such as intel-tcb-info; a
    folder is all its files. The bytes are kept as they are: save bodies as they came, without
    headers (curl -o), streams with their framing. What is invalid is not registered; what is open
    is.

    \b
    aci           receipt report [session…] [request] [response]
    air           receipt key evidence [request] [response]
    near          signature… report… [request] [response]
    opengradient  response [request] key evidence [settlement] [transaction]
                  or transaction alone, for an inference on the chain

    With --fetch a system is asked for what is missing, by the id in the response: its signatures,
    receipt, sessions, and evidence for a nonce of our own. Most have it for minutes only.

    Exit status: 0 valid, 1 invalid or refused, 3 unavailable, 4 indeterminate.
    """
    signer = None if key is None else load_signer(key)
    moment: datetime = ctx.obj["now"]() if at is None else at.replace(tzinfo=UTC)
    fetched = moment if fetched_at is None else fetched_at.replace(tzinfo=UTC)
    whose = system_of(system)
    told = None if nonce is None else _nonce(nonce)
    caught = gather(whose, _captured(files), told, Fetching(**fetching), moment)
    captured = caught.captured
    asked = Asked(
        at=moment,
        policy=None if policy_file is None else read_policy(policy_file),
        roots=named_roots(roots),
        nonce=caught.nonce,
        model=None if model is None else digest.parse(model),
        fetched_at=appraised_at(fetched),
        distrusted=() if distrust_file is None else read_distrust(distrust_file),
        withheld=frozenset(PartRole(item) for item in withhold),
    )
    examined = examine(whose, captured, asked)
    imported: Imported | None = None
    if signer is not None:
        _require_bearable(examined)
        with connect(ctx) as client:
            imported = import_proof(client, examined, _bytes(captured, examined.policy), signer)
    value = {**_value(examined, imported), **caught.value()}
    show(value, [*caught.lines(), *_lines(examined, imported)], as_json=as_json)
    return VERDICT_STATUS[examined.proof.verdict]


def _require_bearable(examined: Examined) -> None:
    if examined.proof.verdict is Verdict.INVALID:
        first = next(item for item in examined.proof.layers if item.verdict is Verdict.INVALID)
        raise RefusedError(
            Reason.PROOF_MISMATCH,
            "this proof is invalid, and was not registered",
            where=first.layer,
            actual=first.finding,
            hint="leave out --key to see every check",
        )


def _captured(given: tuple[str, ...]) -> Captured:
    parts: list[tuple[PartRole, bytes]] = []
    endorsements: list[tuple[Role, bytes]] = []
    for role, path in _files(given):
        with path.open("rb") as file:
            # One byte more than allowed, so that a file that is too long is refused, not cut.
            data = file.read(MAX_PART_BYTES + 1)
        if role in _BODIES and data.startswith(b"HTTP/"):
            raise MalformedError(
                Reason.FOREIGN_PART,
                "this begins with the headers of an answer, which nobody has signed",
                where=str(path),
                expected="the body alone, as it came",
                hint="save it with curl -o, without -i",
            )
        if isinstance(role, PartRole):
            parts.append((role, data))
        else:
            endorsements.append((role, data))
    return Captured.of(parts, Endorsements.of(endorsements))


def _files(given: tuple[str, ...]) -> Iterator[tuple[PartRole | Role, Path]]:
    known: dict[str, PartRole | Role] = {role.value: role for role in (*PartRole, *Role)}
    for text in given:
        name, equals, rest = text.partition("=")
        if equals and name in known:
            if not Path(rest).is_file():
                raise MalformedError(
                    Reason.BAD_SETTING, "there is no such file", where=rest, expected=f"a {name}"
                )
            yield known[name], Path(rest)
            continue
        path = Path(text)
        if not path.exists():
            raise MalformedError(
                Reason.BAD_SETTING,
                "there is no such file or folder",
                where=text,
                expected="a file named by its role, a folder of such, or ROLE=FILE",
            )
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            yield _role_of(file), file


def _role_of(path: Path) -> PartRole | Role:
    for role in PartRole:
        rest = path.name[len(role) :]
        if path.name.startswith(role) and (not rest or rest[0] in ".-_"):
            return role
    try:
        return endorsement_files.role_of(path)
    except MalformedError as error:
        error.expected = ", ".join((*PartRole, *Role))
        raise


def _nonce(text: str) -> bytes:
    if not 0 < len(text) <= 2 * MAX_NONCE_BYTES:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this is no nonce",
            where="--nonce",
            expected=f"up to {MAX_NONCE_BYTES} bytes in hexadecimal",
            actual=f"{len(text)} characters",
        )
    return encoding.hex_bytes(text, len(text) // 2)


def _bytes(captured: Captured, policy: Policy | None) -> list[bytes]:
    parts = [data for items in captured.parts.values() for data in items]
    parts += [item.data for item in captured.endorsements.items]
    return parts if policy is None else [*parts, encoding.write_json(policy)]


def _value(examined: Examined, imported: Imported | None) -> dict[str, object]:
    value: dict[str, object] = {
        "proof": examined.proof,
        "outputs": [digest.text(item) for item in examined.outputs],
        "next": next_step(examined.proof),
    }
    if imported is not None:
        value |= {
            "record_id": imported.record_id,
            "index": imported.receipt.index,
            "sent": imported.sent,
        }
    return value


def _lines(examined: Examined, imported: Imported | None) -> list[str]:
    lines = proof_lines(examined.proof)
    step = next_step(examined.proof)
    lines += [f"next: {step}"] if step else []
    if imported is None:
        return [*lines, "nothing was sent: give --key to keep it at a registry"]
    bodies = (PartRole.REQUEST, PartRole.RESPONSE)
    clear = [item.role for item in examined.proof.raw if item.role in bodies and not item.withheld]
    if clear:
        lines.append(f"kept in clear for who may read the registry: {', '.join(clear)}")
    return [
        *lines,
        f"record      {imported.record_id}",
        f"log entry   {imported.receipt.index}, proof checked; {imported.sent} blobs sent",
    ]
