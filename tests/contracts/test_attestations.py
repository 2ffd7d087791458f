"""Results are found by evidence, key and verifier, and say which keys are attested."""

from dataclasses import replace

import pytest

from registry.storage.sql import attestations
from registry.storage.sql.attestations import StoredResult
from registry.storage.sql.engine import Database

KEY = "ab" * 32
EVIDENCE, RAW = b"e" * 32, b"r" * 32

VALID = StoredResult(
    index=10,
    family="amd-snp",
    evidence=EVIDENCE,
    raw_evidence=RAW,
    key_id=KEY,
    question="then",
    verdict="VALID",
    is_authentic=True,
    issued_at=1000,
    expires_at=2000,
    verifier="provreg 0.1.0",
)


def add(database: Database, *rows: StoredResult) -> None:
    with database.write() as connection:
        attestations.add(connection, rows)


def in_force(database: Database, at: int = 1500, before: int = 1 << 40, key: str = KEY) -> int:
    with database.read() as connection:
        found = attestations.in_force(connection, key, at, before)
    return -1 if found is None else found.index


def test_results_are_found_as_they_were_stored(database: Database) -> None:
    later = replace(VALID, index=11, question="now", raw_evidence=b"2" * 32, verifier="other")
    add(database, VALID, later)
    with database.read() as connection:
        assert attestations.about(connection, EVIDENCE) == [VALID, later]
        assert attestations.about_bytes(connection, RAW) == [VALID]
        assert attestations.of_key(connection, KEY) == [VALID, later]
        assert attestations.of_entry(connection, 11) == [later]
        assert attestations.between(connection, 0, 11) == {10: [VALID]}
        assert attestations.between(connection, 11, None) == {11: [later]}
        assert attestations.about(connection, RAW) == []


# Row 148: what a verifier made that turns out to be wrong is found by its name and version.


def test_results_are_found_by_the_verifier_that_made_them(database: Database) -> None:
    add(database, VALID, replace(VALID, index=11, verifier="provreg 0.0.9"))
    with database.read() as connection:
        found = attestations.by_verifier(connection, "provreg 0.0.9", 0, 10)
        assert [row.index for row in found] == [11]
        assert attestations.by_verifier(connection, "provreg 0.0.9", 12, 10) == []
        assert attestations.by_verifier(connection, "provreg 0.0.9", 0, 0) == []


def test_rows_of_an_entry_are_replaced(database: Database) -> None:
    add(database, VALID)
    other = replace(VALID, verdict="INVALID")
    with database.write() as connection:
        attestations.replace(connection, 10, [other])
    with database.read() as connection:
        assert attestations.of_entry(connection, 10) == [other]


@pytest.mark.parametrize(
    ("at", "expected"), [(999, -1), (1000, 10), (1999, 10), (2000, -1)], ids=str
)
def test_a_result_is_in_force_from_when_it_is_made_until_it_ends(
    database: Database, at: int, expected: int
) -> None:
    add(database, VALID)
    assert in_force(database, at) == expected


def test_only_results_that_were_logged_before_count(database: Database) -> None:
    add(database, VALID)
    assert in_force(database, before=10) == -1
    assert in_force(database, before=11) == 10


# Row 130: a new session key is not attested by evidence for the old one.


def test_a_result_admits_no_other_key(database: Database) -> None:
    add(database, VALID, replace(VALID, index=11, key_id=""))
    assert in_force(database, key="cd" * 32) == -1
    assert in_force(database, key="") == -1


@pytest.mark.parametrize("verdict", ["INVALID", "INDETERMINATE"])
def test_only_valid_results_admit(database: Database, verdict: str) -> None:
    add(database, replace(VALID, verdict=verdict))
    assert in_force(database) == -1


def test_the_newest_result_in_force_is_taken(database: Database) -> None:
    add(database, VALID, replace(VALID, index=12, evidence=b"2" * 32))
    assert in_force(database) == 12


def test_a_later_invalid_as_now_ends_what_was_in_force(database: Database) -> None:
    add(database, VALID, replace(VALID, index=12, question="now", verdict="INVALID"))
    assert in_force(database) == -1
    # But not for what was logged before it.
    assert in_force(database, before=12) == 10


def test_a_later_invalid_about_other_evidence_ends_nothing(database: Database) -> None:
    other = replace(VALID, index=12, evidence=b"2" * 32, question="now", verdict="INVALID")
    add(database, VALID, other)
    assert in_force(database) == 10


def test_an_indeterminate_as_now_ends_nothing(database: Database) -> None:
    add(database, VALID, replace(VALID, index=12, question="now", verdict="INDETERMINATE"))
    assert in_force(database) == 10


def test_a_valid_as_now_after_an_invalid_one_admits_again(database: Database) -> None:
    invalid = replace(VALID, index=12, question="now", verdict="INVALID")
    add(database, VALID, invalid, replace(invalid, index=14, verdict="VALID"))
    assert in_force(database) == 14


def test_each_authentic_evidence_comes_once_with_its_first_result(database: Database) -> None:
    broken = replace(VALID, index=9, is_authentic=False, verdict="INVALID")
    other = replace(VALID, index=13, evidence=b"2" * 32)
    add(database, broken, VALID, replace(VALID, index=12, question="now"), other)
    with database.read() as connection:
        assert attestations.firsts(connection, 0, 10) == [VALID, other]
        assert attestations.firsts(connection, 0, 1) == [VALID]
        assert attestations.firsts(connection, 11, 10) == [other]
