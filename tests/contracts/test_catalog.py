"""The catalog and the access rows, as both databases keep them."""

import pytest
from sqlalchemy.exc import IntegrityError

from registry.core.digest import sha256
from registry.errors import ConflictError, Reason
from registry.storage.blobs.port import BlobInfo
from registry.storage.sql import access, catalog, log
from registry.storage.sql.access import StoredPrincipal, StoredToken
from registry.storage.sql.catalog import Listed, ShimHead, StoredBatch
from registry.storage.sql.engine import Database
from registry.storage.sql.log import StoredEntry

KIND, OTHER = "https://example.test/kind/v1", "https://example.test/other/v1"


def listed(index: int, name: str = "acme/x", version: str = "1", kind: str = KIND) -> Listed:
    return Listed(index, kind, name, version, "k" * 64, "acme")


def stored(index: int) -> StoredEntry:
    name = b"%d" % index
    return StoredEntry(index, sha256(b"leaf" + name), sha256(name), name, name)


def register(database: Database, *rows: Listed) -> None:
    with database.write() as connection:
        log.append(connection, [stored(row.index) for row in rows], [])
        catalog.add_statements(connection, rows)
        catalog.add_versions(connection, rows)


def batch(index: int, n_first: int, n_last: int, shim: bytes = b"s" * 16) -> StoredBatch:
    return StoredBatch(
        index,
        shim,
        n_first,
        n_last,
        sha256(b"record %d" % index),
        "node",
        sha256(b"leaves"),
        sha256(b"hashes"),
        sha256(b"last %d" % index),
    )


def indices(found: list[tuple[Listed, StoredEntry]]) -> list[int]:
    return [entry.index for _, entry in found]


def test_a_statement_is_found_by_index(database: Database) -> None:
    register(database, listed(0))
    with database.read() as connection:
        assert catalog.listed(connection, 0) == listed(0)


def test_statements_are_found_with_their_entries(database: Database) -> None:
    register(database, listed(0))
    with database.read() as connection:
        assert catalog.find(connection, KIND, limit=9) == [(listed(0), stored(0))]


def test_statements_are_found_by_kind_name_and_version(database: Database) -> None:
    register(
        database,
        listed(0),
        listed(1, version="2"),
        listed(2, name="acme/y"),
        listed(3, kind=OTHER),
    )
    with database.read() as connection:
        answers = [
            catalog.find(connection, KIND, limit=9),
            catalog.find(connection, KIND, name="acme/x", limit=9),
            catalog.find(connection, KIND, name="acme/x", version="2", limit=9),
            catalog.find(connection, OTHER, limit=9),
        ]
    assert [indices(found) for found in answers] == [[0, 1, 2], [0, 1], [1], [3]]


def test_statements_are_found_in_pages(database: Database) -> None:
    register(database, *(listed(n, version=str(n)) for n in range(5)))
    with database.read() as connection:
        pages = [catalog.find(connection, KIND, start=start, limit=2) for start in (0, 2, 4)]
    assert [indices(found) for found in pages] == [[0, 1], [2, 3], [4]]


def test_names_are_compared_exactly(database: Database) -> None:
    register(database, listed(0, name="acme/x"))
    with database.read() as connection:
        found = [catalog.find(connection, KIND, name=n, limit=9) for n in ("ACME/X", "acme/%")]
    assert found == [[], []]


def test_a_version_is_taken_only_once(database: Database) -> None:
    register(database, listed(0))
    with pytest.raises(IntegrityError):
        register(database, listed(1))


def test_a_version_is_taken_for_one_kind_only(database: Database) -> None:
    register(database, listed(0), listed(1, kind=OTHER))
    with database.read() as connection:
        assert catalog.version_index(connection, OTHER, "acme/x", "1") == 1


def test_versions_differ_by_case(database: Database) -> None:
    register(database, listed(0, version="a"), listed(1, version="A"))
    with database.read() as connection:
        assert catalog.version_index(connection, KIND, "acme/x", "A") == 1


def test_a_free_version_has_no_entry(database: Database) -> None:
    with database.read() as connection:
        assert catalog.version_index(connection, KIND, "acme/x", "1") is None


def test_taken_versions_are_told_from_free_ones(database: Database) -> None:
    register(database, listed(0), listed(1, name="acme/y", version="2"))
    asked = [(KIND, "acme/x", "1"), (KIND, "acme/x", "2"), (KIND, "acme/y", "2")]
    with database.read() as connection:
        found = catalog.taken_versions(connection, asked)
    assert found == {(KIND, "acme/x", "1"): 0, (KIND, "acme/y", "2"): 1}


def test_many_versions_are_looked_up_at_once(database: Database) -> None:
    rows = [listed(n, name=f"acme/n{n}") for n in range(1200)]
    register(database, *rows)
    asked = [(KIND, row.name, "1") for row in rows] + [(KIND, "acme/free", "1")]
    with database.read() as connection:
        assert len(catalog.taken_versions(connection, asked)) == 1200


def test_no_versions_are_taken_in_an_empty_question(database: Database) -> None:
    with database.read() as connection:
        assert catalog.taken_versions(connection, []) == {}


def test_a_shim_without_batches_has_no_head(database: Database) -> None:
    with database.read() as connection:
        assert catalog.shim_head(connection, b"s" * 16) is None


def test_the_head_of_a_shim_is_its_last_batch(database: Database) -> None:
    first, second, foreign = batch(5, 0, 9), batch(7, 10, 19), batch(8, 0, 99, b"t" * 16)
    with database.write() as connection:
        catalog.add_batches(connection, [second, first, foreign])
    with database.read() as connection:
        head = catalog.shim_head(connection, b"s" * 16)
    assert head == ShimHead(19, second.record_id, second.last_leaf, "node")


def test_a_batch_is_read_back(database: Database) -> None:
    with database.write() as connection:
        catalog.add_batches(connection, [batch(5, 0, 9)])
    with database.read() as connection:
        assert (catalog.batch(connection, 5), catalog.batch(connection, 6)) == (
            batch(5, 0, 9),
            None,
        )


def test_two_batches_never_begin_at_one_record(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        catalog.add_batches(connection, [batch(5, 0, 9), batch(6, 0, 3)])


def test_a_blob_may_be_noted_twice(database: Database) -> None:
    info = BlobInfo(b"a" * 32, b"b" * 64, 2**40)
    with database.write() as connection:
        catalog.add_blob(connection, info)
        catalog.add_blob(connection, info)
    with database.read() as connection:
        assert catalog.blobs(connection, [b"a" * 32, b"c" * 32]) == {b"a" * 32: info}


ACME = StoredPrincipal("acme", ("publisher", "node"), ("acme/*", "lab/x"))
TOKEN = StoredToken(b"h" * 32, "acme", 1_900_000_000, None)


def add_acme(database: Database) -> None:
    with database.write() as connection:
        access.add_principal(connection, ACME)
        access.add_token(connection, TOKEN)


def test_a_principal_is_read_back(database: Database) -> None:
    add_acme(database)
    with database.read() as connection:
        assert access.principals(connection) == [ACME]


def test_a_token_is_read_back(database: Database) -> None:
    add_acme(database)
    with database.read() as connection:
        assert access.tokens(connection) == [TOKEN]


def test_a_name_is_given_to_one_principal_only(database: Database) -> None:
    add_acme(database)
    with pytest.raises(ConflictError) as refused, database.write() as connection:
        access.add_principal(connection, ACME)
    assert refused.value.reason is Reason.PRINCIPAL_EXISTS


def test_a_token_belongs_to_somebody(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        access.add_token(connection, TOKEN)


def test_revoking_ends_the_principal_and_its_tokens(database: Database) -> None:
    add_acme(database)
    with database.write() as connection:
        access.revoke(connection, "acme", 1_800_000_000)
    with database.read() as connection:
        ended = [
            access.principals(connection)[0].revoked_at,
            access.tokens(connection)[0].revoked_at,
        ]
    assert ended == [1_800_000_000] * 2


def test_revoking_again_keeps_the_first_time(database: Database) -> None:
    add_acme(database)
    with database.write() as connection:
        access.revoke(connection, "acme", 1_800_000_000)
        access.revoke(connection, "acme", 1_900_000_000)
    with database.read() as connection:
        assert access.principals(connection)[0].revoked_at == 1_800_000_000
