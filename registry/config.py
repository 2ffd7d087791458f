"""Settings, frozen and read once. The only room that looks at the environment."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_LISTEN = "127.0.0.1:7070"
"""Where a registry listens if not told otherwise."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to serve.

    Attributes:
        data: The data folder.
        listen: Host and port; port 0 takes any free one.
        database: SQLAlchemy URL; None for SQLite inside the data folder.
        origin: The log's name, a bare host name; None to keep or make one.
        tls_cert: PEM certificate chain.
        tls_key: PEM private key.
    """

    data: Path
    listen: str = DEFAULT_LISTEN
    database: str | None = None
    origin: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
