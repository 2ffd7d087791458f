"""Statements are found by what they say; what cannot be read says nothing."""

import pytest

from registry.core.records import dataset
from registry.core.records.wanted import Said, Wanted
from registry.core.tlog import entry
from registry.core.tlog.selection import MAX_WANTED, Selection
from registry.errors import LimitExceededError, Reason
from registry.signing.file import StatementSigner
from tests.mint import dataset_statement

SIGNER = StatementSigner.generate()
STATEMENT = dataset_statement(name="acme/d")
ENVELOPE = SIGNER.sign(STATEMENT)
BODY = entry.write(ENVELOPE.record_id, ENVELOPE.signature, SIGNER.public_key.der)
SUBJECT = STATEMENT.subject[0].digest.sha256


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Wanted(), True),
        (Wanted(names=frozenset(["acme/d", "x"])), True),
        (Wanted(names=frozenset(["x"])), False),
        (Wanted(predicate_types=frozenset([dataset.PREDICATE_TYPE])), True),
        (Wanted(predicate_types=frozenset(["x"])), False),
        (Wanted(subjects=frozenset([SUBJECT])), True),
        (Wanted(subjects=frozenset(["0" * 64])), False),
        (Wanted(Selection(key_ids=frozenset(["0" * 64]))), False),
        (Wanted(names=frozenset(["acme/d"]), subjects=frozenset(["0" * 64])), False),
    ],
    ids=["all", "name", "no name", "type", "no type", "subject", "no subject", "key", "both"],
)
def test_all_kinds_must_match(wanted: Wanted, *, fits: bool) -> None:
    assert (wanted.find(BODY, ENVELOPE.to_bytes()) is not None) == fits


def test_what_is_found_says_what_it_is() -> None:
    said = Wanted().find(BODY, ENVELOPE.to_bytes())
    assert said == Said(dataset.PREDICATE_TYPE, "acme/d", "2026-08", frozenset([SUBJECT]))


@pytest.mark.parametrize("envelope", [b"", b"nonsense"])
def test_an_entry_without_a_readable_statement_says_nothing(envelope: bytes) -> None:
    assert Wanted().find(BODY, envelope) == Said()
    assert Wanted(names=frozenset(["acme/d"])).find(BODY, envelope) is None


@pytest.mark.parametrize("kind", ["predicate_types", "names", "subjects"])
def test_what_is_wanted_is_bounded(kind: str) -> None:
    values = frozenset(map(str, range(MAX_WANTED + 1)))
    with pytest.raises(LimitExceededError) as caught:
        Wanted(**{kind: values})  # type: ignore[arg-type]  # one kind after another
    assert caught.value.reason is Reason.SELECTION
