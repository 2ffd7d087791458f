"""HTTP to parties whom we ask: bounded in time and size, and never by way of somebody else.

What an answer means is for the caller: any status is a value, not an error. No proxy is used, and
no redirect that was not asked for. Authorities are those that the caller names, or else those of
the operating system, wherever OpenSSL finds them.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as TimedOutError
from urllib3.response import BaseHTTPResponse

from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
)

DEFAULT_TIMEOUT = timedelta(seconds=10)
"""From the first attempt to connect to the last byte of an answer. Looking up a host name is not
counted: the operating system bounds that."""

DEFAULT_MAX_BYTES = 1024 * 1024
"""Bytes of an answer's body, after decompression."""

MAX_CONNECTIONS = 8
"""Connections that are kept alive to one host."""

MAX_HOSTS = 64
"""Hosts to which connections are kept."""

MAX_URL_CHARACTERS = 2048
"""Characters of an address."""

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that may be asked without TLS."""

_CHUNK_BYTES: Final = 64 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_AGENT: Final = "provreg"
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What a remote party said.

    Attributes:
        url: Who said it, after redirects.
        status: The HTTP status code.
        headers: By lower-case name; of a header that came twice, both values with a comma.
        body: All of it, decompressed.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def expect(self, *statuses: int) -> Self:
        """This answer, if its status is 200 or, where given, one of ``statuses``.

        Raises:
            UnavailableError: ``REMOTE_STATUS``.
        """
        wanted = statuses or (_OK,)
        if self.status not in wanted:
            raise UnavailableError(
                Reason.REMOTE_STATUS,
                "a remote party did not do what it was asked",
                where=self.url,
                expected="status " + " or ".join(map(str, wanted)),
                actual=f"status {self.status}",
            )
        return self


class HTTPClient:
    """Asks over HTTP; keeps connections alive. Any number of threads may use one client."""

    def __init__(
        self,
        *,
        timeout: timedelta = DEFAULT_TIMEOUT,
        ca_file: Path | None = None,
        tls: ssl.SSLContext | None = None,
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        """Make a client; nothing is asked yet.

        Args:
            timeout: For a whole request with its redirects.
            ca_file: PEM authorities to believe instead of those of the operating system.
            tls: Whom to believe, and who we are if we are asked, instead of ``ca_file``.
            connections: Connections that are kept to one host.

        Raises:
            MalformedError: ``BAD_SETTING`` if the authorities cannot be read.
        """
        self._timeout = timeout
        self._pools = urllib3.PoolManager(
            num_pools=MAX_HOSTS,
            maxsize=connections,
            retries=False,
            ssl_context=tls or (_system_tls() if ca_file is None else _tls_by(ca_file)),
            headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"},
        )
        self._pools.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def get(
        self,
        url: str,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        headers: Mapping[str, str] | None = None,
        redirects: int = 0,
    ) -> Answer:
        """Fetch ``url``, following at most ``redirects`` redirections, never from TLS to none.

        Raises:
            MalformedError: ``BAD_SETTING`` if ``url`` is no address for us.
            UnavailableError: ``UNREACHABLE``, ``PEER_CERTIFICATE``, or ``DEADLINE`` if time ran
                out.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
        """
        ends = time.monotonic() + self._timeout.total_seconds()
        answer = self._ask("GET", url, headers or {}, max_bytes=max_bytes, ends=ends)
        while answer.status in _REDIRECTS and redirects > 0 and "location" in answer.headers:
            redirects -= 1
            url = _redirected(answer)
            answer = self._ask("GET", url, headers or {}, max_bytes=max_bytes, ends=ends)
        return answer

    def post(
        self,
        url: str,
        body: bytes,
        *,
        content_type: str,
        max_bytes: int = DEFAULT_MAX_BYTES,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send ``body`` to ``url``, once.

        Raises:
            MalformedError: ``BAD_SETTING`` if ``url`` is no address for us.
            UnavailableError: ``UNREACHABLE``, ``PEER_CERTIFICATE``, or ``DEADLINE`` if time ran
                out. What was sent may or may not have arrived.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
        """
        ends = time.monotonic() + self._timeout.total_seconds()
        sent = {**(headers or {}), "Content-Type": content_type}
        return self._ask("POST", url, sent, max_bytes=max_bytes, ends=ends, body=body)

    def close(self) -> None:
        """Close all connections."""
        self._pools.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        max_bytes: int,
        ends: float,
        body: bytes | None = None,
    ) -> Answer:
        check_url(url)
        left = ends - time.monotonic()
        if left <= 0:
            raise _late(url)
        try:
            response = self._pools.request(
                method,
                url,
                body=body,
                headers={**self._pools.headers, **headers},
                timeout=urllib3.Timeout(total=left),
                redirect=False,
                preload_content=False,
            )
        except HTTPError as error:
            raise _failure(url, error, ends) from error
        try:
            content = _read(response, url, max_bytes, ends)
        except (HTTPError, OSError, http.client.HTTPException) as error:
            response.close()
            raise _failure(url, error, ends) from error
        except RegistryError:
            # What is still under way must not be taken for the next answer.
            response.close()
            raise
        response.release_conn()
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(url, response.status, found, content)


def check_url(url: str) -> None:
    """An address that we ask is plain: http or https, a host, no user and no fragment.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    printable = url.isascii() and url.isprintable() and " " not in url
    if not fine or not printable or len(url) > MAX_URL_CHARACTERS or "@" in url or "#" in url:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this is not an address that can be asked",
            expected="http://… or https://…, with a host, without user and fragment",
            actual=ascii(url[:200]),
        )


def check_private(url: str) -> None:
    """What is secret, or decides whom we believe, crosses a network with TLS only.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    check_url(url)
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise MalformedError(
            Reason.BAD_SETTING,
            "what is said there would cross the network unprotected",
            where=url,
            expected="https, or this machine",
        )


def _redirected(answer: Answer) -> str:
    target = urljoin(answer.url, answer.headers["location"])
    if answer.url.startswith("https:") and not target.startswith("https:"):
        raise UnavailableError(
            Reason.UNREACHABLE,
            "a redirection leads out of TLS",
            where=answer.url,
            actual=ascii(target[:200]),
        )
    return target


def _read(response: BaseHTTPResponse, url: str, max_bytes: int, ends: float) -> bytes:
    announced = response.headers.get("content-length", "")
    # A length that is wrong makes the read below fail; this only saves reading what is too much.
    if announced.isascii() and announced.isdigit() and len(announced) > len(str(max_bytes)):
        raise _too_large(url, max_bytes)
    parts: list[bytes] = []
    size = 0
    while part := response.read1(min(_CHUNK_BYTES, max_bytes + 1 - size), decode_content=True):
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise _too_large(url, max_bytes)
        # The timeout of the socket starts anew with each byte; this one does not.
        if time.monotonic() > ends:
            raise _late(url)
    return b"".join(parts)


def _too_large(url: str, max_bytes: int) -> LimitExceededError:
    return LimitExceededError(
        Reason.ANSWER_TOO_LARGE,
        "the answer of a remote party is too large",
        where=url,
        expected=f"at most {max_bytes} bytes",
    )


def _late(url: str) -> UnavailableError:
    return UnavailableError(
        Reason.DEADLINE,
        "a remote party did not answer in time",
        where=url,
        hint="try again; what was sent may or may not have arrived",
    )


def _failure(url: str, error: Exception, ends: float) -> UnavailableError:
    # A refused connection is a kind of timeout to urllib3.
    timed_out = isinstance(error, TimedOutError) and not isinstance(error, NewConnectionError)
    if timed_out or time.monotonic() >= ends:
        return _late(url)
    said = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, SSLError) and isinstance(error.args[0], ssl.SSLCertVerificationError):
        return UnavailableError(
            Reason.PEER_CERTIFICATE,
            "a remote party has no certificate by which it can be believed",
            where=url,
            expected="one for this host, by an authority that is trusted here",
            actual=said,
            hint="in a closed network, name the file with its authorities",
        )
    return UnavailableError(
        Reason.UNREACHABLE, "a remote party cannot be reached", where=url, actual=said
    )


@cache
def _system_tls() -> ssl.SSLContext:
    """Believes the operating system's authorities, which take a while to read."""
    return _tls_by(None)


def _tls_by(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise MalformedError(
            Reason.BAD_SETTING,
            "these authorities cannot be read",
            where=str(ca_file),
            expected="PEM certificates",
            actual=str(error),
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _punctual(
    connection: HTTPConnection, read: Callable[[], urllib3.HTTPResponse]
) -> urllib3.HTTPResponse:
    """Read status line and headers, all of them within the timeout of the connection.

    The timeout of a socket starts anew with every byte, so a party that sends one byte a second
    would hold us for days. The body is watched by its reader; headers are read in one go.
    """

    def cut() -> None:
        if connection.sock is not None:
            # Of the plain socket: an SSL object must not be touched by two threads.
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    watch = threading.Timer(float(connection.timeout or 0), cut)
    watch.daemon = True
    watch.start()
    try:
        return read()
    finally:
        watch.cancel()


class _Connection(HTTPConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as in urllib3
        return _punctual(self, super().getresponse)


class _TLSConnection(HTTPSConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as in urllib3
        return _punctual(self, super().getresponse)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection
