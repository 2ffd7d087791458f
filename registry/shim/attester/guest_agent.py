"""A guest agent: a service on this machine that asks the device for others.

::

    POST /evidence {"nonce":"…","report_data":"…","session_key":"…"}   base64, RFC 8785
    → {"endorsements":[{"data":"…","role":"amd-vek"}],"evidence":"…","family":"amd-snp"}

It is reached over loopback or a Unix socket: whoever can answer in its place can keep us from being
attested, and nothing else, since what it says is signed by the device.
"""

import http.client
import socket
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec

from registry.core.encoding import Value, base64_bytes, base64_text, read_json, write_json
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import MAX_ENDORSEMENTS, Role
from registry.errors import MalformedError, RegistryError
from registry.remote.http import HTTPClient, check_private
from registry.shim.attester.faults import absent, check_report_data, failed
from registry.shim.attester.port import Collected, Commitment

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Bytes of an answer: evidence, and what came with it, in base64."""

TIMEOUT: Final = timedelta(seconds=30)
"""For one question: the device signs, and the agent may ask vendors."""

UNIX: Final = "unix:"
"""What the address of a Unix socket begins with."""

_JSON: Final = "application/json"
_PATH: Final = "/evidence"
_OK: Final = 200


class Question(Value, frozen=True):
    """What an agent is asked; bytes in base64."""

    report_data: str
    nonce: str = ""
    session_key: str = ""


class Piece(Value, frozen=True):
    """One endorsement; bytes in base64."""

    role: Role
    data: str


class Reply(Value, frozen=True):
    """What an agent answers; bytes in base64."""

    family: Family
    evidence: str
    endorsements: Annotated[tuple[Piece, ...], msgspec.Meta(max_length=MAX_ENDORSEMENTS)] = ()


class GuestAgent:
    """Asks an agent."""

    commits_to: ClassVar[Commitment] = "report_data"

    def __init__(self, address: str, *, timeout: timedelta = TIMEOUT) -> None:
        """Ask nothing yet.

        Args:
            address: ``http://127.0.0.1:PORT``, or ``unix:/PATH`` of a socket.
            timeout: For a whole question.

        Raises:
            MalformedError: ``BAD_SETTING`` if the address leads to another machine without TLS.
        """
        self._address = address.rstrip("/")
        self._timeout = timeout
        if not address.startswith(UNIX):
            check_private(address)
            self._http = HTTPClient(timeout=timeout)

    def evidence(self, report_data: bytes, nonce: bytes, session_key_der: bytes) -> Collected:
        """See :class:`~registry.shim.attester.port.Attester`."""
        check_report_data(report_data)
        question = Question(
            report_data=base64_text(report_data),
            nonce=base64_text(nonce),
            session_key=base64_text(session_key_der),
        )
        if self._address.startswith(UNIX):
            answer = self._ask_socket(Path(self._address.removeprefix(UNIX)), write_json(question))
        else:
            answer = self._ask_http(write_json(question))
        return read_reply(answer, self._address)

    def _ask_http(self, question: bytes) -> bytes:
        try:
            answer = self._http.post(
                self._address + _PATH,
                question,
                content_type=_JSON,
                max_bytes=MAX_ANSWER_BYTES,
                headers={"Accept": _JSON},
            )
            return answer.expect().body
        except RegistryError as error:
            raise failed("the guest agent does not answer", self._address, str(error)) from error

    def _ask_socket(self, path: Path, question: bytes) -> bytes:
        connection = _UnixConnection(path, self._timeout.total_seconds())
        # The timeout of a socket starts anew with every byte; this one does not.
        watch = threading.Timer(self._timeout.total_seconds(), connection.cut)
        watch.daemon = True
        watch.start()
        try:
            connection.request("POST", _PATH, question, {"Content-Type": _JSON, "Accept": _JSON})
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES + 1)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise absent(str(path), str(error), "is the guest agent running?") from error
        except (OSError, http.client.HTTPException) as error:
            raise failed("the guest agent does not answer", str(path), str(error)) from error
        finally:
            watch.cancel()
            connection.close()
        if response.status != _OK or len(body) > MAX_ANSWER_BYTES:
            what = f"status {response.status}, {len(body)} bytes"
            raise failed("the guest agent does not answer", str(path), what)
        return body


def read_reply(answer: bytes, where: str) -> Collected:
    """Read what an agent answers.

    Raises:
        UnavailableError: ``ATTESTER_FAILED``.
    """
    try:
        reply = read_json(answer, Reply, what="guest agent's answer")
        return Collected(
            reply.family,
            base64_bytes(reply.evidence),
            tuple((piece.role, base64_bytes(piece.data)) for piece in reply.endorsements),
        )
    except MalformedError as error:
        raise failed(
            "the guest agent answers something else", where, error.actual or error.what
        ) from error


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def cut(self) -> None:
        """Make whoever waits for an answer wait no longer."""
        with suppress(AttributeError, OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
