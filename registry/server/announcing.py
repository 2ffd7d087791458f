"""What a registry says when it is ready: where it answers, what it keeps, what comes next."""

from dataclasses import dataclass

from registry.config import ServerSettings
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.server.folder import END_FILE
from registry.server.identity import CA_CHAIN_FILE
from registry.server.timestamping import CHAIN_FILE


@dataclass(frozen=True, slots=True)
class Ready:
    """A registry that answers.

    Attributes:
        address: Where gRPC is answered.
        url: Where HTTP is answered; empty for nowhere.
        key: The log's key.
        head: Its newest checkpoint; None if it is empty.
        quorum: What is asked of witnesses; empty if there are none.
        frozen: Whether nothing is ever written any more.
        first: Whether it has just been made.
    """

    address: str
    url: str
    key: VerifierKey
    head: SignedCheckpoint | None
    quorum: str
    frozen: bool
    first: bool


def announcement(settings: ServerSettings, ready: Ready) -> str:
    """The lines for whoever started it; the first two end with the addresses."""
    keys = settings.data / "keys"
    lines = [
        f"provreg is listening on {ready.address}",
        f"  http     {ready.url or 'off'}",
        f"  log      {ready.key}",
        f"  entries  {ready.head.checkpoint.size if ready.head else 0}",
        f"  data     {settings.data}",
    ]
    if ready.frozen:
        end = settings.data / END_FILE
        since = f"since {end.read_text(encoding='ascii').strip()}, " if end.exists() else ""
        lines.append(f"  frozen   {since}for good: nothing is written any more")
    if ready.quorum:
        mode = "fail-closed" if settings.fail_closed else "fail-open"
        lines.append(f"  quorum   {ready.quorum}, {mode}")
    if settings.timestamp_authorities:
        lines.append(
            f"  stamped  by {', '.join(each.url for each in settings.timestamp_authorities)}"
        )
    if settings.tsa:
        lines.append(f"  tsa      {keys / CHAIN_FILE}")
    if settings.ca:
        lines.append(f"  ca       {keys / CA_CHAIN_FILE}")
    if ready.first:
        token = settings.data / "admin.token"
        lines += [
            "",
            f"This is a new registry. Its admin token is in {token}",
            "Next, make a key and let a publisher in:",
            "  provreg key generate publisher.pem",
            f"  provreg --server {ready.address} --token-file {token} \\",
            "    principal add acme --role publisher --namespace 'acme/*' --key publisher.pem.pub",
        ]
    return "\n".join(lines) + "\n"
