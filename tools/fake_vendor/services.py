"""The vendors' services on this machine: the same protocols, with the fake vendor's material.

::

    with Services() as services:
        publish(services, Family.AWS_NITRO, minted.evidence, minted.endorsements)
        endorser = VendorEndorser.open(services.settings(), clock)

It answers what it was given and nothing else, remembers what it was asked, and misbehaves on
request: another status, a redirection, a pause, too many bytes.
"""

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import quote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from registry.config import VendorSettings
from tools.fake_vendor.pki import Holder

MAX_BODY_BYTES: Final = 1024 * 1024
"""Bytes of a question."""

DER: Final = "application/pkix-crl"
PEM: Final = "application/x-pem-file"
OCSP: Final = "application/ocsp-response"
JSON: Final = "application/json"


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        body: What it says.
        media_type: What that is.
        status: The HTTP status.
        headers: Further headers.
        pause: Seconds before it comes.
    """

    body: bytes = b""
    media_type: str = "application/octet-stream"
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.0


Answering = Callable[[bytes], Reply]
"""Answers a question with this body."""


class Services:
    """A server on a free port of this machine, while the block runs."""

    def __init__(self, port: int = 0) -> None:
        self.replies: dict[str, Reply | Answering] = {}
        self.asked: list[str] = []
        self._ocsp: dict[int, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        # A client that gives up makes a write fail; that is its affair.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # quiet

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def settings(self) -> VendorSettings:
        """All vendors are here."""
        return VendorSettings(
            intel_pcs=f"{self.url}/intel",
            intel_root_crl=f"{self.url}/intel/root.der",
            amd_kds=f"{self.url}/amd",
            nvidia_rim=f"{self.url}/nvidia/rim",
            nvidia_ocsp=f"{self.url}/nvidia/ocsp",
            nvidia_jwks=f"{self.url}/nvidia/jwks.json",
            crl_hosts=(self.host,),
        )

    def environment(self) -> dict[str, str]:
        """The same settings as a registry reads them from its environment."""
        settings = self.settings()
        return {
            "PROVREG_INTEL_PCS": settings.intel_pcs,
            "PROVREG_INTEL_ROOT_CRL": settings.intel_root_crl,
            "PROVREG_AMD_KDS": settings.amd_kds,
            "PROVREG_NVIDIA_RIM": settings.nvidia_rim,
            "PROVREG_NVIDIA_OCSP": settings.nvidia_ocsp,
            "PROVREG_NVIDIA_JWKS": settings.nvidia_jwks,
            "PROVREG_CRL_HOSTS": ",".join(settings.crl_hosts),
        }

    def edit(self, target: str, **changes: object) -> None:
        """Change a reply that was added."""
        reply = self.replies[target]
        if not isinstance(reply, Reply):
            message = "this one is made for each question"
            raise TypeError(message)
        self.replies[target] = replace(reply, **changes)  # type: ignore[arg-type]  # by name

    # --- Intel ---

    def add_tcb_info(self, fmspc: bytes, body: bytes, chain: bytes, *, tdx: bool) -> str:
        """TCB info of a platform, with the PEM chain of its signer; where it is."""
        kind = "tdx" if tdx else "sgx"
        target = f"/intel/{kind}/certification/v4/tcb?fmspc={fmspc.hex().upper()}"
        return self._chained(target, body, "TCB-Info-Issuer-Chain", chain)

    def add_qe_identity(self, body: bytes, chain: bytes, *, tdx: bool) -> str:
        """The identity of the quoting enclave, with the PEM chain of its signer."""
        target = f"/intel/{'tdx' if tdx else 'sgx'}/certification/v4/qe/identity"
        return self._chained(target, body, "SGX-Enclave-Identity-Issuer-Chain", chain)

    def add_pck_crl(self, ca: Literal["platform", "processor"], der: bytes, chain: bytes) -> str:
        """The list of an authority for platforms, with its PEM chain."""
        target = f"/intel/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"
        return self._chained(target, der, "SGX-PCK-CRL-Issuer-Chain", chain, DER)

    def add_root_crl(self, der: bytes) -> str:
        """The list of Intel's root."""
        return self.add("/intel/root.der", Reply(der, DER))

    # --- AMD ---

    def add_vcek(self, line: str, hwid: bytes, query: str, der: bytes) -> str:
        """The certificate of a chip for a firmware, as ``blSPL=03&teeSPL=00&…``."""
        return self.add(f"/amd/vcek/v1/{line}/{hwid.hex()}?{query}", Reply(der))

    def add_amd_chain(self, key: Literal["vcek", "vlek"], line: str, pem: bytes) -> str:
        """The intermediate and root of a line."""
        return self.add(f"/amd/{key}/v1/{line}/cert_chain", Reply(pem, PEM))

    def add_amd_crl(self, key: Literal["vcek", "vlek"], line: str, der: bytes) -> str:
        """The list of a line's root."""
        return self.add(f"/amd/{key}/v1/{line}/crl", Reply(der, DER))

    # --- NVIDIA ---

    def add_rim(self, rim_id: str, manifest: bytes) -> str:
        """A reference manifest."""
        said = {"id": rim_id, "rim": base64.b64encode(manifest).decode("ascii")}
        return self.add(f"/nvidia/rim/{rim_id}", Reply(json.dumps(said).encode(), JSON))

    def add_ocsp(self, serial: int, response: bytes) -> str:
        """What the responder says of a certificate."""
        self._ocsp[serial] = response
        return self.add("/nvidia/ocsp", self._answer_ocsp)

    def add_jwks(self, key_set: bytes) -> str:
        """The keys of the issuer of tokens."""
        return self.add("/nvidia/jwks.json", Reply(key_set, JSON))

    def _answer_ocsp(self, body: bytes) -> Reply:
        try:
            serial = ocsp.load_der_ocsp_request(body).serial_number
        except ValueError:
            return Reply(status=HTTPStatus.BAD_REQUEST)
        if serial not in self._ocsp:
            refusal = ocsp.OCSPResponseBuilder.build_unsuccessful(
                ocsp.OCSPResponseStatus.UNAUTHORIZED
            )
            return Reply(refusal.public_bytes(Encoding.DER), OCSP)
        return Reply(self._ocsp[serial], OCSP)

    # --- AWS ---

    @property
    def crl_base(self) -> str:
        """What :class:`tools.fake_vendor.nitro.Spec` needs to name lists that are here."""
        return f"{self.url}/nitro"

    def add_nitro_crl(self, url: str, der: bytes) -> str:
        """A list at the address that a certificate names."""
        return self.add(urlsplit(url).path, Reply(der, DER))

    def _chained(
        self, target: str, body: bytes, header: str, chain: bytes, media_type: str = JSON
    ) -> str:
        headers = {header: quote(chain.decode("ascii"))}
        return self.add(target, Reply(body, media_type, headers=headers))

    def add(self, target: str, reply: Reply | Answering) -> str:
        """Answer at ``target``, a path with its query; where that is."""
        self.replies[target] = reply
        return target


def ocsp_response(
    certificate: Holder,
    issuer: Holder,
    responder: Holder,
    *,
    at: datetime,
    life: timedelta = timedelta(days=1),
    revoked: tuple[datetime, x509.ReasonFlags | None] | None = None,
) -> bytes:
    """An answer that a responder signed, DER: good, or revoked since a time for a reason."""
    status = ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD
    builder = ocsp.OCSPResponseBuilder().add_response(
        certificate.certificate,
        issuer.certificate,
        hashes.SHA384(),
        status,
        at,
        at + life,
        revoked[0] if revoked else None,
        revoked[1] if revoked else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
    builder = builder.certificates([responder.certificate])
    return builder.sign(responder.key, hashes.SHA384()).public_bytes(Encoding.DER)


def _handler(services: Services) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", "0"))
            self._answer(self.rfile.read(min(size, MAX_BODY_BYTES)))

        def _answer(self, body: bytes) -> None:
            parts = urlsplit(self.path)
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            services.asked.append(f"{self.command} {target}")
            reply = services.replies.get(target, Reply(status=HTTPStatus.NOT_FOUND))
            if not isinstance(reply, Reply):
                reply = reply(body)
            time.sleep(reply.pause)
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.media_type)
            self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

    return Handler
