"""RegistryClient: answers are verified values, or errors.

The log's key is pinned from the start. Every receipt is checked against the entry that the client
builds itself from what was signed; every statement is checked for its signer's right to make it.
What cannot be checked here is returned as it came, and its docstring says so.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from registry.api.v1 import statement_pb2
from registry.api.v1 import statement_service_pb2 as pb
from registry.api.v1 import statement_service_pb2_grpc as rpc
from registry.client.artifacts import ArtifactCalls
from registry.client.channel import WRITE_SECONDS, Connection
from registry.client.lineage import LineageCalls
from registry.client.log import LogCalls
from registry.client.session import require
from registry.client.statements import Keyring, LoggedStatement
from registry.core import digest
from registry.core.attestation.bundle import Bundle
from registry.core.attestation.dsse import Envelope
from registry.core.certificates.signing import SigningCertificate
from registry.core.keys import PublicKey
from registry.core.records import key_event, release
from registry.core.records.manifest import MAX_MANIFEST_BYTES, Manifest
from registry.core.records.release import Release
from registry.core.tlog import entry
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.errors import ConflictError, MalformedError, NotFoundError, Reason
from registry.wire import log as wire_log
from registry.wire import statement as wire_statement

PAGE_SIZE: Final = 500
"""Statements asked for at once."""

INSPECTION_SECONDS: Final = 900
"""How long registering a release may take: the registry inspects its files first."""


@dataclass(frozen=True, slots=True)
class ShimHead:
    """Where the journal of a shim stands.

    Attributes:
        next_n: The number of the next record; 0 if nothing was registered yet.
        last_batch: Record id of the last batch; empty if there is none.
        last_leaf: Leaf hash of the last record; empty if there is none.
    """

    next_n: int
    last_batch: bytes
    last_leaf: bytes


@dataclass(frozen=True, slots=True)
class KnownRelease:
    """A release with the manifest that it is bound to.

    Attributes:
        version_id: SHA-256 of the manifest: the name of the model version.
    """

    logged: LoggedStatement
    release: Release
    manifest: Manifest
    version_id: bytes


class RegistryClient(ArtifactCalls, LogCalls, LineageCalls):
    """Talks to one registry whose log has the key ``log_key``. Safe between threads."""

    def __init__(self, connection: Connection, log_key: VerifierKey) -> None:
        super().__init__(connection, log_key)
        self._statements = rpc.StatementServiceStub(connection.channel)
        self._ring: Keyring | None = None
        self._ring_lock = threading.Lock()

    def register(self, envelope: Envelope, key: PublicKey) -> Receipt:
        """Register a statement that the holder of ``key`` signed; the receipt is verified.

        Raises:
            RegistryError: Why the registry does not take it, or what is wrong with its answer.
        """
        request = pb.RegisterRequest(envelope=envelope.to_bytes())
        known = self.heads.size
        answer = self.connection.call(self._statements.Register, request, INSPECTION_SECONDS)
        return self._receipt(wire_log.receipt_from_proto(answer.receipt), envelope, key, known)

    def register_bundle(self, data: bytes) -> tuple[Envelope, Receipt]:
        """Register the statement in a Sigstore bundle; the receipt is verified.

        The envelope names the signer's key, as the log knows it afterwards.

        Raises:
            RegistryError: What is wrong with the bundle, why the registry does not take it, or what
                is wrong with its answer.
        """
        bundle = Bundle.parse(data)
        if not isinstance(bundle.content, Envelope):
            raise MalformedError(
                Reason.MALFORMED_STATEMENT, "this bundle holds no statement, only a signature"
            )
        key = SigningCertificate.parse(bundle.certificate).key
        envelope = replace(bundle.content, keyid=key.key_id)
        request = pb.RegisterRequest(bundle=data)
        known = self.heads.size
        answer = self.connection.call(self._statements.Register, request, INSPECTION_SECONDS)
        receipt = wire_log.receipt_from_proto(answer.receipt)
        return envelope, self._receipt(receipt, envelope, key, known)

    def register_batch(self, envelope: bytes, records: Sequence[bytes]) -> Receipt:
        """Register a batch statement with its records; the receipt is verified.

        Raises:
            RegistryError: As :meth:`register`.
        """
        parsed = Envelope.parse(envelope)
        request = pb.RegisterBatchRequest(envelope=envelope, records=records)
        known = self.heads.size
        answer = self.connection.call(self._statements.RegisterBatch, request, WRITE_SECONDS)
        receipt = wire_log.receipt_from_proto(answer.receipt)
        self.heads.open(receipt.head.note, known)
        return self._receipt(receipt, parsed, self._key(parsed.keyid, receipt.index), known)

    def shim_head(self, shim_id: bytes) -> ShimHead:
        """Where the journal of a shim stands, says the registry."""
        request = pb.GetShimHeadRequest(shim_id=shim_id)
        answer = self.connection.call(self._statements.GetShimHead, request)
        return ShimHead(answer.next_n, answer.last_batch, answer.last_leaf)

    def get_statement(self, record_id: bytes) -> LoggedStatement:
        """One statement by record id.

        Raises:
            NotFoundError: ``UNKNOWN_RECORD``.
            RegistryError: What is wrong with the statement.
        """
        request = pb.GetStatementRequest(record_id=record_id)
        known = self.heads.size
        answer = self.connection.call(self._statements.GetStatement, request)
        logged = self._open(*wire_statement.logged_from_proto(answer.statement), known)
        require(logged.envelope.record_id == record_id, "statement", digest.text(record_id))
        return logged

    def list_statements(
        self, predicate_type: str, name: str = "", version: str = ""
    ) -> Iterator[LoggedStatement]:
        """Statements of one predicate type, oldest first.

        Raises:
            RegistryError: What is wrong with one of them.
        """
        last = -1
        for data, receipt, known in self._pages(predicate_type, name, version):
            logged = self._open(data, receipt, known)
            said = logged.statement
            found = (said.predicate_type, getattr(said.predicate, "name", ""))
            require(found == (predicate_type, name or found[1]), "statement", f"{name}@{version}")
            require(getattr(said.predicate, "version", "") == version or not version, "version")
            require(logged.index > last, "order of statements")
            last = logged.index
            yield logged

    def statements_about(self, predicate_type: str, subject: bytes) -> Iterator[LoggedStatement]:
        """Statements of one predicate type about one thing, oldest first.

        For types that the registry lists by the digest of their subject.

        Raises:
            RegistryError: What is wrong with one of them.
        """
        for data, receipt, known in self._pages(predicate_type, subject.hex()):
            logged = self._open(data, receipt, known)
            found = (logged.statement.predicate_type, logged.statement.subject[0].digest.sha256)
            require(found == (predicate_type, subject.hex()), "statement", digest.text(subject))
            yield logged

    def find_version(self, predicate_type: str, name: str, version: str) -> LoggedStatement:
        """The one statement of this type about this version of this name.

        Raises:
            NotFoundError: ``UNKNOWN_VERSION``.
            ConflictError: ``VERSION_EXISTS`` if the registry shows two.
        """
        found = list(self.list_statements(predicate_type, name, version))
        if not found:
            raise NotFoundError(
                Reason.UNKNOWN_VERSION,
                "no such version is registered",
                where=f"{name}@{version}",
                hint="run: provreg model list",
            )
        if len(found) > 1:
            raise ConflictError(
                Reason.VERSION_EXISTS,
                "the registry shows two statements about one version",
                where=f"{name}@{version}",
                actual=", ".join(f"entry {item.index}" for item in found[:3]),
            )
        return found[0]

    def release(self, name: str, version: str) -> KnownRelease:
        """A release and its manifest, all the way down to the log.

        Raises:
            NotFoundError: ``UNKNOWN_VERSION``.
            RegistryError: What is wrong with it.
        """
        logged = self.find_version(release.PREDICATE_TYPE, name, version)
        said: Release = logged.statement.predicate
        version_id = bytes.fromhex(logged.statement.subject[0].digest.sha256)
        raw = self.read_blob(version_id, MAX_MANIFEST_BYTES)
        manifest = release.validate_manifest(logged.statement.subject, said, raw)
        return KnownRelease(logged, said, manifest, version_id)

    def _pages(
        self, predicate_type: str, name: str = "", version: str = ""
    ) -> Iterator[tuple[bytes, Receipt, int]]:
        token = ""
        while True:
            known = self.heads.size
            answer = self.connection.call(
                self._statements.ListStatements,
                pb.ListStatementsRequest(
                    predicate_type=predicate_type,
                    name=name,
                    version=version,
                    page_size=PAGE_SIZE,
                    page_token=token,
                ),
            )
            for item in answer.statements:
                data, receipt = wire_statement.logged_from_proto(item)
                yield data, receipt, known
            token = answer.next_page_token
            if not token or not answer.statements:
                return

    def opened(self, message: statement_pb2.LoggedStatement, known: int) -> LoggedStatement:
        """Check a statement that an answer of another service carries.

        Args:
            message: The statement with its receipt.
            known: How many entries were known when the registry was asked.

        Raises:
            RegistryError: What is wrong with it.
        """
        return self._open(*wire_statement.logged_from_proto(message), known)

    def _open(self, data: bytes, receipt: Receipt, known: int) -> LoggedStatement:
        self.heads.open(receipt.head.note, known)
        return self._keyring(receipt.index).open(data, receipt, self.heads, known)

    def _key(self, key_id: str, index: int) -> PublicKey:
        """The key with this id; not asked for again with every batch, since it never changes."""
        ring = self._ring
        if ring is not None and ring.introduces(key_id):
            return ring.key(key_id)
        return self._keyring(index).key(key_id)

    def _keyring(self, index: int) -> Keyring:
        """All keys that may have signed entry ``index``, which is in the log by now."""
        with self._ring_lock:
            if self._ring is None or self._ring.size <= index:
                known = self.heads.size
                events = (item[:2] for item in self._pages(key_event.PREDICATE_TYPE))
                self._ring = Keyring.load(events, self.heads, known)
            return self._ring

    def _receipt(self, receipt: Receipt, envelope: Envelope, key: PublicKey, known: int) -> Receipt:
        body = entry.write(envelope.record_id, envelope.signature, key.der)
        self.heads.verify(receipt, body, known)
        return receipt

    def keyring(self) -> Keyring:
        """The keys of the log as of its newest checkpoint."""
        size = self.checkpoint().checkpoint.size
        return self._keyring(size - 1)
