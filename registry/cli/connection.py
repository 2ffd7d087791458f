"""From the settings of a command to a client that insists on one log's key.

The key is given (``--log-key``), or known from an earlier contact with the same server, or taken on
first contact, said aloud and kept: trust on first use. Another key for a known server is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from registry.cli.trust import known_logs, parse_log_key, remember
from registry.client.channel import Connection, Target
from registry.client.registry import RegistryClient
from registry.api.v1 import log_service_pb2, log_service_pb2_grpc
from registry.config import ClientSettings
from registry.core.tlog.note import VerifierKey


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
    """
    chosen = settings(ctx)
    connection = Connection(
        Target.parse(chosen.server), token=chosen.token, ca_file=chosen.ca_file
    )
    try:
        yield RegistryClient(connection, _pin(connection, chosen))
    finally:
        connection.close()


def _pin(connection: Connection, chosen: ClientSettings) -> VerifierKey:
    if chosen.log_key:
        return parse_log_key(chosen.log_key)
    known = known_logs(chosen.folder).get(chosen.server)
    if known is not None:
        return known
    answer = connection.call(
        log_service_pb2_grpc.LogServiceStub(connection.channel).GetLogKey,
        log_service_pb2.GetLogKeyRequest(),
    )
    key = VerifierKey.parse(answer.vkey)
    file: Path = remember(chosen.folder, chosen.server, key)
    click.echo(f"first contact with {chosen.server}: trusting its log from now on", err=True)
    click.echo(f"  {key}", err=True)
    click.echo(f"  kept in {file}; compare it with what the operator publishes", err=True)
    return key
