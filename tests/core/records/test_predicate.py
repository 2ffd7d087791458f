"""Predicates: known types are read by their own rules, unknown ones are refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from registry.core import encoding
from registry.core.attestation.statement import Subject
from registry.core.digest import DigestSet
from registry.core.encoding import MAX_SAFE_INTEGER, base64_text
from registry.core.records import dataset, predicate, release
from registry.errors import MalformedError, Reason
from registry.signing.file import StatementSigner
from tests.mint import (
    Journal,
    Logged,
    World,
    a_manifest,
    attribution_statement,
    dataset_statement,
    key_event_statement,
    release_statement,
)

WORLD = World()
WORLD.keys["acme"] = StatementSigner.generate()
MANIFEST = a_manifest()
RELEASE: Logged = WORLD.register(release_statement(MANIFEST), "acme")
DATASETS = [
    WORLD.register(dataset_statement(version=version), "acme") for version in ("1", "2", "3")
]
JOURNAL = Journal()
JOURNAL.boot()
KEY = StatementSigner.generate()

STATEMENTS = {
    "release": RELEASE.statement,
    "dataset": DATASETS[0].statement,
    "attribution": attribution_statement(RELEASE, DATASETS),
    "batch": JOURNAL.batch_statement(),
    "key event": key_event_statement(KEY, "acme", roles=["publisher"], namespaces=["acme/*"]),
}


def payload(noun: str, change: Callable[[Any], None] | None = None) -> bytes:
    """A statement in canonical spelling, after ``change`` to its members."""
    members = json.loads(encoding.write_json(STATEMENTS[noun]))
    if change is not None:
        change(members)
    return encoding.write_json(members)


def refusal(data: bytes) -> Reason:
    with pytest.raises(MalformedError) as caught:
        predicate.parse(data)
    return caught.value.reason


def refused(noun: str, **members: Any) -> Reason:
    """Why a statement is refused whose predicate has other members."""
    return refusal(payload(noun, lambda said: said["predicate"].update(members)))


# All of them.


@pytest.mark.parametrize("noun", STATEMENTS)
def test_every_known_statement_is_read_back(noun: str) -> None:
    data = payload(noun)
    assert encoding.write_json(predicate.parse(data)) == data


@pytest.mark.parametrize("noun", STATEMENTS)
def test_every_known_statement_has_a_noun(noun: str) -> None:
    assert predicate.noun(STATEMENTS[noun].predicate_type) == noun


def test_an_unknown_predicate_type_has_a_general_noun() -> None:
    assert predicate.noun("https://example.com/x") == "statement"


@pytest.mark.parametrize("noun", STATEMENTS)
def test_a_foreign_predicate_is_refused(noun: str) -> None:
    def foreign(said: Any) -> None:
        said["predicateType"] = "https://slsa.dev/provenance/v1"

    assert refusal(payload(noun, foreign)) is Reason.FOREIGN_PREDICATE


@pytest.mark.parametrize("noun", STATEMENTS)
def test_a_predicate_under_the_type_of_another_is_refused(noun: str) -> None:
    def other(said: Any) -> None:
        kind = "batch" if noun == "release" else "release"
        said["predicateType"] = STATEMENTS[kind].predicate_type

    assert refusal(payload(noun, other)) is Reason.MALFORMED_STATEMENT


@pytest.mark.parametrize("noun", STATEMENTS)
def test_an_unknown_member_is_refused(noun: str) -> None:
    assert refused(noun, surprise=1) is Reason.MALFORMED_STATEMENT


@pytest.mark.parametrize("noun", STATEMENTS)
def test_a_duplicate_key_is_refused(noun: str) -> None:
    data = payload(noun)
    assert refusal(data[:-1] + b',"_type":"https://in-toto.io/Statement/v1"}') in {
        Reason.NOT_CANONICAL,
        Reason.MALFORMED_STATEMENT,
    }


@pytest.mark.parametrize("noun", STATEMENTS)
def test_two_predicate_types_are_refused(noun: str) -> None:
    data = payload(noun)
    twice = data.replace(
        b'"predicateType":', b'"predicateType":"https://example.com/x","predicateType":', 1
    )
    assert refusal(twice) in {Reason.NOT_CANONICAL, Reason.FOREIGN_PREDICATE}


@pytest.mark.parametrize("noun", STATEMENTS)
@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"1.5", b"1.0"])
def test_a_number_that_is_no_integer_is_refused(noun: str, number: bytes) -> None:
    data = payload(noun).replace(b'"predicate":{', b'"predicate":{"aaa":' + number + b",", 1)
    assert refusal(data) is Reason.MALFORMED_STATEMENT


@pytest.mark.parametrize("noun", STATEMENTS)
def test_two_subjects_are_refused(noun: str) -> None:
    def twice(said: Any) -> None:
        said["subject"] *= 2

    assert refusal(payload(noun, twice)) is Reason.SUBJECT_MISMATCH


@pytest.mark.parametrize("noun", STATEMENTS)
def test_a_subject_of_another_name_is_refused(noun: str) -> None:
    def other(said: Any) -> None:
        said["subject"][0]["name"] = "something-else"

    assert refusal(payload(noun, other)) is Reason.SUBJECT_MISMATCH


@pytest.mark.parametrize("noun", ["dataset", "key event"])
def test_a_subject_of_another_digest_is_refused(noun: str) -> None:
    def other(said: Any) -> None:
        said["subject"][0]["digest"]["sha256"] = "0" * 64

    assert refusal(payload(noun, other)) is Reason.SUBJECT_MISMATCH


@pytest.mark.parametrize("noun", ["release", "dataset", "attribution", "key event"])
def test_a_time_in_another_spelling_is_refused(noun: str) -> None:
    assert refused(noun, issued_at="yesterday") is Reason.MALFORMED_STATEMENT


@pytest.mark.parametrize("noun", ["release", "dataset", "attribution"])
@pytest.mark.parametrize("name", ["x", "Acme/x", "acme/../x", "acme/x\n"])
def test_a_name_that_is_none_is_refused(noun: str, name: str) -> None:
    assert refused(noun, name=name) is Reason.MALFORMED_STATEMENT


# Releases.


def test_a_release_of_a_path_outside_the_folder_is_refused() -> None:
    assert refused("release", files=[{"path": "../x", "role": "code"}]) is Reason.UNSAFE_PATH


def test_a_release_without_files_is_refused() -> None:
    assert refused("release", files=[]) is Reason.MALFORMED_STATEMENT


def test_a_release_of_an_unknown_role_is_refused() -> None:
    assert refused("release", files=[{"path": "x", "role": "spell"}]) is Reason.MALFORMED_STATEMENT


@pytest.mark.parametrize("reference", ["0" * 64, "sha256:" + "A" * 64, "sha512:" + "0" * 64])
def test_a_reference_that_is_no_record_id_is_refused(reference: str) -> None:
    assert refused("release", trained_on=[reference]) is Reason.MALFORMED_STATEMENT


def check_manifest(manifest: bytes, **members: Any) -> Reason:
    def change(said: Any) -> None:
        said["predicate"].update(members)

    said = predicate.parse(payload("release", change))
    with pytest.raises(MalformedError) as caught:
        release.validate_manifest(said.subject, said.predicate, manifest)
    return caught.value.reason


def test_a_release_is_bound_to_its_manifest() -> None:
    said = RELEASE.statement
    data = MANIFEST.to_bytes()
    assert release.validate_manifest(said.subject, said.predicate, data) == MANIFEST


def test_another_manifest_than_the_subject_is_refused() -> None:
    assert check_manifest(a_manifest({"y": b"1"}).to_bytes()) is Reason.SUBJECT_MISMATCH


def test_other_paths_than_those_of_the_manifest_are_refused() -> None:
    files = [{"path": "other", "role": "weights"}]
    assert check_manifest(MANIFEST.to_bytes(), files=files) is Reason.SUBJECT_MISMATCH


def test_another_files_root_is_refused() -> None:
    assert check_manifest(MANIFEST.to_bytes(), files_root="0" * 64) is Reason.SUBJECT_MISMATCH


# Datasets.


def redone(**members: Any) -> Reason:
    """Why a dataset is refused although root and subject fit what it says."""
    said = dataset_statement().predicate
    values = {key: getattr(said, key) for key in said.__struct_fields__} | members
    changed = dataset.Dataset(**values)
    values["merkle_root"] = dataset.merkle_root(changed.files).hex()
    changed = dataset.Dataset(**values)
    subject = Subject.of(
        f"{changed.name}@{changed.version}", DigestSet.of(dataset.files_bytes(changed))
    )
    with pytest.raises(MalformedError) as caught:
        dataset.validate((subject,), changed)
    return caught.value.reason


def test_a_dataset_with_another_root_is_refused() -> None:
    assert refused("dataset", merkle_root="0" * 64) is Reason.SUBJECT_MISMATCH


def dataset_file(path: str) -> dataset.DatasetFile:
    return dataset.DatasetFile(path=path, size=1, digest=DigestSet.of(b"1"))


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (("../x",), Reason.UNSAFE_PATH),
        (("b", "a"), Reason.PATH_ORDER),
        (("A", "a"), Reason.PATH_COLLISION),
        (("e\u0301",), Reason.PATH_NOT_NFC),
    ],
)
def test_a_dataset_follows_the_rules_of_paths(paths: tuple[str, ...], reason: Reason) -> None:
    assert redone(files=tuple(map(dataset_file, paths))) is reason


@pytest.mark.parametrize("ids", [("b", "a"), ("a", "a"), ("\U0001f600", "\uff5e")])
def test_contributors_are_listed_once_each_in_order(ids: tuple[str, ...]) -> None:
    contributors = tuple(dataset.Contributor(id=key, share=1) for key in ids)
    assert redone(contributors=contributors) is Reason.SHARES


def test_shares_that_add_up_to_more_than_is_safe_are_refused() -> None:
    contributors = tuple(dataset.Contributor(id=key, share=MAX_SAFE_INTEGER) for key in ("a", "b"))
    assert redone(contributors=contributors) is Reason.SHARES


@pytest.mark.parametrize("share", [0, -1, MAX_SAFE_INTEGER + 1, "1"])
def test_a_share_is_a_positive_integer(share: Any) -> None:
    contributors = [{"id": "alice", "share": share}]
    assert refused("dataset", contributors=contributors) is Reason.MALFORMED_STATEMENT


def test_a_dataset_without_contributors_is_refused() -> None:
    assert refused("dataset", contributors=[]) is Reason.MALFORMED_STATEMENT


def test_a_dataset_without_a_licence_is_refused() -> None:
    assert refused("dataset", licence="") is Reason.MALFORMED_STATEMENT


# Attributions.


def shares(*items: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"dataset": "sha256:" + key * 64, "share": share} for key, share in items]


@pytest.mark.parametrize("items", [(("b", 1), ("a", 1)), (("a", 1), ("a", 1))])
def test_datasets_of_an_attribution_are_listed_once_each_in_order(items: Any) -> None:
    assert refused("attribution", datasets=shares(*items)) is Reason.SHARES


def test_attributed_shares_that_add_up_to_more_than_is_safe_are_refused() -> None:
    items = shares(("a", MAX_SAFE_INTEGER), ("b", 1))
    assert refused("attribution", datasets=items) is Reason.SHARES


@pytest.mark.parametrize("datasets", [[], shares(("a", 0))])
def test_an_attribution_to_nothing_is_refused(datasets: Any) -> None:
    assert refused("attribution", datasets=datasets) is Reason.MALFORMED_STATEMENT


@pytest.mark.parametrize(("member", "value"), [("method", "magic"), ("scope", "universe")])
def test_an_unknown_method_or_scope_is_refused(member: str, value: str) -> None:
    assert refused("attribution", **{member: value}) is Reason.MALFORMED_STATEMENT


# Key events.


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("AAAA", Reason.MALFORMED_KEY),
        ("!!!!", Reason.MALFORMED_BASE64),
        (base64_text(KEY.public_key.der)[:-4], Reason.MALFORMED_KEY),
        (base64_text(StatementSigner.generate().public_key.der), Reason.SUBJECT_MISMATCH),
    ],
)
def test_a_key_event_is_about_the_key_in_its_subject(key: str, reason: Reason) -> None:
    assert refused("key event", key=key) is reason


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"principal": "Not A Name"}, Reason.MALFORMED_NAME),
        ({"principal": ""}, Reason.MALFORMED_STATEMENT),
        ({"namespaces": ["acme/**"]}, Reason.MALFORMED_NAME),
        ({"roles": ["king"]}, Reason.MALFORMED_STATEMENT),
        ({"action": "borrow"}, Reason.MALFORMED_STATEMENT),
        ({"compromised_since": "then"}, Reason.MALFORMED_STATEMENT),
    ],
)
def test_a_key_event_of_other_words_is_refused(members: Any, reason: Reason) -> None:
    assert refused("key event", **members) is reason


# Batches: what their statement alone says; their records are tested in test_batch.py.


@pytest.mark.parametrize("members", [{"n_last": 7}, {"n_first": 1}, {"count": 2}])
def test_a_batch_whose_range_and_count_disagree_is_refused(members: Any) -> None:
    assert refused("batch", **members) is Reason.BATCH_CONTENT


@pytest.mark.parametrize(
    "members", [{"count": 0, "n_first": 1, "n_last": 0}, {"tree": "flat"}, {"n_first": -1}]
)
def test_a_batch_that_cannot_be_is_refused(members: Any) -> None:
    assert refused("batch", **members) is Reason.MALFORMED_STATEMENT
