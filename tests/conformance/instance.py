"""A private Sigstore in one process: a real registry, with a local issuer of identity tokens.

Stock clients take the host of a log's URL for its origin. On one machine, without TLS, that host is
``localhost``, so ``localhost`` is the origin as well: ``http://localhost:PORT`` satisfies both
sigstore-python and sigstore-go, which look at the host name only.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forking import Process, provreg
from tests.oidc import Issuer, oidc_issuer
from tests.running import REPOSITORY, Caller, address_in, admin_token, admit
from tools.free_ports import free_port

ORIGIN = "localhost"
"""The log's name, and the host where clients reach it."""

AUDIENCE = "sigstore"
"""For whom stock clients want tokens to be made."""

SECONDS = 60
"""How long a command of a stock client may take."""


@dataclass(frozen=True)
class Instance:
    """A registry that stock clients believe.

    Attributes:
        address: Where gRPC is answered.
        url: Where HTTP is answered.
        trust: The folder with ``trusted_root.json`` and ``client_trust_config.json``.
    """

    data: Path
    address: str
    url: str
    trust: Path
    issuer: Issuer

    @property
    def trust_config(self) -> Path:
        """Whom stock clients are to believe and to ask."""
        return self.trust / "client_trust_config.json"

    def token(self, **claims: Any) -> str:
        """An identity token that stock clients take."""
        return self.issuer.token(**{"aud": AUDIENCE, **claims})

    def admit(self, name: str, *roles: str, **members: Any) -> Caller:
        """Add a principal."""
        return admit(self.address, admin_token(self.data), name, *roles, **members)


def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a Python module as a command: ``run("sigstore", "--version")``."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def instance(folder: Path) -> Iterator[Instance]:
    """Run a registry with all that signing needs, and write what its clients need.

    The first start makes the keys. The trust config is written from their public halves, and the
    second start believes it as well: statements in bundles of its own Sigstore are taken.
    """
    data, trust = folder / "data", folder / "trust"
    admitted = folder / "admitted"
    port = free_port()
    url = f"http://{ORIGIN}:{port}"
    with oidc_issuer() as issuer:
        admitted.write_text(f"identity {issuer.url} *\n")
        options = (
            *("--listen", "127.0.0.1:0", "--http", f"{ORIGIN}:{port}", "--origin", ORIGIN),
            *("--ca", "--tsa", "--oidc-issuer", f"{issuer.url}={AUDIENCE}"),
            *("--admit", admitted),
        )
        with serving(data, *options):
            pass
        written = run(
            *("registry", "log", "trust-config", trust, "--url", url, "--data", data),
            *("--oidc-issuer", issuer.url),
        )
        assert written.returncode == 0, written.stderr
        with serving(data, *options, "--sigstore-root", trust / "trusted_root.json") as served:
            yield Instance(data, served.address, served.url, trust, issuer)


@dataclass(frozen=True)
class Serving:
    """A registry in a process of its own, and where it answers."""

    process: Process
    address: str
    url: str


@contextmanager
def serving(data: Path, *options: object) -> Iterator[Serving]:
    """Run ``provreg serve`` until the end of the block."""
    process = provreg("serve", "--data", data, *options, stdout=True)
    assert process.stdout is not None
    try:
        address = address_in(process.stdout.readline())
        assert address, "the registry did not start"
        yield Serving(process, address, address_in(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(SECONDS)
        process.stdout.close()
