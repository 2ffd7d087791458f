"""The private certificate authority's files, and the authority itself if the settings ask for it.

Made at the first start with ``--ca``, step by step: a start that dies half-way goes on with the
next file. A key is never made again for a certificate that exists: whoever pinned it would be lost.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from registry.config import NO_HTTP, ServerSettings
from registry.errors import MalformedError, NotFoundError, Reason
from registry.remote.http import HTTPClient
from registry.services.access import Access, Clock
from registry.services.ephemeral import EphemeralKeys
from registry.services.identity import Certification
from registry.services.operator import Operator
from registry.services.tokens import Issuers
from registry.signing.authority import CertificateAuthority, self_signed
from registry.signing.file import generate_p256, load_p256, public_pem
from registry.storage.durable import write_new

CA_KEY_FILE: Final = "ca.pem"
"""The authority's private key, in the folder of keys."""

CA_CHAIN_FILE: Final = "ca-chain.pem"
"""The authority's own certificate, in PEM: what its clients pin."""

CT_KEY_FILE: Final = "ct.pem"
"""The private key that signs SCTs."""

CT_PUBLIC_FILE: Final = "ct.pem.pub"
"""The public half of that key, in PEM: clients pin it, too."""

MAX_CHAIN_BYTES = 4096
"""Bytes of the certificate file; ours take about 800."""


def open_authority(keys: Path, origin: str, at: datetime) -> CertificateAuthority:
    """The authority in the folder ``keys``, made at the time ``at`` if there is none.

    Raises:
        NotFoundError: ``KEY_LOST`` if what clients pinned is there, and its key is not.
        MalformedError: What is wrong with a file.
        DamagedError: ``STORED_BYTES`` if the files do not belong together.
    """
    key_file, ct_file = keys / CA_KEY_FILE, keys / CT_KEY_FILE
    chain_file, public_file = keys / CA_CHAIN_FILE, keys / CT_PUBLIC_FILE
    if not chain_file.exists():
        if not key_file.exists():
            generate_p256(key_file)
        made = self_signed(load_p256(key_file), origin, at)
        write_new(chain_file, made.public_bytes(Encoding.PEM), 0o644)
    if not ct_file.exists() and not public_file.exists():
        generate_p256(ct_file)
    check_kept(key_file, "ca")
    check_kept(ct_file, "ct")
    with chain_file.open("rb") as file:
        chain = file.read(MAX_CHAIN_BYTES)
    authority = CertificateAuthority.load(load_p256(key_file), load_p256(ct_file), chain)
    if not public_file.exists():
        write_new(public_file, public_pem(authority.ct_key), 0o644)
    return authority


def check_kept(file: Path, kind: str) -> None:
    """A key whose public half is pinned is never made again by starting.

    Raises:
        NotFoundError: ``KEY_LOST``.
    """
    if not file.exists():
        raise NotFoundError(
            Reason.KEY_LOST,
            "the key of an authority is gone, and its clients have pinned it",
            where=str(file),
            hint=f"restore it from a backup, or have a new one: provreg log retire {kind}",
        )


@contextmanager
def open_certification(
    settings: ServerSettings,
    access: Access,
    operator: Operator,
    ephemeral: EphemeralKeys,
    *,
    origin: str,
    clock: Clock,
) -> Iterator[Certification | None]:
    """What issues certificates while the block runs; None if nobody asked for it.

    Raises:
        MalformedError: ``BAD_SETTING``, or what is wrong with a key file.
        DamagedError: ``STORED_BYTES`` if the authority's files do not belong together.
    """
    asked = [issuer.url for issuer in settings.oidc_issuers if issuer.key_file is None]
    if settings.oidc_ca_file is not None and not asked:
        raise MalformedError(
            Reason.BAD_SETTING,
            "there are no issuers to be asked for their keys",
            where="--oidc-ca-file",
            hint="say whom to ask: --oidc-issuer URL=AUDIENCE",
        )
    if not settings.ca:
        if settings.oidc_issuers:
            raise MalformedError(
                Reason.BAD_SETTING,
                "identity issuers are for a registry that issues certificates",
                where="--oidc-issuer",
                hint="add --ca",
            )
        yield None
        return
    if settings.http == NO_HTTP:
        raise MalformedError(
            Reason.BAD_SETTING,
            "certificates are issued over HTTP, which is off",
            where="--ca",
            hint="say where HTTP is answered: --http HOST:PORT",
        )
    with HTTPClient(ca_file=settings.oidc_ca_file) as client:
        yield Certification(
            open_authority(settings.data / "keys", origin, clock()),
            Issuers(settings.oidc_issuers, client),
            access,
            operator,
            ephemeral,
            origin=origin,
            clock=clock,
        )
