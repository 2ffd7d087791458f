"""The release that a shim serves, verified down to the log; also while the registry is down."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from registry.cli.connection import connect, settings
from registry.cli.output import say
from registry.cli.trust import known_logs, parse_log_key
from registry.client.channel import Connection, Target
from registry.client.registry import RegistryClient
from registry.errors import UnavailableError
from registry.shim.pinned import PinnedFile
from registry.shim.release import PinnedRelease


@contextmanager
def verified_client(ctx: click.Context) -> Iterator[RegistryClient]:
    """A client that need not be answered, once the log's key is known."""
    chosen = settings(ctx)
    known = known_logs(chosen.folder).keys.get(chosen.server)
    log_key = parse_log_key(chosen.log_key) if chosen.log_key else known
    if log_key is None:
        with connect(ctx) as client:
            yield client
        return
    connection = Connection(Target.parse(chosen.server), token=chosen.token, ca_file=chosen.ca_file)
    with RegistryClient(connection, log_key) as client:
        yield client


def pinned_release(
    client: RegistryClient, name: str, version: str, pinned: PinnedFile
) -> PinnedRelease:
    """The release, verified down to the log; the one that was kept if the registry is down."""
    log = str(client.log_key)
    try:
        known = client.release(name, version)
    except UnavailableError:
        kept = pinned.read(name, version, log)
        if kept is None:
            raise
        say("the registry does not answer: going on with the release that was verified before")
        return kept
    release = PinnedRelease(known.logged.envelope.record_id, name, version, known.manifest)
    pinned.write(release, log)
    return release
