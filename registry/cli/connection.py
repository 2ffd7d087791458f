"""From the settings of a command to a client that insists on one log's key.

The key is given (``--log-key``), or known from an earlier contact with the same server, or taken on
first contact, said aloud and kept: trust on first use. Another key for a known server is refused
before anything else is said to that server.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from registry.allocator import keep_memory
from registry.cli.output import say
from registry.cli.trust import known_logs, parse_log_key, remember
from registry.client.channel import Connection, Target
from registry.client.log import fetch_log_key
from registry.client.registry import RegistryClient
from registry.config import ClientSettings
from registry.core.tlog.note import VerifierKey
from registry.errors import Reason, VerificationError


def settings(ctx: click.Context) -> ClientSettings:
    """What the command line and the environment say."""
    given = ctx.obj
    return ClientSettings.read(
        given["server"], given["token_file"], given["log_key"], given["ca_file"]
    )


@contextmanager
def connect(ctx: click.Context) -> Iterator[RegistryClient]:
    """A client for one command.

    Raises:
        MalformedError: ``BAD_SETTING``.
        UnavailableError: ``UNREACHABLE``.
        VerificationError: ``WRONG_LOG``.
    """
    keep_memory()
    chosen = settings(ctx)
    target = Target.parse(chosen.server)
    known = known_logs(chosen.folder)
    if chosen.log_key:
        wanted: VerifierKey | None = parse_log_key(chosen.log_key)
        source = "--log-key"
    else:
        wanted = known.keys.get(chosen.server)
        source = str(known.file)
    # Whoever the server is, it is asked for its key before it sees a token.
    introduction = Connection(target, ca_file=chosen.ca_file)
    try:
        shown = fetch_log_key(introduction)
    finally:
        introduction.close()
    if wanted is None:
        remember(known.file, chosen.server, shown)
        say(f"first contact with {chosen.server}: trusting its log from now on")
        say(f"  {shown}")
        say(f"  kept in {known.file}; compare it with what the operator publishes")
    else:
        _require_same(chosen.server, wanted, shown, source)
    connection = Connection(target, token=chosen.token, ca_file=chosen.ca_file)
    with RegistryClient(connection, shown) as client:
        yield client


def _require_same(server: str, wanted: VerifierKey, shown: VerifierKey, source: str) -> None:
    if shown != wanted:
        raise VerificationError(
            Reason.WRONG_LOG,
            "this server has another log than the one that you trust",
            where=server,
            expected=str(wanted),
            actual=str(shown),
            hint=f"if you know why, change it in {source}",
        )
