"""``provreg log trust-config``: what stock Sigstore clients need to believe this log."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from registry.cli.output import json_option, show
from registry.core import encoding
from registry.core.attestation.trust_config import (
    Instance,
    client_trust_config,
    join,
    succeed,
)
from registry.core.attestation.trusted_root import Trust, TrustedRoot
from registry.core.keys import PublicKey
from registry.core.tlog.note import VerifierKey
from registry.errors import MalformedError, NotFoundError, Reason
from registry.signing.retired import FOLDER as RETIRED_FOLDER
from registry.signing.retired import read_retired_name
from registry.storage.durable import make_folder

TRUSTED_ROOT = "trusted_root.json"
"""Whom to believe."""

SIGNING_CONFIG = "signing_config.json"
"""Whom to ask."""

CLIENT_TRUST_CONFIG = "client_trust_config.json"
"""Both."""

MAX_PEM_BYTES = 256 * 1024
"""Bytes of a PEM file with certificates or a key."""

_VKEY, _END = "log.vkey", "log.end"
_CA_CHAIN, _TSA_CHAIN, _CT_KEY = "ca-chain.pem", "tsa-chain.pem", "ct.pem.pub"
_file = click.Path(path_type=Path, exists=True, dir_okay=False)


class _Moment(click.ParamType[datetime]):
    """A UTC time such as ``2026-03-01T12:00:00Z``."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value)
        try:
            at = datetime.fromisoformat(text).astimezone(UTC)
        except ValueError:
            at = None
        if at is None or encoding.time_text(at) != text:
            self.fail(f"{text!r} is not a UTC time such as 2026-03-01T12:00:00Z", param, ctx)
        return at


@click.command("trust-config")
@click.argument("out_dir", type=click.Path(path_type=Path, file_okay=False))
@click.option("--url", required=True, help="Where clients reach the log: https://ORIGIN.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("provreg-data"),
    show_default=True,
    help="The data folder; only its public files are read.",
)
@click.option("--start", type=_Moment(), help="Since when the log signs. [when it was made]")
@click.option("--end", type=_Moment(), help="Until when it signed. [when it was frozen]")
@click.option("--previous", multiple=True, type=_file, help="An older trusted root, to retire.")
@click.option("--also", multiple=True, type=_file, help="Another instance's trusted root, to join.")
@click.option("--retired-at", type=_Moment(), help="When what is only in --previous ended. [now]")
@click.option("--ca-chain", multiple=True, type=_file, help="PEM: an authority, its root last.")
@click.option("--tsa-chain", multiple=True, type=_file, help="PEM: a timestamp authority's chain.")
@click.option("--ct-key", multiple=True, type=_file, help="PEM: the key of a CT log.")
@click.option("--oidc-issuer", multiple=True, metavar="URL", help="Who vouches for people.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    out_dir: Path,
    url: str,
    data: Path,
    start: datetime | None,
    end: datetime | None,
    previous: tuple[Path, ...],
    also: tuple[Path, ...],
    retired_at: datetime | None,
    ca_chain: tuple[Path, ...],
    tsa_chain: tuple[Path, ...],
    ct_key: tuple[Path, ...],
    oidc_issuer: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write trusted_root.json, signing_config.json and client_trust_config.json."""
    vkey = data / _VKEY
    if not vkey.exists():
        raise NotFoundError(
            Reason.BAD_SETTING,
            "there is no log here",
            where=str(vkey),
            hint="name the registry's data folder with --data",
        )
    keys = data / "keys"
    instance = Instance(
        url=url,
        log_key=VerifierKey.parse(vkey.read_text(encoding="utf-8").strip()),
        # The file was written when the log was made, and never again.
        start=start or datetime.fromtimestamp(vkey.stat().st_mtime, UTC),
        end=end or _ended(data / _END),
        certificate_authorities=tuple(map(_chain, ca_chain or _present(keys / _CA_CHAIN))),
        timestamp_authorities=tuple(map(_chain, tsa_chain or _present(keys / _TSA_CHAIN))),
        ct_keys=tuple(PublicKey.parse(_read(path)) for path in ct_key or _present(keys / _CT_KEY)),
        oidc_issuers=oidc_issuer,
    )
    at = retired_at or ctx.obj["now"]()
    root = instance.trusted_root()
    for path, ended in _retired(keys):
        root = succeed(root, [_alone(instance, path).trusted_root()], ended)
    root = succeed(root, [_root(path) for path in previous], at)
    root = join(root, [_root(path) for path in also])
    signing = instance.signing_config()
    make_folder(out_dir)
    for name, document in (
        (TRUSTED_ROOT, root.to_bytes()),
        (SIGNING_CONFIG, signing.to_bytes()),
        (CLIENT_TRUST_CONFIG, client_trust_config(root, signing).to_bytes()),
    ):
        _replace(out_dir / name, document)
    summary = {
        "trusted_root": str(out_dir / TRUSTED_ROOT),
        "signing_config": str(out_dir / SIGNING_CONFIG),
        "client_trust_config": str(out_dir / CLIENT_TRUST_CONFIG),
        "logs": [log.base_url for log in root.tlogs],
        "certificate_authorities": len(root.certificate_authorities),
        "timestamp_authorities": len(root.timestamp_authorities),
        "ct_logs": len(root.ctlogs),
    }
    counts = (
        f"{len(root.tlogs)} logs, {len(root.certificate_authorities)} certificate authorities, "
        f"{len(root.timestamp_authorities)} timestamp authorities, {len(root.ctlogs)} CT logs"
    )
    lines = [f"wrote {out_dir / CLIENT_TRUST_CONFIG}", counts]
    show(summary, lines, as_json=as_json)


def _ended(path: Path) -> datetime | None:
    """When a log was frozen, as the file that freezing leaves says."""
    if not path.exists():
        return None
    text = path.read_text(encoding="ascii")
    try:
        at = datetime.fromisoformat(text.removesuffix("\n"))
    except ValueError:
        at = None
    if at is None or f"{encoding.time_text(at)}\n" != text:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this file does not say when the log ended",
            where=str(path),
            expected="a UTC time such as 2026-03-01T12:00:00Z",
            actual=repr(text[:40]),
        )
    return at


def _retired(keys: Path) -> Iterator[tuple[Path, datetime]]:
    """What ``provreg log retire`` kept, and until when it was in use."""
    for path in sorted((keys / RETIRED_FOLDER).glob("*")):
        name, ended = read_retired_name(path.name)
        current = keys / name
        # Else retiring it died before it ended: it is still in use.
        if not current.exists() or current.read_bytes() != path.read_bytes():
            yield path, ended


def _alone(instance: Instance, path: Path) -> Instance:
    """The instance with nobody beside the log but whom a retired file is about."""
    chains: tuple[tuple[bytes, ...], ...] = ()
    instance = replace(
        instance, certificate_authorities=chains, timestamp_authorities=chains, ct_keys=()
    )
    name, _ = read_retired_name(path.name)
    if name == _CT_KEY:
        return replace(instance, ct_keys=(PublicKey.parse(_read(path)),))
    if name == _TSA_CHAIN:
        return replace(instance, timestamp_authorities=(_chain(path),))
    if name == _CA_CHAIN:
        return replace(instance, certificate_authorities=(_chain(path),))
    raise MalformedError(
        Reason.BAD_SETTING, "this was not put here by: provreg log retire", where=str(path)
    )


def _present(path: Path) -> tuple[Path, ...]:
    return (path,) if path.exists() else ()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_PEM_BYTES + 1)
    if len(data) > MAX_PEM_BYTES:
        raise MalformedError(Reason.BAD_SETTING, "this file is too long", where=str(path))
    return data


def _chain(path: Path) -> tuple[bytes, ...]:
    try:
        certificates = x509.load_pem_x509_certificates(_read(path))
    except (ValueError, x509.InvalidVersion) as error:
        raise MalformedError(
            Reason.MALFORMED_CERTIFICATE,
            "there are no PEM certificates in this file",
            where=str(path),
            actual=str(error)[:200],
        ) from error
    return tuple(item.public_bytes(serialization.Encoding.DER) for item in certificates)


def _root(path: Path) -> TrustedRoot:
    return Trust.parse(path.read_bytes()).root


def _replace(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, over an older one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)
