"""``provreg monitor``: follow a log, ours or any other, and notice when it contradicts itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import click

from registry.cli.connection import settings
from registry.cli.duration import seconds
from registry.cli.output import complain, json_option, say, show
from registry.cli.trust import parse_log_key
from registry.cli.witness_policy import policy_option, read_policy
from registry.client.channel import Connection, Target
from registry.client.following_state import StateFolder
from registry.client.monitor import Found, Log, Monitor, Verified
from registry.client.registry_log import RegistryLog
from registry.client.tiled_log import TiledLog
from registry.config import ClientSettings
from registry.core import digest, encoding
from registry.core.keys import MAX_KEY_BYTES, PublicKey
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.selection import Selection
from registry.errors import MalformedError, Reason, UnavailableError
from registry.remote.http import HTTPClient

DEFAULT_INTERVAL = 60.0
"""Seconds between two rounds."""

DEFAULT_MAX_AGE = 3600.0
"""Seconds without a verified checkpoint after which a monitor gives up."""


@click.command()
@click.argument("source", metavar="URL|HOST:PORT")
@click.option("--log-key", "own_key", metavar="VKEY|@FILE", help="The log's verifier key.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A folder for what was verified; one for each log.",
)
@click.option("--identity", "identities", multiple=True, help="Tell of what this identity signed.")
@click.option("--issuer", "issuers", multiple=True, help="… vouched for by this OIDC issuer.")
@click.option(
    "--key", "keys", multiple=True, metavar="FILE|ID", help="Tell of what this key signed."
)
@click.option(
    "--digest",
    "digests",
    multiple=True,
    metavar="sha256:HEX",
    help="Tell of signatures over this digest, or of the entry with this leaf hash.",
)
@click.option(
    "--only-new", is_flag=True, help="On first contact, do not read what the log held before."
)
@click.option(
    "--interval",
    type=float,
    callback=seconds,
    default=DEFAULT_INTERVAL,
    show_default=True,
    help="Seconds between two rounds.",
)
@click.option(
    "--max-age",
    type=float,
    callback=seconds,
    default=DEFAULT_MAX_AGE,
    show_default=True,
    help="Give up after so many seconds without a verified checkpoint.",
)
@click.option("--once", is_flag=True, help="One round only.")
@policy_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    source: str,
    own_key: str | None,
    state: Path,
    identities: tuple[str, ...],
    issuers: tuple[str, ...],
    keys: tuple[str, ...],
    digests: tuple[str, ...],
    only_new: bool,
    interval: float,
    max_age: float,
    once: bool,
    policy_file: Path | None,
    as_json: bool,
) -> None:
    """Follow a log, which must only ever grow.

    URL is any log that publishes C2SP tlog-tiles; HOST:PORT is a registry over gRPC, with a token.

    Every checkpoint is proved to extend the one before, every entry to be in it. Without
    --identity, --issuer, --key and --digest every entry is told of. With --policy a checkpoint
    counts from when its quorum says that it saw it.

    Exit status: 1 the log contradicted itself (both signed checkpoints are kept in --state) or
    served what does not verify, 3 no checkpoint could be verified for --max-age.
    """
    chosen = settings(ctx)
    given = own_key or chosen.log_key
    if not given:
        raise MalformedError(
            Reason.BAD_SETTING,
            "a monitor needs the log's key, from somebody else than the log",
            where="--log-key",
            expected="<name>+<key id>+<base64>",
        )
    key = parse_log_key(given)
    selection = Selection(
        frozenset(identities),
        frozenset(issuers),
        frozenset(map(_key_id, keys)),
        frozenset(map(digest.parse, digests)),
    )
    now: Callable[[], datetime] = ctx.obj["now"]
    with StateFolder(state, key) as folder, _opened(source, key, chosen) as log:
        monitor = Monitor(
            log,
            key,
            folder,
            selection,
            started_at=now(),
            max_age=timedelta(seconds=max_age),
            policy=read_policy(policy_file),
        )
        teller = _Teller(as_json=as_json)
        while True:
            try:
                monitor.round(now(), teller.tell, only_new=only_new)
            except UnavailableError as error:
                monitor.verify_fresh(now())
                if once:
                    raise
                complain(error, as_json=as_json)
            else:
                # What was shown may be old, if witnesses say so.
                monitor.verify_fresh(now())
            if once:
                return
            time.sleep(interval)


@contextmanager
def _opened(source: str, key: VerifierKey, chosen: ClientSettings) -> Iterator[Log]:
    if "://" in source:
        with HTTPClient(ca_file=chosen.ca_file) as http:
            yield TiledLog(source, http)
        return
    connection = Connection(Target.parse(source), token=chosen.token, ca_file=chosen.ca_file)
    with RegistryLog(connection, key) as log:
        yield log


def _key_id(given: str) -> str:
    path = Path(given)
    if not path.is_file():
        return encoding.hex_bytes(given, digest.SHA256_SIZE).hex()
    with path.open("rb") as file:
        return PublicKey.parse(file.read(MAX_KEY_BYTES + 1)).key_id


@dataclass
class _Teller:
    """Writes what a monitor finds; a checkpoint only if it is another one than the last."""

    as_json: bool
    last: bytes = b""

    def tell(self, what: Found | Verified) -> None:
        if isinstance(what, Found):
            value: dict[str, object] = {
                "event": "entry",
                "index": what.index,
                "leaf_hash": digest.text(leaf_hash(what.body)),
                "body": encoding.base64_text(what.body),
            }
            text = what.body.decode("utf-8", "backslashreplace")
            show(value, [f"entry {what.index}: {text}"], as_json=self.as_json)
            return
        if what.head.note == self.last:
            return
        self.last = what.head.note
        head = what.head.checkpoint
        value = {
            "event": "checkpoint",
            "origin": head.origin,
            "size": head.size,
            "root": head.root.hex(),
            "note": what.head.note.decode(),
        }
        text = f"{head.origin} is verified up to {head.size} entries"
        show(value, [text], as_json=self.as_json)
        if not self.as_json:
            say(f"  root {head.root.hex()}")
