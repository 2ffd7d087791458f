"""``provreg payload replay``: run calls again whose callers asked for it, beside their shim.

Which calls wait for a replay stands in the shim's folder, and so does what they said, sealed, if
its privacy policy keeps it. Both are only read. The result is an auditor's statement like that of
``provreg replay``, and the shim finds it in the registry; whoever does not believe this auditor has
the calls replayed by another one.
"""

import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from registry.cli.connection import connect
from registry.cli.output import INDETERMINATE, REFUSED, VERIFIED, complain, json_option, say, show
from registry.cli.receipt import folder_option, named_receipt
from registry.cli.replay import STATUS, Answer, log_replay
from registry.cli.replay_choices import choice_options
from registry.cli.signing import KEY_HELP, load_signer
from registry.client import replay
from registry.client.registry import RegistryClient
from registry.client.replay import Brought, Choices
from registry.client.replays import ReplayCalls
from registry.core import encoding
from registry.core.encoding import Value
from registry.core.records.disclosure import Disclosure
from registry.core.records.replay import spelled
from registry.errors import (
    ForbiddenError,
    NotFoundError,
    Reason,
    RegistryError,
    UnauthenticatedError,
    UnavailableError,
)
from registry.inspection.session import require_engine
from registry.shim.privacy.sealed_payload import Opened
from registry.shim.privacy.vault import FOLDER, Vault
from registry.shim.recorder.awaited_folder import AWAITED, AwaitedFolder
from registry.shim.recorder.sequence import Awaited
from registry.shim.revealing import reveal
from registry.signing.signer import Signer

PAUSE_SECONDS: Final = 0.25
"""Between two looks at which calls wait."""

RETRY_SECONDS: Final = 5.0
"""Before a registry is asked again that did not answer."""

MAX_REMEMBERED: Final = 4096
"""Calls that are not looked at twice: more than a shim looks after at once."""

_BAD: Final = (VERIFIED, INDETERMINATE, REFUSED)


class Told(Value, frozen=True):
    """What became of one call: the replay, or why there is none.

    Attributes:
        refused: Why it could not be run again; empty if it was, now or before.
    """

    receipt: str
    answer: Answer | None = None
    refused: str = ""


@dataclass
class Recomputer:
    """Runs again what waits in one shim's folder, one call after the other.

    Attributes:
        versions: Where model versions are kept, each in a folder of its own.
        now: The auditor's clock.
    """

    client: RegistryClient
    signer: Signer
    folder: Path
    versions: Path
    choices: Choices
    now: Callable[[], datetime]
    _seen: dict[int, None] = field(default_factory=dict)

    def round(self) -> Iterator[Told]:
        """Run again every call that waits and is in the log; each once.

        Raises:
            UnavailableError: The registry does not answer; the next round goes on.
            UnauthenticatedError, ForbiddenError: Whose token this is may log no replays.
            DamagedError: ``JOURNAL_DAMAGED``.
        """
        for awaited in AwaitedFolder(self.folder / AWAITED).read():
            late = awaited.deadline_ms <= self.now().timestamp() * 1000
            if awaited.level != "recomputed" or late or awaited.intent_n in self._seen:
                continue
            try:
                told = self._recompute(awaited)
            except (UnavailableError, UnauthenticatedError, ForbiddenError):
                # The next call would fare no better.
                raise
            except RegistryError as error:
                told = Told(receipt=f"n={awaited.intent_n}", refused=str(error))
            if told is not None:
                self._remember(awaited.intent_n)
                yield told

    def _recompute(self, awaited: Awaited) -> Told | None:
        """Run one call again and log the result; None if it is not in the log so far."""
        opened = Vault(self.folder / FOLDER).open(awaited.intent_n)
        shim_id, n = named_receipt(opened.payload.receipt)
        try:
            found = replay.find(self.client, shim_id, n)
        except NotFoundError as error:
            if error.reason is Reason.UNKNOWN_RECORD:
                return None
            raise
        leaf = bytes.fromhex(awaited.leaf)
        if ReplayCalls(self.client).replay_of(leaf) is not None:
            return Told(receipt=opened.payload.receipt)
        said = replay.run_again(
            self.client,
            found,
            _brought(opened, reveal(self.folder, shim_id, n)),
            self.choices,
            folder=self.versions / replay.completion_of(found).model.manifest,
            at=self.now(),
        )
        answer = log_replay(self.client, said, self.signer)
        return Told(receipt=opened.payload.receipt, answer=answer)

    def _remember(self, intent_n: int) -> None:
        self._seen[intent_n] = None
        if len(self._seen) > MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]


@click.command()
@folder_option
@click.option("--key", metavar="FILE|URI", required=True, help=f"The auditor's. {KEY_HELP}")
@click.option(
    "--versions",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where model versions are kept, each fetched once. Without it they are removed again.",
)
@choice_options
@click.option("--once", is_flag=True, help="Run again what waits now, and end.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    folder: Path,
    key: str,
    versions: Path | None,
    choices: Choices,
    once: bool,
    as_json: bool,
) -> int:
    """Run again, and log, what callers of a shim asked to have recomputed.

    Runs beside `provreg shim`, as an auditor, and opens what the shim keeps of calls: its privacy
    policy must say `"keep": true`. Answers whose callers want it within half a minute wait for it;
    to the others it is attached.

    Exit status: with --once that of the worst replay, as `provreg replay` has it.
    """
    require_engine()
    signer = load_signer(key)
    stop = threading.Event()
    status = VERIFIED
    with connect(ctx) as client, ExitStack() as stack:
        if versions is None:
            versions = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        worker = Recomputer(client, signer, folder, versions, choices, ctx.obj["now"])
        if not once:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_given: stop.set())
            say(f"running again what waits in {folder}")
        while not stop.is_set():
            pause = PAUSE_SECONDS
            try:
                for told in worker.round():
                    show(told, [_line(told)], as_json=as_json)
                    status = max(status, _status(told), key=_BAD.index)
            except UnavailableError as error:
                if once:
                    raise
                complain(error, as_json=as_json)
                pause = RETRY_SECONDS
            if once:
                return status
            stop.wait(pause)
    return VERIFIED


def _brought(opened: Opened, salt: bytes) -> Brought:
    """What the shim kept of a call.

    Raises:
        NotFoundError: ``NO_SEALED_PAYLOAD``.
    """
    payload = opened.payload
    if not payload.request:
        raise NotFoundError(
            Reason.NO_SEALED_PAYLOAD,
            "the input of this call was not kept",
            where=payload.receipt,
            expected='"keep": true in the privacy policy of the shim',
        )
    disclosed = Disclosure(
        schema="disclosure/v1", receipt=payload.receipt, output=opened.disclosed_output
    )
    return Brought(payload.request, salt, payload.answer or None, encoding.write_json(disclosed))


def _status(told: Told) -> int:
    if told.answer is None:
        return INDETERMINATE if told.refused else VERIFIED
    return STATUS[told.answer.replay.outcome]


def _line(told: Told) -> str:
    if told.answer is None:
        return f"not run     {told.receipt}: {told.refused or 'it was run again before'}"
    said = told.answer.replay
    why = f" ({', '.join(said.reasons)})" if said.reasons else ""
    return f"{spelled(said)}  {told.receipt}, entry {told.answer.index}, {said.run_us} us{why}"
