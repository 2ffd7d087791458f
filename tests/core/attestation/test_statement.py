"""In-toto statements: subjects, and what is said of them."""

import pytest

from registry.core import encoding
from registry.core.attestation.statement import (
    MAX_SUBJECTS,
    Statement,
    Subject,
    check_subject,
    predicate_type,
)
from registry.core.digest import DigestSet
from registry.errors import MalformedError, Reason

DIGESTS = DigestSet.of(b"bytes")
SUBJECT = Subject.of("thing", DIGESTS)


def test_only_the_predicate_type_is_read_ahead() -> None:
    payload = b'{"predicate":{"any":["thing"]},"predicateType":"https://example.com/x"}'
    assert predicate_type(payload) == "https://example.com/x"


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b"[]", b'{"predicateType":1}', b"\xff", b"[" * 100_000]
)
def test_what_names_no_predicate_type_is_no_statement(payload: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        predicate_type(payload)
    assert caught.value.reason is Reason.MALFORMED_STATEMENT


def test_a_subject_with_one_digest_writes_no_other() -> None:
    written = encoding.write_json(Subject.named("thing", DIGESTS.raw))
    assert written == b'{"digest":{"sha256":"%s"},"name":"thing"}' % DIGESTS.sha256.encode()


def test_the_expected_subject_is_accepted() -> None:
    check_subject((SUBJECT,), "thing", DIGESTS)
    check_subject((Subject.named("thing", DIGESTS.raw),), "thing")


@pytest.mark.parametrize(
    "subject",
    [
        (),
        (SUBJECT, SUBJECT),
        (Subject.of("other", DIGESTS),),
        (Subject.of("thing", DigestSet.of(b"other")),),
        (Subject.named("thing", DIGESTS.raw),),
    ],
)
def test_any_other_subject_is_refused(subject: tuple[Subject, ...]) -> None:
    with pytest.raises(MalformedError) as caught:
        check_subject(subject, "thing", DIGESTS)
    assert caught.value.reason is Reason.SUBJECT_MISMATCH


@pytest.mark.parametrize("count", [0, MAX_SUBJECTS + 1])
def test_a_statement_without_or_with_too_many_subjects_is_refused(count: int) -> None:
    said = Statement(
        type_="https://in-toto.io/Statement/v1",
        predicate="x",
        predicate_type="y",
        subject=(SUBJECT,) * count,
    )
    with pytest.raises(MalformedError):
        encoding.read_json(encoding.write_json(said), Statement[str])


def test_a_statement_of_another_version_is_refused() -> None:
    said = b'{"_type":"https://in-toto.io/Statement/v0.1","predicate":"x","predicateType":"y"}'
    with pytest.raises(MalformedError):
        encoding.read_json(said, Statement[str])
