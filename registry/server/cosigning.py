"""Sets up cosigning: a policy file → witness clients → the service beside the sequencer."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from registry.config import ServerSettings
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.policy import MAX_POLICY_BYTES, Policy
from registry.errors import MalformedError, Reason
from registry.remote.http import HTTPClient
from registry.remote.witness import WitnessClient
from registry.services.cosigning import Cosigning
from registry.services.sequencing import Sequencer
from registry.storage.sql.engine import Database

WITNESS_TIMEOUT = timedelta(seconds=5)
"""How long a witness may take to answer; it keeps nobody waiting but itself."""


def read_policy(path: Path, *, quorum: str | None = None) -> Policy:
    """Read a policy file.

    Raises:
        MalformedError: ``BAD_SETTING`` if it cannot be read, or what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            # One byte more than allowed, so that a file that is too long is refused, not cut.
            data = file.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise MalformedError(
            Reason.BAD_SETTING, "this file cannot be read", where=str(path), actual=str(error)
        ) from error
    return Policy.parse(data, quorum=quorum)


@contextmanager
def open_cosigning(
    settings: ServerSettings, database: Database, sequencer: Sequencer, key: VerifierKey
) -> Iterator[Cosigning | None]:
    """Ask the witnesses of the settings' policy until the end of the block; nobody without one.

    Raises:
        MalformedError: ``BAD_SETTING`` if the policy is not about this log, or what is wrong.
        DamagedError: ``FORK`` if what was cosigned before is not of this log's history.
    """
    path = settings.witness_policy
    if path is None:
        if settings.witness_ca_file is not None:
            raise MalformedError(
                Reason.BAD_SETTING,
                "without a policy nobody is asked for cosignatures",
                where="--witness-ca-file",
                hint="say whom to ask: --witness-policy FILE",
            )
        if settings.fail_closed:
            raise MalformedError(
                Reason.BAD_SETTING,
                "without witnesses there is no quorum to wait for",
                where="--witness-mode",
                hint="say whom to ask: --witness-policy FILE",
            )
        yield None
        return
    policy = read_policy(path)
    trusted = settings.witness_ca_file
    if policy.logs and key not in policy.keys_of(key.name):
        raise MalformedError(
            Reason.BAD_SETTING,
            "this policy is about other logs",
            where=str(path),
            expected=f"log {key}",
        )
    with ExitStack() as resources:
        http = resources.enter_context(HTTPClient(timeout=WITNESS_TIMEOUT, ca_file=trusted))
        # Some of those who must sign are not asked: the log's own post-quantum key, for example.
        clients = [WitnessClient(http, item) for item in policy.witnesses if item.url is not None]
        cosigning = Cosigning(database, sequencer, key, policy, clients)
        resources.callback(cosigning.close)
        if settings.fail_closed:
            cosigning.fail_closed()
        yield cosigning
