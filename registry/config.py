"""Settings, frozen and read once. The only room that looks at the environment."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from registry.errors import MalformedError, Reason

MAX_TOKEN_FILE_CHARACTERS = 4096
"""Characters of a token file that are read."""

MAX_IDENTITY_TOKEN_CHARACTERS = 16 * 1024
"""Characters of a file with an identity token that are read."""

DEFAULT_LISTEN = "127.0.0.1:7070"
"""Where a registry listens if not told otherwise."""

DEFAULT_WITNESS_LISTEN = "127.0.0.1:7080"
"""Where a witness listens if not told otherwise."""

NO_HTTP = "none"
"""What ``ServerSettings.http`` says if a registry shall not answer HTTP."""


LEAST_FREE_BYTES = 64 * 1024 * 1024
"""Bytes that stay free if the operator does not say otherwise: many groups, and a WAL file."""

DEFAULT_TSA_POLICY = "2.999.3161.1"
"""The policy of timestamps if the operator names none: below the arc that is free for examples."""


@dataclass(frozen=True, slots=True)
class OIDCIssuer:
    """An OpenID Connect issuer whose tokens are believed.

    Attributes:
        url: As it stands in tokens, letter for letter.
        audience: For whom its tokens must be made, and for nobody else.
        key_file: Where its keys are (JWKS); None to ask the issuer for them.
    """

    url: str
    audience: str
    key_file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``URL=AUDIENCE`` or ``URL=AUDIENCE,FILE``.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        url, _, rest = text.partition("=")
        audience, comma, file = rest.partition(",")
        if not url.startswith(("https://", "http://")) or not audience or (comma and not file):
            raise MalformedError(
                Reason.BAD_SETTING,
                "this is not an OpenID Connect issuer",
                where="--oidc-issuer",
                expected="URL=AUDIENCE, or URL=AUDIENCE,FILE with its keys in FILE",
                actual=text[:200],
            )
        return cls(url, audience, Path(file) if file else None)


DEFAULT_TIMESTAMP_INTERVAL = timedelta(hours=1)
"""How often each timestamp authority is asked to stamp the log."""


@dataclass(frozen=True, slots=True)
class TimestampAuthority:
    """An RFC 3161 authority that shall stamp the log.

    Attributes:
        url: Where it is asked.
        chain: A PEM file with its certificates, its own first, the root last.
        policy: The one policy whose tokens are taken, an object identifier; None for any.
    """

    url: str
    chain: Path
    policy: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``URL=FILE`` or ``URL=FILE,OID``.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        # A query may have an equals sign; a file with one must be renamed.
        url, _, rest = text.rpartition("=")
        file, comma, policy = rest.partition(",")
        if not url.startswith(("https://", "http://")) or not file or (comma and not policy):
            raise MalformedError(
                Reason.BAD_SETTING,
                "this is not a timestamp authority",
                where="--timestamp-authority",
                expected="URL=FILE, or URL=FILE,OID for one policy only",
                actual=text[:200],
            )
        return cls(url, Path(file), policy or None)


DEFAULT_INTEL_PCS = "https://api.trustedservices.intel.com"
"""Intel's Provisioning Certification Service."""

DEFAULT_INTEL_ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
"""The revocation list of Intel's root."""

DEFAULT_AMD_KDS = "https://kdsintf.amd.com"
"""AMD's Key Distribution Service."""

DEFAULT_NVIDIA_RIM = "https://rim.attestation.nvidia.com/v1/rim"
"""NVIDIA's reference manifests."""

DEFAULT_NVIDIA_OCSP = "https://ocsp.ndis.nvidia.com/"
"""NVIDIA's OCSP responder."""

DEFAULT_NVIDIA_JWKS = "https://nras.attestation.nvidia.com/.well-known/jwks.json"
"""The keys of NVIDIA's verifier, which issues tokens."""

DEFAULT_CRL_HOSTS = (
    "aws-nitro-enclaves-crl.s3.amazonaws.com",
    "crl-*-aws-nitro-enclaves.s3.*.amazonaws.com",
    "crl-*-aws-nitro-enclaves.s3.*.amazonaws.com.cn",
)
"""Where AWS publishes the revocation lists of Nitro, by its certificates."""


@dataclass(frozen=True, slots=True)
class VendorSettings:
    """Where vendors of trusted execution environments are asked for endorsements.

    Attributes:
        intel_pcs: Intel's service, or a cache that speaks as it, without path. [PROVREG_INTEL_PCS]
        intel_root_crl: The list of Intel's root, as DER. [PROVREG_INTEL_ROOT_CRL]
        amd_kds: AMD's service. [PROVREG_AMD_KDS]
        nvidia_rim: NVIDIA's manifests, up to the slash before an id. [PROVREG_NVIDIA_RIM]
        nvidia_ocsp: NVIDIA's responder. [PROVREG_NVIDIA_OCSP]
        nvidia_jwks: The keys of NVIDIA's verifier. [PROVREG_NVIDIA_JWKS]
        crl_hosts: Hosts of revocation lists whose addresses stand in evidence; a star stands for
            letters, digits and dashes. [PROVREG_CRL_HOSTS, with a comma between several]
        ca_file: PEM authorities to believe instead of those of the operating system.
            [PROVREG_VENDOR_CA_FILE]
    """

    intel_pcs: str = DEFAULT_INTEL_PCS
    intel_root_crl: str = DEFAULT_INTEL_ROOT_CRL
    amd_kds: str = DEFAULT_AMD_KDS
    nvidia_rim: str = DEFAULT_NVIDIA_RIM
    nvidia_ocsp: str = DEFAULT_NVIDIA_OCSP
    nvidia_jwks: str = DEFAULT_NVIDIA_JWKS
    crl_hosts: tuple[str, ...] = DEFAULT_CRL_HOSTS
    ca_file: Path | None = None

    @classmethod
    def read(cls) -> Self:
        """Read the environment; the vendors' own services where it says nothing."""
        environment = os.environ
        hosts = environment.get("PROVREG_CRL_HOSTS", "").split(",")
        authorities = environment.get("PROVREG_VENDOR_CA_FILE")
        return cls(
            environment.get("PROVREG_INTEL_PCS") or DEFAULT_INTEL_PCS,
            environment.get("PROVREG_INTEL_ROOT_CRL") or DEFAULT_INTEL_ROOT_CRL,
            environment.get("PROVREG_AMD_KDS") or DEFAULT_AMD_KDS,
            environment.get("PROVREG_NVIDIA_RIM") or DEFAULT_NVIDIA_RIM,
            environment.get("PROVREG_NVIDIA_OCSP") or DEFAULT_NVIDIA_OCSP,
            environment.get("PROVREG_NVIDIA_JWKS") or DEFAULT_NVIDIA_JWKS,
            tuple(host.strip() for host in hosts if host.strip()) or DEFAULT_CRL_HOSTS,
            Path(authorities) if authorities else None,
        )


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to serve.

    Attributes:
        data: The data folder.
        listen: Host and port; port 0 takes any free one.
        database: SQLAlchemy URL; None for SQLite inside the data folder.
        origin: The log's name, a bare host name; None to keep or make one.
        tls_cert: PEM certificate chain.
        tls_key: PEM private key.
        http: Host and port for HTTP; None for the host of ``listen`` and its port + 1 (any free
            port if that is 0); ``none`` for no HTTP at all.
        checkpoint_lock: SQLAlchemy URL of the store of the newest checkpoint, made by ``provreg log
            init``; None for a SQLite file of its own inside the data folder.
        witness_policy: A C2SP tlog-policy with the witnesses to be asked and their quorum.
        witness_ca_file: PEM authorities to believe instead of the system's when witnesses are asked
            over TLS; None for those of the system.
        fail_closed: Whether nothing is acknowledged or shown that the quorum has not seen.
        post_quantum: Whether to make an ML-DSA-44 key that signs beside the log's main one.
        static: The folder that the log is published into, for any file server; None for one inside
            the data folder.
        admit: A file that says whose signatures are logged without a statement, beside those of
            publishers' keys; None for nobody else's.
        refuse_duplicates: Whether to refuse a signature that is in the log already, instead of
            proving it once more.
        tsa: Whether requests for RFC 3161 timestamps are answered.
        timestamp_ca_file: PEM authorities to believe instead of the system's when timestamp
            authorities are asked over TLS; None for those of the system.
        tsa_policy: The policy that tokens name, an object identifier; the default is below the arc
            that is free for examples.
        ca: Whether to issue certificates.
        oidc_issuers: Whose tokens are good for a certificate.
        oidc_ca_file: PEM authorities to believe instead of the system's when issuers are asked for
            their keys; None for those of the system.
        sigstore_root: A trusted root; None to take no statements in Sigstore bundles.
        require_attestation: Whether batches are taken only from keys for which a result about
            evidence is in force.
        vendors: Where endorsements are fetched that a submitter of evidence did not bring; None to
            fetch none.
        least_free_bytes: Bytes that must stay free on the data folder's disk; with less, nothing
            new is taken.
    """

    data: Path
    listen: str = DEFAULT_LISTEN
    database: str | None = None
    origin: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    http: str | None = None
    checkpoint_lock: str | None = None
    witness_policy: Path | None = None
    fail_closed: bool = False
    post_quantum: bool = False
    static: Path | None = None
    admit: Path | None = None
    refuse_duplicates: bool = False
    tsa: bool = False
    tsa_policy: str = DEFAULT_TSA_POLICY
    timestamp_authorities: tuple[TimestampAuthority, ...] = ()
    timestamp_interval: timedelta = DEFAULT_TIMESTAMP_INTERVAL
    ca: bool = False
    oidc_issuers: tuple[OIDCIssuer, ...] = ()
    sigstore_root: Path | None = None
    require_attestation: bool = False
    vendors: VendorSettings | None = None
    least_free_bytes: int = LEAST_FREE_BYTES
    witness_ca_file: Path | None = None
    timestamp_ca_file: Path | None = None
    oidc_ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """How to witness.

    Attributes:
        data: The witness's folder.
        logs: A policy file whose log lines say whose checkpoints are cosigned.
        listen: Host and port; port 0 takes any free one.
        name: The witness's name; None to keep or make one.
        tls_cert: PEM certificate chain.
        tls_key: PEM private key.
        post_quantum: Whether to make an ML-DSA-44 key that cosigns beside the Ed25519 key.
    """

    data: Path
    logs: Path
    listen: str
    name: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    post_quantum: bool = False


def attestation_required() -> bool:
    """Whether the environment says that batches must be attested [PROVREG_REQUIRE_ATTESTATION].

    Raises:
        MalformedError: ``BAD_SETTING`` if it says neither yes nor no.
    """
    said = os.environ.get("PROVREG_REQUIRE_ATTESTATION", "")
    if said not in ("", "0", "1"):
        raise MalformedError(
            Reason.BAD_SETTING,
            "this setting is yes or no",
            where="PROVREG_REQUIRE_ATTESTATION",
            expected="1 or 0",
            actual=said[:80],
        )
    return said == "1"


def identity_token(file: Path | None) -> str | None:
    """The identity token in ``file``, or of the environment [SIGSTORE_IDENTITY_TOKEN].

    Raises:
        MalformedError: ``BAD_SETTING`` if the file cannot be read.
    """
    if file is not None:
        return _read_token(file, MAX_IDENTITY_TOKEN_CHARACTERS)
    return os.environ.get("SIGSTORE_IDENTITY_TOKEN") or None


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How to reach a registry; what is not given on the command line comes from the environment.

    Attributes:
        server: Host and port. [PROVREG_SERVER]
        token: The bearer token. [PROVREG_TOKEN, or the file named by PROVREG_TOKEN_FILE]
        log_key: The verifier key to insist on, or ``@FILE``. [PROVREG_LOG_KEY]
        ca_file: PEM certificates to believe. [PROVREG_CA_FILE]
        folder: Where keys of known logs are kept. [PROVREG_CONFIG_DIR]
        tsa_chains: PEM chains of the timestamp authorities to believe. [PROVREG_TSA_CHAIN, with a
            colon between several]
    """

    server: str
    token: str | None
    log_key: str | None
    ca_file: Path | None
    folder: Path
    tsa_chains: tuple[Path, ...] = ()

    @classmethod
    def read(
        cls,
        server: str | None = None,
        token_file: str | None = None,
        log_key: str | None = None,
        ca_file: str | None = None,
        tsa_chains: Sequence[Path] = (),
    ) -> Self:
        """Read the environment for whatever was not given.

        Raises:
            MalformedError: ``BAD_SETTING`` if the token file cannot be read.
        """
        environment = os.environ
        named = token_file or environment.get("PROVREG_TOKEN_FILE")
        token = environment.get("PROVREG_TOKEN")
        if token_file or (named and not token):
            token = _read_token(Path(named or ""))
        authorities = ca_file or environment.get("PROVREG_CA_FILE")
        named_chains = environment.get("PROVREG_TSA_CHAIN", "").split(os.pathsep)
        base = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return cls(
            server or environment.get("PROVREG_SERVER") or DEFAULT_LISTEN,
            token or None,
            log_key or environment.get("PROVREG_LOG_KEY"),
            Path(authorities) if authorities else None,
            Path(environment.get("PROVREG_CONFIG_DIR") or base / "provreg"),
            tuple(tsa_chains) or tuple(Path(each) for each in named_chains if each),
        )


def _read_token(path: Path, limit: int = MAX_TOKEN_FILE_CHARACTERS) -> str:
    try:
        with path.open(encoding="ascii") as file:
            return file.read(limit).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this token file cannot be read",
            where=str(path),
            actual=str(error),
        ) from error
