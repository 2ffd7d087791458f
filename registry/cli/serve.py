"""``provreg serve``: run a registry."""

from datetime import timedelta
from pathlib import Path

import click

from registry.config import (
    DEFAULT_LISTEN,
    DEFAULT_TIMESTAMP_INTERVAL,
    DEFAULT_TSA_POLICY,
    LEAST_FREE_BYTES,
    OIDCIssuer,
    ServerSettings,
    TimestampAuthority,
    VendorSettings,
    attestation_required,
)
from registry.server.app import run

MIB = 1024 * 1024
"""Bytes in a MiB."""

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("provreg-data"),
    show_default=True,
    help="The data folder; made on first start.",
)
@click.option("--listen", default=DEFAULT_LISTEN, show_default=True, metavar="HOST:PORT")
@click.option(
    "--http",
    metavar="HOST:PORT|none",
    help="Where HTTP is answered; the host of --listen and its port + 1 if absent.",
)
@click.option(
    "--database", metavar="URL", help="postgresql+psycopg://…; SQLite in --data if absent."
)
@click.option(
    "--checkpoint-lock",
    metavar="URL",
    help="Where the newest checkpoint is kept apart from the log; made by: provreg log init.",
)
@click.option(
    "--min-free-mib",
    type=click.IntRange(min=0),
    default=LEAST_FREE_BYTES // MIB,
    show_default=True,
    help="MiB that must stay free on the disk; with less, nothing new is taken.",
)
@click.option(
    "--static",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that the log is published into, for any file server; in --data if absent.",
)
@click.option(
    "--admit",
    type=_FILE,
    help="Whose signatures Sigstore clients may log: lines authority, identity and key.",
)
@click.option(
    "--duplicates",
    type=click.Choice(("answer", "conflict")),
    default="answer",
    show_default=True,
    help="What Sigstore clients are told of an entry that is there: its proof, or 409.",
)
@click.option("--origin", metavar="NAME", help="The log's name, a host name; made up if absent.")
@click.option("--tls-cert", type=_FILE, help="PEM certificate chain.")
@click.option("--tls-key", type=_FILE, help="PEM private key.")
@click.option(
    "--witness-policy",
    type=_FILE,
    help="Whom to ask for cosignatures, and how many: a C2SP tlog-policy.",
)
@click.option(
    "--witness-mode",
    type=click.Choice(["fail-open", "fail-closed"]),
    default="fail-open",
    show_default=True,
    help="Closed: acknowledge and show nothing that the quorum has not seen.",
)
@click.option(
    "--witness-ca-file",
    type=_FILE,
    help="PEM authorities to believe when witnesses are asked over TLS, not the system's.",
)
@click.option(
    "--post-quantum",
    is_flag=True,
    help="Make an ML-DSA-44 key that signs every checkpoint beside the main one, for good.",
)
@click.option(
    "--tsa", is_flag=True, help="Answer RFC 3161 timestamp requests over HTTP, with keys in --data."
)
@click.option(
    "--tsa-policy",
    default=DEFAULT_TSA_POLICY,
    show_default=True,
    metavar="OID",
    help="The policy that timestamps name.",
)
@click.option(
    "--timestamp-authority",
    "authorities",
    multiple=True,
    metavar="URL=FILE[,OID]",
    help="Have the log stamped at URL; its PEM chain is in FILE. May be given up to four times.",
)
@click.option(
    "--timestamp-interval",
    type=click.IntRange(min=1),
    default=int(DEFAULT_TIMESTAMP_INTERVAL.total_seconds()),
    show_default=True,
    metavar="SECONDS",
    help="How often each timestamp authority is asked.",
)
@click.option(
    "--timestamp-ca-file",
    type=_FILE,
    help="PEM authorities to believe when timestamp authorities are asked, not the system's.",
)
@click.option(
    "--sigstore-root",
    type=_FILE,
    help="A trusted root: take statements in Sigstore bundles, signed by admitted identities.",
)
@click.option(
    "--require-attestation",
    is_flag=True,
    help="Take batches only from attested keys. [PROVREG_REQUIRE_ATTESTATION]",
)
@click.option(
    "--fetch-endorsements",
    is_flag=True,
    help="Ask the vendors of attested devices for what a submitter did not bring.",
)
@click.option("--ca", is_flag=True, help="Issue short-lived certificates, each of them logged.")
@click.option(
    "--oidc-issuer",
    "oidc_issuers",
    multiple=True,
    metavar="URL=AUDIENCE[,JWKS-FILE]",
    help="With --ca: an OpenID Connect issuer whose tokens are good for a certificate.",
)
@click.option(
    "--oidc-ca-file",
    type=_FILE,
    help="PEM authorities to believe when issuers are asked for their keys, not the system's.",
)
def command(
    *,
    data: Path,
    listen: str,
    http: str | None,
    database: str | None,
    checkpoint_lock: str | None,
    min_free_mib: int,
    static: Path | None,
    admit: Path | None,
    duplicates: str,
    origin: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    witness_policy: Path | None,
    witness_mode: str,
    witness_ca_file: Path | None,
    post_quantum: bool,
    tsa: bool,
    tsa_policy: str,
    authorities: tuple[str, ...],
    timestamp_interval: int,
    timestamp_ca_file: Path | None,
    sigstore_root: Path | None,
    require_attestation: bool,
    fetch_endorsements: bool,
    ca: bool,
    oidc_issuers: tuple[str, ...],
    oidc_ca_file: Path | None,
) -> None:
    """Run a registry until it is told to stop."""
    run(
        ServerSettings(
            data,
            listen,
            database,
            origin,
            tls_cert,
            tls_key,
            http=http,
            least_free_bytes=min_free_mib * MIB,
            checkpoint_lock=checkpoint_lock,
            witness_policy=witness_policy,
            fail_closed=witness_mode == "fail-closed",
            witness_ca_file=witness_ca_file,
            post_quantum=post_quantum,
            tsa=tsa,
            tsa_policy=tsa_policy,
            timestamp_authorities=tuple(map(TimestampAuthority.parse, authorities)),
            timestamp_interval=timedelta(seconds=timestamp_interval),
            timestamp_ca_file=timestamp_ca_file,
            sigstore_root=sigstore_root,
            require_attestation=require_attestation or attestation_required(),
            vendors=VendorSettings.read() if fetch_endorsements else None,
            ca=ca,
            oidc_issuers=tuple(OIDCIssuer.parse(text) for text in oidc_issuers),
            oidc_ca_file=oidc_ca_file,
            static=static,
            admit=admit,
            refuse_duplicates=duplicates == "conflict",
        )
    )
