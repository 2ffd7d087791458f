"""Signatures without statements: kept through restarts, rebuilds and audits."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registry.config import ServerSettings
from registry.core.attestation.identity import Identity
from registry.core.tlog import entry
from registry.core.tlog.entry_request import EntryRequest
from registry.core.tlog.receipt import Receipt
from registry.errors import RegistryError
from registry.server.offline import check_offline, open_offline
from registry.services.indexing import rebuild
from registry.signing.authority import CertificateAuthority
from registry.signing.file import StatementSigner
from registry.storage.sql import tables
from tests.contracts.registry_under_test import SECONDS, UnderTest, opened
from tests.mint import dataset_statement
from tests.rekor import request_of

ISSUER = "https://issuer.example"
ALICE = StatementSigner.generate()


def nobody(_what: str, _done: int) -> None:
    """Tell nobody."""


@pytest.fixture
def admit(tmp_path: Path) -> Path:
    """A policy that takes Alice's certificates."""
    return tmp_path / "admit"


@pytest.fixture
def certified(admit: Path) -> bytes:
    """A request by Alice with a certificate that is valid now."""
    now = datetime.now(UTC)
    authority = CertificateAuthority.generate("ca.example", now)
    (admit.parent / "ca.pem").write_text(authority.certificate_pem)
    admit.write_text(f"authority ca.pem\nidentity {ISSUER} alice@example.com\n")
    identity = Identity(ISSUER, "alice@example.com")
    return request_of(ALICE, authority.issue(ALICE.public_key, identity, now).der)


@pytest.fixture
def registry(tmp_path: Path, url: str, admit: Path, certified: bytes) -> Iterator[UnderTest]:
    assert certified
    with opened(tmp_path / "data", url, admit=admit) as registry:
        yield registry


def register(registry: UnderTest, request: bytes) -> tuple[Receipt, bytes]:
    logging = registry.services.signatures.register(EntryRequest.parse(request))
    return logging.receipt.result(SECONDS), logging.body


def test_a_receipt_proves_the_signature(registry: UnderTest, certified: bytes) -> None:
    for request in (certified, request_of(registry.keys["acme"])):
        receipt, body = register(registry, request)
        receipt.verify(body, registry.services.signer.key)


def test_a_signature_keeps_its_index_through_a_restart(
    registry: UnderTest, certified: bytes
) -> None:
    first, _ = register(registry, certified)
    register(registry, request_of(registry.keys["acme"]))
    second, body = register(registry, certified)
    assert second.index == first.index
    assert entry.parse(body).certificate_der


def test_duplicates_are_refused_after_a_restart_as_well(
    tmp_path: Path, url: str, admit: Path, certified: bytes
) -> None:
    settings: dict[str, Any] = {"admit": admit, "refuse_duplicates": True}
    with opened(tmp_path / "data", url, **settings) as registry:
        receipt, _ = register(registry, certified)
    with opened(tmp_path / "data", url, registry.keys, **settings) as again:
        before = again.stored()
        with pytest.raises(RegistryError) as refused:
            register(again, certified)
        assert (refused.value.reason, refused.value.actual) == (
            "ENTRY_EXISTS", str(receipt.index),
        )  # fmt: skip
        assert again.stored() == before


def test_a_refused_signature_leaves_nothing_behind(registry: UnderTest) -> None:
    before = registry.stored()
    with pytest.raises(RegistryError, match="NOT_ADMITTED"):
        register(registry, request_of(ALICE))
    assert registry.stored() == before


def test_a_rebuild_and_an_audit_take_bare_entries_as_they_are(
    tmp_path: Path, url: str, admit: Path, certified: bytes
) -> None:
    settings = ServerSettings(tmp_path / "data", database=url)
    with opened(tmp_path / "data", url, admit=admit) as registry:
        registry.register(dataset_statement())
        register(registry, certified)
        register(registry, request_of(registry.keys["acme"]))
        size = registry.size
        assert registry.services.publisher.wait(SECONDS)
    assert check_offline(settings, nobody, repair=False).faults == ()
    with open_offline(settings) as stopped:
        assert rebuild(stopped.database, stopped.blobs, nobody) == size
    assert check_offline(settings, nobody, repair=False).faults == ()


@pytest.mark.parametrize("column", ["body", "record_id"])
def test_an_audit_finds_a_bare_entry_that_was_changed(
    tmp_path: Path, url: str, admit: Path, certified: bytes, column: str
) -> None:
    settings = ServerSettings(tmp_path / "data", database=url)
    with opened(tmp_path / "data", url, admit=admit) as registry:
        receipt, body = register(registry, certified)
    other = body.replace(b"0.0.2", b"0.0.3") if column == "body" else b"\1" * 32
    with open_offline(settings) as stopped, stopped.database.write() as connection:
        log_entries = tables.entries
        connection.execute(
            log_entries.update()
            .where(log_entries.c.entry_index == receipt.index)
            .values({column: other})
        )
    assert check_offline(settings, nobody, repair=False).faults
