"""No certificate is outside that is not in the log, whatever happens to the registry meanwhile.

Issuing one is an append by the operator, before anybody sees the certificate: at every file
operation of it the registry is killed, or the operation fails.
"""

import base64
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from registry.config import ServerSettings
from registry.core import encoding
from registry.core.attestation.dsse import Envelope
from registry.core.records import certificate, predicate
from registry.errors import RegistryError
from registry.remote.http import HTTPClient
from registry.server.app import open_services
from registry.signing.file import StatementSigner
from tests.conformance.instance import AUDIENCE, serving
from tests.crash import inject
from tests.crash.inject import Injector, Strike
from tests.crash.test_faults import MOST_OPERATIONS, Victim
from tests.oidc import Issuer, oidc_issuer
from tests.running import REPOSITORY, address_in

CALLERS = 4
MISSES = 3
"""Certificates in a row at which nothing is struck."""

KILLED_AFTER = 40
"""Certificates that are handed out before the registry is killed."""


def ask(url: str, token: str) -> bytes | RegistryError:
    """Ask for a certificate for a principal; it, or why there is none."""
    request = base64.b64encode(StatementSigner.generate().signing_request()).decode()
    body = json.dumps({"certificateSigningRequest": request}).encode()
    with HTTPClient() as client:
        try:
            answer = client.post(
                f"{url}/api/v2/signingCert",
                body,
                content_type="application/json",
                headers={"Authorization": f"Bearer {token}"},
            ).expect()
        except RegistryError as error:
            return error
    told = json.loads(answer.body)["signedCertificateEmbeddedSct"]["chain"]
    leaf = x509.load_pem_x509_certificate(told["certificates"][0].encode())
    return leaf.public_bytes(Encoding.DER)


class Callers:
    """Ask for certificates, each for another identity, until nobody answers any more."""

    def __init__(self, url: str, issuer: Issuer) -> None:
        self._url = url
        self._issuer = issuer
        self.had: list[bytes] = []
        self.threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(CALLERS)
        ]
        for thread in self.threads:
            thread.start()

    def _run(self, caller: int) -> None:
        for number in range(1000):
            token = self._issuer.token(aud=AUDIENCE, sub=f"test:caller/{caller}/{number}")
            answer = ask(self._url, token)
            if isinstance(answer, RegistryError):
                return
            self.had.append(answer)


def logged(settings: ServerSettings) -> set[str]:
    """Every certificate that the log tells of, in base64."""
    with open_services(settings) as (services, _):
        head = services.sequencer.head
        assert head is not None
        found = set()
        for index in range(head.checkpoint.size):
            stored = services.reading.entry(index)
            said = predicate.parse(Envelope.parse(stored.envelope).payload)
            if said.predicate_type == certificate.PREDICATE_TYPE:
                found.add(said.predicate.certificate)
        return found


def test_every_certificate_that_was_handed_out_is_in_the_log_after_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with oidc_issuer() as issuer:
        options = ("--ca", "--oidc-issuer", f"{issuer.url}={AUDIENCE}", "--listen", "127.0.0.1:0")
        with serving(data, *options) as served:
            callers = Callers(served.url, issuer)
            while len(callers.had) < KILLED_AFTER:
                assert any(thread.is_alive() for thread in callers.threads)
                time.sleep(0.005)
            served.process.kill()
            for thread in callers.threads:
                thread.join()
    assert len(callers.had) >= KILLED_AFTER
    assert {encoding.base64_text(der) for der in callers.had} <= logged(ServerSettings(data))


@pytest.mark.skipif(
    inject.available() is not None, reason=f"no faults can be injected: {inject.available()}"
)
@pytest.mark.parametrize("strike", [Strike.FAIL, Strike.KILL])
def test_no_failure_of_issuing_leaves_a_certificate_out_of_the_log(
    tmp_path: Path, strike: Strike
) -> None:
    data = tmp_path / "data"
    had: list[bytes] = []
    hits = misses = 0
    with Injector(
        [sys.executable, "-u", "-m", "tests.crash.nursery", str(data), "ca"],
        watch=data,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as injector:
        victim = Victim(data, injector)
        while misses < MISSES:
            assert hits < MOST_OPERATIONS
            with victim.running() as address:
                assert injector.child.stdout is not None
                url = address_in(injector.child.stdout.readline())
                victim.check(address)
                injector.arm(nth=hits + misses + 1, strike=strike)
                answer = ask(url, victim.acme.token)
                injector.disarm()
                if isinstance(answer, bytes):
                    had.append(answer)
                else:
                    assert injector.hit is not None, answer
            hits, misses = (hits, misses + 1) if injector.hit is None else (hits + 1, 0)
    assert hits
    assert had
    assert {encoding.base64_text(der) for der in had} <= logged(ServerSettings(data))
