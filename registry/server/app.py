"""Composition root of the registry: settings → stores → services → server; and the clock."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from registry.allocator import keep_memory
from registry.api.sigstore import rekor_v2_pb2, rekor_v2_pb2_grpc
from registry.api.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    artifact_service_pb2,
    evidence_service_pb2,
    journal_service_pb2,
    lineage_service_pb2,
    lineage_service_pb2_grpc,
    log_service_pb2,
    log_service_pb2_grpc,
    statement_service_pb2,
    statement_service_pb2_grpc,
)
from registry.config import ServerSettings
from registry.remote.endorser import VendorEndorser
from registry.server import listening
from registry.server.announcing import Ready, announcement
from registry.server.artifacts import add_artifacts
from registry.server.cosigning import open_cosigning
from registry.server.evidence import EvidenceServices, add_evidence, open_evidence
from registry.server.folder import STATIC_FOLDER, DataFolder
from registry.server.guard import Guard
from registry.server.http.blobs import BlobRoom
from registry.server.http.cosigned import CosignedCheckpoint
from registry.server.http.identity import CertificateRoutes
from registry.server.http.rekor import RekorRoom
from registry.server.http.routing import Routes
from registry.server.http.tiles import TileRoom
from registry.server.http.timestamping import Schedule, Timestamping
from registry.server.http.uploads import UploadRoom
from registry.server.identity import open_certification
from registry.server.journals import add_journals
from registry.server.lineage import LineageServicer
from registry.server.log import LogServicer
from registry.server.principals import AccessServicer
from registry.server.rekor import RekorServicer, read_policy
from registry.server.sigstore import open_sigstore
from registry.server.statements import StatementServicer
from registry.server.timestamping import open_stamping, open_timestamps
from registry.server.watchers import Watchers
from registry.services.access import Access, new_token
from registry.services.artifacts import Artifacts
from registry.services.cosigning import Cosigning
from registry.services.costs import CostSums
from registry.services.ephemeral import EphemeralKeys
from registry.services.identity import Certification
from registry.services.journals import Journals
from registry.services.keyring import Keyring
from registry.services.lineage import Lineage
from registry.services.operator import Operator
from registry.services.publishing import Publisher
from registry.services.reading import Reading
from registry.services.registration import Registration
from registry.services.scrubbing import Scrubber
from registry.services.sequencing import Sequencer
from registry.services.signatures import Signatures
from registry.services.sigstore_statements import SigstoreStatements
from registry.services.tickets import Tickets
from registry.services.tiles import Tiles
from registry.services.timestamps import Timestamps
from registry.services.watching import Watching
from registry.signing.file import LogSigner
from registry.signing.timestamping import TimestampSigner
from registry.storage.blobs.disk import DiskBlobStore
from registry.storage.space import DiskSpace
from registry.storage.sql import migrate
from registry.storage.sql.engine import Database
from registry.storage.tiles import TileFolder

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Bytes of one message: a batch of 4096 records fits."""

MAX_CALLS = 1024
"""Calls that are answered at once."""

STOP_GRACE_SECONDS = 10
"""How long running calls may go on after the registry was told to stop."""

HEALTH_SECONDS = 0.5
"""How often health checks are told whether statements are taken."""

THREAD_SWITCH_SECONDS = 0.0005
"""How long one thread may keep the others waiting: the loop must not starve the sequencer."""

ADMIN = "admin"
"""The principal that the first start creates."""

_SERVICES = (
    access_service_pb2.DESCRIPTOR.services_by_name["AccessService"].full_name,
    artifact_service_pb2.DESCRIPTOR.services_by_name["ArtifactService"].full_name,
    evidence_service_pb2.DESCRIPTOR.services_by_name["EvidenceService"].full_name,
    journal_service_pb2.DESCRIPTOR.services_by_name["JournalService"].full_name,
    lineage_service_pb2.DESCRIPTOR.services_by_name["LineageService"].full_name,
    log_service_pb2.DESCRIPTOR.services_by_name["LogService"].full_name,
    statement_service_pb2.DESCRIPTOR.services_by_name["StatementService"].full_name,
    rekor_v2_pb2.DESCRIPTOR.services_by_name["Rekor"].full_name,
)

logger = logging.getLogger(__name__)


def now() -> datetime:
    """The registry's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that answers."""

    database: Database
    blobs: DiskBlobStore
    signer: LogSigner
    sequencer: Sequencer
    artifacts: Artifacts
    registration: Registration
    lineage: Lineage
    journals: Journals
    sums: CostSums
    reading: Reading
    tiles: Tiles
    publisher: Publisher
    signatures: Signatures
    access: Access
    tickets: Tickets
    watchers: Watchers
    evidence: EvidenceServices
    stamping: TimestampSigner | None = None
    timestamps: Timestamps | None = None
    certification: Certification | None = None
    sigstore: SigstoreStatements | None = None
    cosigning: Cosigning | None = None


@contextmanager
def open_services(settings: ServerSettings) -> Iterator[tuple[Services, bool]]:
    """Open the data folder for this process alone; the second value: was it empty before?

    Raises:
        UnavailableError: ``LOG_IN_USE``, ``SCHEMA_BEHIND`` or ``UNREACHABLE``.
        NotFoundError: ``LOCK_MISSING``.
        DamagedError: ``STORED_BYTES``, ``LOG_ROLLBACK`` or ``FORK``.
    """
    with ExitStack() as resources:
        folder = resources.enter_context(DataFolder(settings.data))
        database = Database(settings.database or folder.default_database)
        resources.callback(database.close)
        database.lock_exclusively()
        first = migrate.is_new(database)
        if first:
            migrate.upgrade(database)
        migrate.check(database)
        signer, operator = folder.keys(settings.origin)
        beside = folder.post_quantum_key(signer.key.name, make=settings.post_quantum)
        if beside is not None:
            signer.also(lambda checkpoint: beside.cosign(checkpoint, now()))
        lock = folder.checkpoint_lock(settings.checkpoint_lock, signer.key)
        resources.callback(lock.close)
        blobs = DiskBlobStore(folder.path / "blobs")
        keyring = Keyring()
        keyring.load(database)
        keyring.check_operator(database, operator.public_key.key_id)
        space = DiskSpace(folder.path, settings.least_free_bytes)
        sequencer = Sequencer(database, signer, keyring, lock, space)
        resources.callback(sequencer.close)
        artifacts = Artifacts(database, blobs, space)
        access = Access(database, keyring, sequencer, operator, now)
        if sequencer.head is None:
            access.introduce_operator()
        if not access.exists(ADMIN):
            token = folder.admin_token(new_token)
            access.add(ADMIN, ("admin", "auditor"), (), (), None, token=token)
        says = Operator(operator, keyring, sequencer)
        ephemeral = EphemeralKeys(keyring, says, now)
        resources.callback(ephemeral.close)
        certification = resources.enter_context(
            open_certification(settings, access, says, ephemeral, origin=signer.key.name, clock=now)
        )
        cosigning = resources.enter_context(
            open_cosigning(settings, database, sequencer, signer.key)
        )
        tiles = Tiles(database, sequencer.tree)
        publisher = Publisher(
            sequencer, tiles, TileFolder(settings.static or folder.path / STATIC_FOLDER)
        )
        resources.callback(publisher.close)
        publisher.start()
        scrubber = Scrubber(database, sequencer)
        resources.callback(scrubber.close)
        scrubber.start()
        endorser = VendorEndorser.open(settings.vendors, now) if settings.vendors else None
        if endorser is not None:
            resources.callback(endorser.close)
        evidence = resources.enter_context(
            open_evidence(
                database=database,
                blobs=blobs,
                artifacts=artifacts,
                keyring=keyring,
                operator=says,
                clock=now,
                endorser=endorser,
            )
        )
        journals = Journals(database, blobs)
        registration = Registration(
            database,
            blobs,
            artifacts,
            keyring,
            sequencer,
            attested=evidence.attested if settings.require_attestation else None,
        )
        sigstore = open_sigstore(
            settings,
            artifacts=artifacts,
            access=access,
            keyring=keyring,
            operator=says,
            ephemeral=ephemeral,
            registration=registration,
            sequencer=sequencer,
            clock=now,
        )
        yield (
            Services(
                database,
                blobs,
                signer,
                sequencer,
                artifacts,
                registration,
                Lineage(database, blobs, keyring, sequencer, signer.key),
                journals,
                CostSums(database, blobs, journals),
                Reading(database),
                tiles,
                publisher,
                Signatures(
                    database,
                    keyring,
                    sequencer,
                    read_policy(
                        settings.admit, () if certification is None else (certification.authority,)
                    ),
                    now,
                    refuse_duplicates=settings.refuse_duplicates,
                ),
                access,
                Tickets(access, now),
                Watchers(Watching(database, sequencer), sequencer),
                evidence,
                open_stamping(settings, folder.path / "keys", signer.key.name, now()),
                open_timestamps(settings, database, sequencer, now, resources),
                certification,
                sigstore,
                cosigning,
            ),
            first,
        )


def build_server(
    services: Services, http_port: int | None
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    """A server without a port, whose callers are told where HTTP is answered on the same host."""
    server = grpc.aio.server(
        interceptors=[Guard(services.access, services.sequencer.frozen)],
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # A second process on the same port must fail, not share it.
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 20_000),
        ],
        maximum_concurrent_rpcs=MAX_CALLS,
    )
    access_service_pb2_grpc.add_AccessServiceServicer_to_server(
        AccessServicer(services.access), server
    )
    add_artifacts(services.artifacts, services.tickets, http_port, server)
    add_evidence(services.evidence, services.sequencer, server)
    add_journals(services.journals, services.sums, services.sequencer, server)
    lineage_service_pb2_grpc.add_LineageServiceServicer_to_server(
        LineageServicer(services.lineage, services.evidence.attested), server
    )
    log_service_pb2_grpc.add_LogServiceServicer_to_server(
        LogServicer(services.signer, services.reading, services.sequencer, services.watchers),
        server,
    )
    statement_service_pb2_grpc.add_StatementServiceServicer_to_server(
        StatementServicer(services.registration, services.sequencer, services.sigstore), server
    )
    rekor_v2_pb2_grpc.add_RekorServicer_to_server(
        RekorServicer(services.signatures, services.signer.key), server
    )
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection(
        (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    return server, checks


def http_routes(services: Services) -> Routes:
    """Everything that is answered over HTTP."""
    routes = TileRoom(services.sequencer, services.tiles).routes()
    routes += BlobRoom(services.artifacts, services.access, services.tickets).routes()
    routes += UploadRoom(services.artifacts, services.tickets, services.sequencer.frozen).routes()
    routes += CosignedCheckpoint(services.sequencer, services.cosigning).routes()
    routes += RekorRoom(services.signatures, services.signer.key).routes()
    if services.stamping is not None:
        routes += Timestamping(services.stamping, now).routes()
    if services.timestamps is not None:
        routes += Schedule(services.timestamps).routes()
    if services.certification is not None:
        routes += CertificateRoutes(services.certification).routes()
    return Routes(routes)


async def _serve(settings: ServerSettings, services: Services, *, first: bool) -> None:
    face = listening.face(http_routes(services), settings)
    server, checks = build_server(services, listening.port_beside(settings, face))
    address = listening.listen(server, settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await server.start()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    watching = asyncio.create_task(_watch_health(services, checks))
    url = "" if face is None else await face.start()
    ready = Ready(
        address,
        url,
        services.signer.key,
        services.sequencer.head,
        "" if services.cosigning is None else services.cosigning.quorum,
        frozen=services.sequencer.frozen is not None,
        first=first,
    )
    sys.stdout.write(announcement(settings, ready))
    sys.stdout.flush()
    await stop.wait()
    watching.cancel()
    await checks.enter_graceful_shutdown()
    services.watchers.close()
    stopping = [] if face is None else [face.stop(STOP_GRACE_SECONDS)]
    await asyncio.gather(server.stop(STOP_GRACE_SECONDS), *stopping)


async def _watch_health(services: Services, checks: health.aio.HealthServicer) -> None:
    """Tell health checks whether statements are taken; reading goes on when they are not."""
    name = statement_service_pb2.DESCRIPTOR.services_by_name["StatementService"].full_name
    while services.sequencer.latched is None:
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        await asyncio.sleep(HEALTH_SECONDS)
    await checks.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)


def run(settings: ServerSettings) -> None:
    """Serve until told to stop (SIGTERM, SIGINT).

    Raises:
        RegistryError: Whatever keeps the registry from starting.
    """
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    keep_memory()
    with open_services(settings) as (services, first):
        # What is there now stays until the end: collecting garbage need not look at it ever again.
        gc.collect()
        gc.freeze()
        asyncio.run(_serve(settings, services, first=first))
