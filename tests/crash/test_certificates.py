"""No certificate is outside that is not in the log, even if the registry is killed meanwhile."""

import base64
import json
import threading
import time
from pathlib import Path

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
from tests.oidc import Issuer, oidc_issuer

CALLERS = 4
KILLED_AFTER = 40
"""Certificates that are handed out before the registry is killed."""


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
        request = base64.b64encode(StatementSigner.generate().signing_request()).decode()
        body = json.dumps({"certificateSigningRequest": request}).encode()
        with HTTPClient() as client:
            for number in range(1000):
                token = self._issuer.token(aud=AUDIENCE, sub=f"test:caller/{caller}/{number}")
                headers = {"Authorization": f"Bearer {token}"}
                try:
                    answer = client.post(
                        f"{self._url}/api/v2/signingCert",
                        body,
                        content_type="application/json",
                        headers=headers,
                    ).expect()
                except RegistryError:
                    return
                told = json.loads(answer.body)["signedCertificateEmbeddedSct"]["chain"]
                leaf = x509.load_pem_x509_certificate(told["certificates"][0].encode())
                self.had.append(leaf.public_bytes(Encoding.DER))


def logged(data: Path) -> set[str]:
    """Every certificate that the log tells of, in base64."""
    with open_services(ServerSettings(data)) as (services, _):
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
    assert {encoding.base64_text(der) for der in callers.had} <= logged(data)
