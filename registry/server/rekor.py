"""Logging signatures over gRPC, as Sigstore's Rekor v2 has it; and who may."""

from pathlib import Path
from typing import Any

import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from registry.api.sigstore import rekor_v1_pb2, rekor_v2_pb2
from registry.api.sigstore import rekor_v2_pb2_grpc as rpc
from registry.core.attestation.admission import MAX_POLICY_BYTES, AdmissionPolicy
from registry.core.certificates.chain import MAX_CERTIFICATE_BYTES, Authority, Window
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.errors import MalformedError, Reason, RegistryError
from registry.server.waiting import Waiting
from registry.services.signatures import Signatures
from registry.wire import rekor as wire

MAX_AUTHORITY_BYTES = 4 * MAX_CERTIFICATE_BYTES
"""Bytes of a PEM file with an authority's certificates."""

Context = grpc.aio.ServicerContext[Any, Any]


class RekorServicer(rpc.RekorServicer):
    """Thin: wire → value, one service call, value → wire."""

    def __init__(self, signatures: Signatures, key: VerifierKey) -> None:
        self._signatures = signatures
        self._key = key
        self._waiting: Waiting[Receipt] = Waiting()

    async def CreateEntry(  # noqa: N802 - gRPC's spelling
        self, request: rekor_v2_pb2.CreateEntryRequest, context: Context
    ) -> rekor_v1_pb2.TransparencyLogEntry:
        """Log one signature."""
        logging = self._signatures.register(wire.request_from_proto(request))
        receipt = await self._waiting.result(logging.receipt)
        entry = TransparencyLogEntry.proved(logging.body, receipt, self._key)
        return wire.entry_to_proto(entry)


def read_policy(file: Path | None, own: tuple[Authority, ...] = ()) -> AdmissionPolicy:
    """The operator's admission policy; files that it names are looked for beside it.

    ``own`` is the registry's own certificate authority, if it has one.

    Raises:
        MalformedError: ``BAD_SETTING`` if a file cannot be read, or says something else.
    """
    if file is None:
        return AdmissionPolicy()
    try:
        text = _read(file, MAX_POLICY_BYTES).decode()
        return AdmissionPolicy.parse(text, lambda name: _authority(file.parent / name), own)
    except (UnicodeDecodeError, RegistryError) as error:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this is not an admission policy",
            where=str(file),
            actual=str(error),
            hint="one rule in a line: authority FILE, identity ISSUER NAME or key ID",
        ) from error


def _authority(file: Path) -> Authority:
    try:
        chain = x509.load_pem_x509_certificates(_read(file, MAX_AUTHORITY_BYTES))
    except ValueError as error:
        raise MalformedError(
            Reason.MALFORMED_CERTIFICATE, "these are no PEM certificates", where=str(file)
        ) from error
    first = chain[0]
    return Authority(
        tuple(certificate.public_bytes(Encoding.DER) for certificate in chain),
        Window(first.not_valid_before_utc, first.not_valid_after_utc),
    )


def _read(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
    except OSError as error:
        raise MalformedError(
            Reason.BAD_SETTING, "this file cannot be read", where=str(file), actual=str(error)
        ) from error
    if len(data) > limit:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this file is too long",
            where=str(file),
            expected=f"at most {limit} bytes",
        )
    return data
