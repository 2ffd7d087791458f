"""Channels to a registry: TLS, bearer token, deadlines, retries.

Plain text is for loopback only, unless the caller insists: a token that crosses a network
unprotected is everybody's. Calls that only read are retried by gRPC itself; calls that write are
not, since only their caller knows what to do with an answer that got lost.
"""

import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

import grpc

from registry.core import encoding
from registry.errors import MalformedError, Reason
from registry.wire.status import from_rpc_error

READ_SECONDS: Final = 30
"""How long a call that only reads may take."""

WRITE_SECONDS: Final = 60
"""How long a call that registers something may take, if no file has to be inspected for it."""

MIN_TRANSFER_RATE: Final = 128 * 1024
"""Bytes per second below which a transfer is given up."""

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one message in either direction."""

KEEPALIVE_SECONDS: Final = 60
"""After how much silence during a call the other side is asked whether it is still there."""

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_SERVICE = "registry.api.v1."

_READS: Final[Mapping[str, tuple[str, ...]]] = {
    "ArtifactService": ("FindMissing", "Stat"),
    "StatementService": ("GetStatement", "ListStatements", "GetShimHead"),
    "LogService": (
        "GetLogKey",
        "GetCheckpoint",
        "GetProof",
        "GetCoseReceipt",
        "GetConsistency",
    ),
    "LineageService": ("FindOutput", "Trace"),
    "JournalService": ("GetRecord", "FindAbout", "SumCosts", "ListBatches"),
    "EvidenceService": ("GetResults", "ListPolicies", "ListDistrust"),
    "AccessService": ("ListPrincipals",),
}

_RETRIES: Final = {
    "methodConfig": [
        {
            "name": [
                {"service": _SERVICE + service, "method": method}
                for service, methods in _READS.items()
                for method in methods
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A proxy named by the environment would see tokens on their way to a loopback address.
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 1),
    ("grpc.service_config", encoding.write_json(_RETRIES).decode()),
)

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a registry listens, and whether TLS protects the way there."""

    address: str
    tls: bool

    @classmethod
    def parse(cls, server: str, *, plain_text: bool = False) -> Self:
        """Read ``HOST:PORT``, ``https://HOST[:PORT]`` or ``http://HOST[:PORT]``.

        Without a scheme a loopback address is taken as plain text, any other as TLS.

        Raises:
            MalformedError: ``BAD_SETTING``, also for plain text to anywhere but loopback.
        """
        scheme, found, rest = server.rpartition("://")
        host, colon, port = rest.rstrip("/").rpartition(":")
        if found and (not colon or rest.endswith("]")):
            host, port = rest.rstrip("/"), "443" if scheme == "https" else "80"
        usable = port.isascii() and port.isdigit() and 0 < int(port[:6]) < 2**16
        if (
            not host
            or not host.isprintable()
            or "/" in host
            or not usable
            or scheme not in ("", "http", "https")
        ):
            raise MalformedError(
                Reason.BAD_SETTING,
                "this is not the address of a registry",
                where="--server",
                expected="HOST:PORT or https://HOST:PORT",
                actual=repr(server[:200]),
            )
        loopback = host.strip("[]") in _LOOPBACK
        if scheme == "http" and not loopback and not plain_text:
            raise MalformedError(
                Reason.BAD_SETTING,
                "your token would cross the network unprotected",
                where=server[:200],
                expected="https, or a loopback address",
            )
        return cls(f"{host}:{port}", scheme == "https" or (not scheme and not loopback))


class Connection:
    """One channel, with what goes along with every call.

    Attributes:
        host: Whom it leads to.
    """

    def __init__(
        self, target: Target, *, token: str | None = None, ca_file: Path | None = None
    ) -> None:
        """Prepare a channel; it connects with the first call.

        Args:
            target: Where to.
            token: The bearer token of every call.
            ca_file: PEM certificates to trust instead of the system's; they imply TLS.

        Raises:
            MalformedError: ``BAD_SETTING`` if ``ca_file`` or ``token`` cannot be used.
        """
        self.host = target.address.rpartition(":")[0].strip("[]")
        self._tls = target.tls or ca_file is not None
        self._ca_file = ca_file
        self._metadata = () if token is None else (("authorization", f"Bearer {_checked(token)}"),)
        if self._tls:
            credentials = grpc.ssl_channel_credentials(_roots(ca_file))
            self.channel = grpc.secure_channel(target.address, credentials, options=_OPTIONS)
        else:
            self.channel = grpc.insecure_channel(target.address, options=_OPTIONS)

    def call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Q, A]",
        request: Q,
        seconds: float = READ_SECONDS,
    ) -> A:
        """Make a call and wait for its answer.

        Raises:
            RegistryError: What the registry, or the way to it, has to say.
        """
        try:
            return method(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def send(
        self,
        method: "grpc.StreamUnaryMultiCallable[Q, A]",
        requests: Iterable[Q],
        seconds: float,
    ) -> A:
        """Send a stream and wait for its answer.

        Raises:
            RegistryError: As :meth:`call`.
        """
        try:
            return method(iter(requests), timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def receive(
        self, method: "grpc.UnaryStreamMultiCallable[Q, A]", request: Q, seconds: float
    ) -> Iterator[A]:
        """Receive a stream; whoever stops early closes the iterator, which ends the call.

        Raises:
            RegistryError: As :meth:`call`.
        """
        answers = method(request, timeout=seconds, metadata=self._metadata)
        try:
            yield from answers
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            answers.cancel()

    def beside(self, port: int, seconds: float) -> socket.socket:
        """A plain connection to another port of the host: with TLS if the channel has it.

        The token is not shown. The host proves who it is as it does to the channel.

        Raises:
            OSError: Nothing answers there within these seconds, or it is not the host.
        """
        opened = socket.create_connection((self.host, port), seconds)
        if not self._tls:
            return opened
        try:
            return _trusting(self._ca_file).wrap_socket(opened, server_hostname=self.host)
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        """Let go of the channel."""
        self.channel.close()


def transfer_seconds(size: int) -> float:
    """How long a transfer of ``size`` bytes may take."""
    return READ_SECONDS + size / MIN_TRANSFER_RATE


def _checked(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this is not a token",
            expected="one line of printable ASCII",
            hint="look at PROVREG_TOKEN or the file named by --token-file",
        )
    return token


def _roots(ca_file: Path | None) -> bytes | None:
    """The roots to trust: the given ones, the system's, or else those that gRPC brings along."""
    path = ca_file or _system_roots()
    try:
        if ca_file is not None:
            # gRPC would take a file without certificates, and then reach nobody.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
        return path.read_bytes()
    except OSError as error:
        if ca_file is None:
            return None
        raise MalformedError(
            Reason.BAD_SETTING,
            "this file of certificates cannot be read",
            where=str(ca_file),
            actual=str(error),
        ) from error


def _system_roots() -> Path:
    """Where the system's roots are, or should be."""
    system = ssl.get_default_verify_paths()
    # `cafile` is None if the file that OpenSSL was built to look at does not exist.
    return Path(system.cafile or system.openssl_cafile)


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    """What :func:`_roots` are to a channel, for a socket."""
    path = ca_file or _system_roots()
    context = ssl.create_default_context(cafile=path if path.is_file() else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
