"""The TLS files of a proxy, read and tried before anybody is served: a bad one is named at once.

Otherwise a wrong file would show as an address that cannot be listened on, or only with the first
call, as a model server that does not answer.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from registry.errors import MalformedError, Reason


@dataclass(frozen=True, slots=True)
class Pair:
    """Who one end of a connection is.

    Attributes:
        certificate: PEM file of its chain, its own certificate first.
        key: PEM file of its private key, which no password protects.
    """

    certificate: Path
    key: Path


def server_pair(pair: Pair) -> tuple[bytes, bytes]:
    """The key and the chain of whoever is asked, in PEM, once they are known to fit together.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
    return _read(pair.key), _read(pair.certificate)


def client_context(ca_file: Path | None, pair: Pair | None) -> ssl.SSLContext:
    """What to believe, and who we are if we are asked.

    Args:
        ca_file: PEM certificates to believe; None for those of the system.
        pair: What we show to whoever wants to know us; None for nothing.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(ca_file or Path(), error) from error
    if pair is not None:
        _load(context, pair)
    return context


def client_files(
    ca_file: Path | None, pair: Pair | None
) -> tuple[bytes | None, bytes | None, bytes | None]:
    """The same as PEM: certificates to believe, our key, and our chain; None for what is not given.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    client_context(ca_file, pair)
    roots = None if ca_file is None else _read(ca_file)
    return (
        (roots, None, None) if pair is None else (roots, _read(pair.key), _read(pair.certificate))
    )


def _load(context: ssl.SSLContext, pair: Pair) -> None:
    try:
        # Without a password here, OpenSSL would ask for one on the terminal, and wait.
        context.load_cert_chain(pair.certificate, pair.key, password="")
    except (OSError, ssl.SSLError) as error:
        raise _unusable(f"{pair.certificate}, {pair.key}", error) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(where: Path | str, error: Exception) -> MalformedError:
    return MalformedError(
        Reason.BAD_SETTING,
        "this TLS file cannot be used",
        where=str(where),
        actual=str(error)[:200],
        expected="PEM: a chain and its key without a password, or certificates to believe",
    )
