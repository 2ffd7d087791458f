"""A guest agent of the fake vendor: a node without a device that attests asks it instead.

It answers over loopback or a Unix socket what :mod:`registry.shim.attester.guest_agent` asks, with
evidence that is minted on the spot::

    python -m tools.fake_vendor.guest_agent aws-nitro --port 7090

prints its address and the root that a policy must name to believe it; with ``--publish`` also the
settings with which a registry finds the vendor's services, which then have the endorsements.
"""

import argparse
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from registry.core.encoding import base64_bytes, base64_text, read_json, write_json
from registry.core.evidence.binding import gpu_nonce
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.roots import Roots
from registry.errors import MalformedError
from registry.shim.attester.guest_agent import Piece, Question, Reply
from registry.shim.attester.port import Collected
from tools.fake_vendor import amd, intel, nitro, nvidia
from tools.fake_vendor.publishing import publish
from tools.fake_vendor.services import Services

Mint = Callable[[bytes, bytes, bytes], Collected]
"""Report data, nonce, session key → evidence."""

MAX_QUESTION_BYTES: Final = 64 * 1024
"""Bytes of a question."""

CERTIFIED_BEFORE: Final = timedelta(days=30)
"""How long before a report the key of its chip was certified."""


class Agent:
    """A server on a free port of this machine, or on a socket, while the block runs."""

    def __init__(self, mint: Mint, *, port: int = 0, socket: Path | None = None) -> None:
        self.asked: list[Question] = []
        self.status = 200
        self.edit: Callable[[bytes], bytes] = lambda answer: answer
        self._mint = mint
        self._socket = socket
        self._server: socketserver.BaseServer
        if socket is None:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        else:
            self._server = _UnixServer(str(socket), _handler(self))

    @property
    def address(self) -> str:
        """As :func:`registry.shim.attester.choice.open_attester` takes it, without ``agent:``."""
        if self._socket is not None:
            return f"unix:{self._socket}"
        port = self._server.server_address[1]  # type: ignore[index]  # a port, if no socket
        return f"http://127.0.0.1:{port}"

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
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    def answer(self, body: bytes) -> bytes:
        """The answer to a question.

        Raises:
            MalformedError: It is none.
        """
        question = read_json(body, Question, what="question")
        self.asked.append(question)
        collected = self._mint(
            base64_bytes(question.report_data),
            base64_bytes(question.nonce),
            base64_bytes(question.session_key),
        )
        pieces = tuple(
            Piece(role=role, data=base64_text(data)) for role, data in collected.endorsements
        )
        reply = Reply(
            family=collected.family,
            evidence=base64_text(collected.evidence),
            endorsements=pieces,
        )
        return self.edit(write_json(reply))


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def _handler(agent: Agent) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            # A Unix socket has no address.
            return "local"

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(min(size, MAX_QUESTION_BYTES))
            status = agent.status
            try:
                said = agent.answer(body) if self.path == "/evidence" else b""
            except MalformedError as error:
                status, said = 400, str(error).encode()
            with suppress(OSError):
                self.send_response(status if said else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

    return Handler


def nitro_mint(clock: Callable[[], datetime], crl_base: str = nitro.CRL_BASE) -> Mint:
    """Mints AWS Nitro documents, with revocation lists."""

    def mint(report_data: bytes, nonce: bytes, session_key: bytes) -> Collected:
        minted = nitro.mint(
            nitro.Spec(
                signed_at=clock().replace(microsecond=0),
                user_data=report_data,
                nonce=nonce or None,
                public_key=session_key or None,
                crl_base=crl_base,
            )
        )
        lists = tuple((item.role, item.data) for item in minted.endorsements.items)
        return Collected(Family.AWS_NITRO, minted.evidence, lists)

    return mint


def intel_mint(clock: Callable[[], datetime]) -> Mint:
    """Mints TDX quotes, with collateral."""

    def mint(report_data: bytes, _nonce: bytes, _session_key: bytes) -> Collected:
        minted = intel.mint(intel.Spec(at=clock().replace(microsecond=0), report_data=report_data))
        return Collected(Family.INTEL_DCAP, minted.evidence, tuple(minted.roles.items()))

    return mint


def amd_mint(clock: Callable[[], datetime]) -> Mint:
    """Mints SEV-SNP reports, with the chip's certificate, its chain and its revocation list."""

    def mint(report_data: bytes, _nonce: bytes, _session_key: bytes) -> Collected:
        start = clock().replace(microsecond=0) - CERTIFIED_BEFORE
        spec = amd.Spec(report_data=report_data, start=start)
        minted = amd.mint(spec, lists=[amd.revocation_list(spec.line, this_update=start)])
        items = tuple((item.role, item.data) for item in minted.endorsements.items)
        return Collected(Family.AMD_SNP, minted.evidence, items)

    return mint


def nvidia_mint(clock: Callable[[], datetime]) -> Mint:
    """Mints the evidence of one GPU, with manifests and answers of responders."""

    def mint(_report_data: bytes, nonce: bytes, _session_key: bytes) -> Collected:
        spec = nvidia.Spec(nonce=gpu_nonce(nonce), answered_at=clock().replace(microsecond=0))
        minted = nvidia.mint_set([spec])
        spoken = tuple((item.role, item.data) for item in minted.endorsements.items)
        return Collected(Family.NVIDIA_SET, minted.evidence, spoken)

    return mint


MINTS: Final[Mapping[Family, Callable[[Callable[[], datetime]], Mint]]] = {
    Family.INTEL_DCAP: intel_mint,
    Family.AMD_SNP: amd_mint,
    Family.AWS_NITRO: nitro_mint,
    Family.NVIDIA_SET: nvidia_mint,
}
"""What an agent can mint, by family."""


def publishing_mint(family: Family, clock: Callable[[], datetime], services: Services) -> Mint:
    """Mints bare evidence, and publishes what the vendor says of it."""
    if family is Family.AWS_NITRO:
        whole = nitro_mint(clock, services.crl_base)
    else:
        whole = MINTS[family](clock)

    def mint(report_data: bytes, nonce: bytes, session_key: bytes) -> Collected:
        collected = whole(report_data, nonce, session_key)
        publish(services, family, collected.evidence, Endorsements.of(collected.endorsements))
        return Collected(family, collected.evidence)

    return mint


def roots_of(family: Family) -> Roots:
    """The roots that must be named for the evidence to count."""
    if family is Family.NVIDIA_SET:
        return nvidia.roots_of()
    if family is Family.AMD_SNP:
        return amd.roots()
    if family is Family.INTEL_DCAP:
        return intel.mint().roots
    return nitro.mint().roots


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fake_vendor.guest_agent",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("family", choices=[str(family) for family in MINTS])
    parser.add_argument("--port", type=int, default=0, help="any free one if not stated")
    parser.add_argument("--socket", type=Path, help="a Unix socket instead of a port")
    parser.add_argument(
        "--publish", action="store_true", help="hand out nothing but evidence; be the vendor, too"
    )
    options = parser.parse_args()
    family = Family(options.family)
    with ExitStack() as running:
        mint = MINTS[family](_now)
        if options.publish:
            services = running.enter_context(Services())
            mint = publishing_mint(family, _now, services)
            for name, value in services.environment().items():
                print(f"{name}={value}")
        agent = Agent(mint, port=options.port, socket=options.socket)
        running.enter_context(agent)
        print(f"agent:{agent.address}")
        for vendor, root in sorted(roots_of(family).named):
            print(f"root {vendor}: {root}", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
