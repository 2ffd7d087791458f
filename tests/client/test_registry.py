"""RegistryClient: what it answers, and which lies it does not repeat."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from registry.api.v1 import log_service_pb2, statement_service_pb2
from registry.client.lineage import Location
from registry.client.publish import Publication, Published, publish
from registry.client.registry import RegistryClient
from registry.client.statements import LoggedStatement
from registry.core import digest
from registry.core.capsule.container import Capsule
from registry.core.digest import sha256
from registry.core.profiles import raw
from registry.core.records import inference, key_event, release
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.note import VerifierKey
from registry.errors import NotFoundError, Reason, RegistryError, VerificationError
from registry.signing.file import LogSigner
from tests import mint
from tests.client.conftest import Place
from tests.client.liar import Liar

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture
def published(
    place: Place, client: RegistryClient, folder: Path, fresh_name: Callable[[], str]
) -> tuple[str, Published]:
    """Publish the folder as version 1 of a name."""
    name = fresh_name()
    what = Publication(name, "1")
    return name, publish(client, folder, what, place.publisher.signer, NOON)


@pytest.fixture
def log_signer(place: Place) -> LogSigner:
    """Take the log's own key: a registry that lies has it."""
    return LogSigner.load(place.log_key.name, place.running.data / "keys" / "log.pem")


def refusal(act: Callable[[], object]) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value


# --- Blobs ---


def test_an_uploaded_file_is_known_by_both_digests(client: RegistryClient, tmp_path: Path) -> None:
    data = b"some bytes" * 100_000
    (tmp_path / "file").write_bytes(data)
    stored = client.upload(tmp_path / "file", len(data), sha256(data))
    assert stored == client.stat(sha256(data))


def test_an_uploaded_file_comes_back(client: RegistryClient) -> None:
    data = b"come back" * 100_000
    client.upload_bytes(data)
    assert b"".join(client.download(sha256(data), len(data), 17)) == data[17:]


def test_only_missing_blobs_are_called_missing(client: RegistryClient) -> None:
    client.upload_bytes(b"here")
    assert client.find_missing([sha256(b"here"), sha256(b"not here")]) == [sha256(b"not here")]


def test_many_digests_are_asked_for_in_several_questions(client: RegistryClient) -> None:
    asked = [sha256(b"missing %d" % number) for number in range(10_001)]
    assert client.find_missing(asked) == asked


def test_a_file_that_is_not_what_its_digest_names_is_refused(
    client: RegistryClient, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"other")
    error = refusal(lambda: client.upload(tmp_path / "file", 5, sha256(b"bytes")))
    assert error.reason is Reason.DIGEST_MISMATCH


@pytest.mark.parametrize("size", [4, 6])
def test_a_file_of_another_size_than_announced_is_refused(
    client: RegistryClient, tmp_path: Path, size: int
) -> None:
    (tmp_path / "file").write_bytes(b"other")
    error = refusal(lambda: client.upload(tmp_path / "file", size, sha256(b"other")))
    assert error.reason is Reason.FILE_CHANGED


def test_a_blob_that_is_longer_than_it_may_be_is_refused(client: RegistryClient) -> None:
    client.upload_bytes(b"too long")
    assert refusal(lambda: client.read_blob(sha256(b"too long"), 7)).reason is Reason.BLOB_TOO_LARGE


def test_an_upload_without_token_is_refused(place: Place) -> None:
    with place.client("provreg_nobody") as client:
        assert refusal(lambda: client.upload_bytes(b"x")).reason is Reason.UNKNOWN_TOKEN


# --- Statements ---


def test_a_statement_is_found_by_its_record_id(
    client: RegistryClient, published: tuple[str, Published]
) -> None:
    logged = client.get_statement(digest.parse(published[1].record_id))
    assert logged.record_id == published[1].record_id


def test_a_listed_statement_names_its_principal(
    client: RegistryClient, published: tuple[str, Published]
) -> None:
    [logged] = client.list_statements(release.PREDICATE_TYPE, published[0])
    assert logged.granted.principal == "acme"


def test_lists_longer_than_a_page_are_complete(
    client: RegistryClient, admin: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [item.index for item in client.list_statements(key_event.PREDICATE_TYPE)]
    monkeypatch.setattr("registry.client.registry.PAGE_SIZE", 1)
    assert [item.index for item in admin.list_statements(key_event.PREDICATE_TYPE)] == whole
    assert len(whole) > 2


def test_a_version_that_nobody_published_is_unknown(client: RegistryClient) -> None:
    error = refusal(lambda: client.release("acme/nothing", "1"))
    assert (type(error), error.reason) == (NotFoundError, Reason.UNKNOWN_VERSION)


def test_a_record_that_nobody_registered_is_unknown(client: RegistryClient) -> None:
    assert refusal(lambda: client.get_statement(bytes(32))).reason is Reason.UNKNOWN_RECORD


def test_a_new_key_is_known_as_soon_as_it_is_used(
    place: Place, client: RegistryClient, folder: Path
) -> None:
    list(client.list_statements(release.PREDICATE_TYPE))
    late = place.running.admit("late", "publisher", namespaces=["late/*"])
    with place.client(late.token) as other:
        publish(other, folder, Publication("late/x", "1"), late.signer, NOON)
    assert client.release("late/x", "1").logged.granted.principal == "late"


# --- Lies about statements ---


def change_statements(
    how: Callable[[statement_service_pb2.ListStatementsResponse], None],
) -> Callable[[bytes], bytes]:
    """Change pages of releases; key events pass as they are."""

    def change(raw_answer: bytes) -> bytes:
        message = statement_service_pb2.ListStatementsResponse.FromString(raw_answer)
        if any(item.predicate_type == release.PREDICATE_TYPE for item in message.statements):
            how(message)
        return message.SerializeToString()

    return change


LIST = "StatementService/ListStatements"


def test_another_statement_than_asked_for_is_refused(
    liar: Liar, misled: RegistryClient, published: tuple[str, Published]
) -> None:
    def forget_name(raw_request: bytes) -> bytes:
        message = statement_service_pb2.ListStatementsRequest.FromString(raw_request)
        message.name = message.version = ""
        return message.SerializeToString()

    liar.requests[LIST] = forget_name
    error = refusal(lambda: list(misled.list_statements(release.PREDICATE_TYPE, "acme/other")))
    assert published
    assert error.reason is Reason.SUBJECT_MISMATCH


def test_a_statement_shown_twice_is_refused(
    liar: Liar, misled: RegistryClient, published: tuple[str, Published]
) -> None:
    liar.answers[LIST] = change_statements(
        lambda message: message.statements.append(message.statements[0])
    )
    assert isinstance(refusal(lambda: misled.release(published[0], "1")), VerificationError)


def test_a_statement_with_another_payload_is_refused(
    liar: Liar, misled: RegistryClient, published: tuple[str, Published], client: RegistryClient
) -> None:
    envelope = client.release(published[0], "1").logged.envelope
    forged = replace(envelope, payload=envelope.payload.replace(b"weights", b"config1"))

    def forge(message: statement_service_pb2.ListStatementsResponse) -> None:
        message.statements[0].envelope = forged.to_bytes()

    liar.answers[LIST] = change_statements(forge)
    assert refusal(lambda: misled.release(published[0], "1")).reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("field", ["index", "proof", "checkpoint"])
def test_a_receipt_with_another_part_is_refused(
    liar: Liar, misled: RegistryClient, published: tuple[str, Published], field: str
) -> None:
    def forge(message: statement_service_pb2.ListStatementsResponse) -> None:
        receipt = message.statements[0].receipt
        if field == "index":
            receipt.index -= 1
        elif field == "proof":
            receipt.proof[0] = bytes(32)
        else:
            receipt.checkpoint = receipt.checkpoint[:-10] + b"AAAAAAAA=\n"

    liar.answers[LIST] = change_statements(forge)
    error = refusal(lambda: misled.release(published[0], "1"))
    assert error.reason in {
        Reason.INCLUSION_PROOF,
        Reason.LOG_SIGNATURE,
        Reason.MALFORMED_BASE64,
        Reason.MALFORMED_NOTE,
    }


def key_events(
    how: Callable[[statement_service_pb2.ListStatementsResponse], None],
) -> Callable[[bytes], bytes]:
    """Change pages of key events."""

    def change(raw_answer: bytes) -> bytes:
        message = statement_service_pb2.ListStatementsResponse.FromString(raw_answer)
        if any(item.predicate_type == key_event.PREDICATE_TYPE for item in message.statements):
            how(message)
        return message.SerializeToString()

    return change


def test_a_signer_that_no_key_event_admits_is_refused(
    liar: Liar, misled: RegistryClient, published: tuple[str, Published]
) -> None:
    def hide(message: statement_service_pb2.ListStatementsResponse) -> None:
        del message.statements[1:]

    liar.answers[LIST] = key_events(hide)
    error = refusal(lambda: misled.release(published[0], "1"))
    assert error.reason is Reason.UNKNOWN_SIGNER


def test_key_events_without_entry_0_are_refused(
    liar: Liar, misled: RegistryClient, published: tuple[str, Published]
) -> None:
    def hide(message: statement_service_pb2.ListStatementsResponse) -> None:
        del message.statements[0]

    liar.answers[LIST] = key_events(hide)
    error = refusal(lambda: misled.release(published[0], "1"))
    assert error.reason is Reason.UNKNOWN_SIGNER


def test_key_events_in_another_order_are_refused(
    liar: Liar, misled: RegistryClient, published: tuple[str, Published]
) -> None:
    liar.answers[LIST] = key_events(
        lambda message: message.statements.append(message.statements[1])
    )
    assert isinstance(refusal(lambda: misled.release(published[0], "1")), VerificationError)


# --- The log ---


def test_a_client_of_another_log_believes_nothing(place: Place, client: RegistryClient) -> None:
    stranger = LogSigner.generate(place.log_key.name).key
    other = RegistryClient(client.connection, stranger)
    assert refusal(other.checkpoint).reason is Reason.WRONG_LOG


def test_a_log_of_another_name_is_another_log(place: Place, client: RegistryClient) -> None:
    stranger = VerifierKey("other.example", place.log_key.public_key)
    other = RegistryClient(client.connection, stranger)
    assert refusal(other.checkpoint).reason is Reason.WRONG_LOG


def test_an_entry_is_found_by_index_and_by_record_id(
    client: RegistryClient, published: tuple[str, Published]
) -> None:
    record_id = digest.parse(published[1].record_id)
    assert client.proof(published[1].receipt.index).body == client.proof(record_id).body


def test_another_entry_than_asked_for_is_refused(
    liar: Liar, misled: RegistryClient, published: tuple[str, Published]
) -> None:
    liar.requests["LogService/GetProof"] = lambda _: log_service_pb2.GetProofRequest(
        index=0
    ).SerializeToString()
    error = refusal(lambda: misled.proof(published[1].receipt.index))
    assert error.reason is Reason.SUBJECT_MISMATCH


def test_a_checkpoint_that_goes_back_is_a_fork(
    liar: Liar, misled: RegistryClient, published: tuple[str, Published], log_signer: LogSigner
) -> None:
    head = misled.checkpoint().checkpoint
    old = log_signer.sign(replace(head, size=head.size - 1))
    answer = log_service_pb2.GetConsistencyResponse(checkpoint=old.note)
    liar.answers["LogService/GetConsistency"] = lambda _: answer.SerializeToString()
    assert published
    assert refusal(misled.checkpoint).reason is Reason.FORK


def test_two_trees_of_one_size_are_a_fork(
    liar: Liar, misled: RegistryClient, log_signer: LogSigner
) -> None:
    head = misled.checkpoint().checkpoint
    other = log_signer.sign(replace(head, root=bytes(32)))
    answer = log_service_pb2.GetConsistencyResponse(checkpoint=other.note)
    liar.answers["LogService/GetConsistency"] = lambda _: answer.SerializeToString()
    assert refusal(misled.checkpoint).reason is Reason.FORK


def test_a_larger_tree_that_does_not_extend_the_one_before_is_refused(
    liar: Liar, misled: RegistryClient, log_signer: LogSigner
) -> None:
    head = misled.checkpoint().checkpoint
    other = log_signer.sign(Checkpoint(head.origin, head.size + 1, bytes(32)))
    answer = log_service_pb2.GetConsistencyResponse(checkpoint=other.note, proof=[bytes(32)] * 3)
    liar.answers["LogService/GetConsistency"] = lambda _: answer.SerializeToString()
    assert refusal(misled.checkpoint).reason is Reason.CONSISTENCY_PROOF


def test_a_checkpoint_of_before_is_extended_by_the_newest(
    place: Place, client: RegistryClient, folder: Path, fresh_name: Callable[[], str]
) -> None:
    before = client.checkpoint()
    what = Publication(fresh_name(), "1")
    publish(client, folder, what, place.publisher.signer, NOON)
    assert client.consistency(before.checkpoint).checkpoint.size > before.checkpoint.size


def test_an_answer_that_was_overtaken_by_another_is_no_fork(
    place: Place, liar: Liar, misled: RegistryClient
) -> None:
    sizes: list[int] = []

    def overtake(raw_answer: bytes) -> bytes:
        # While this answer is on its way, another thread learns of a larger tree.
        place.running.admit("overtaking", "node")
        thread = Thread(target=lambda: sizes.append(misled.checkpoint().checkpoint.size))
        thread.start()
        thread.join(20)
        return raw_answer

    liar.answers["LogService/GetProof"] = overtake
    assert misled.proof(1).receipt.head.checkpoint.size < sizes[0]


# --- Batches and lineage ---


@pytest.fixture
def traced(
    place: Place, client: RegistryClient, published: tuple[str, Published]
) -> Iterator[tuple[RegistryClient, bytes, LoggedStatement]]:
    """Register a batch that records one output; yields the node's client and the output."""
    known = client.release(published[0], "1").logged
    output = f"answer of {published[0]}".encode()
    journal = mint.Journal(shim_id=sha256(output).hex()[:32])
    journal.boot()
    journal.call(
        mint.Logged(known.statement, known.envelope, known.index),
        response=inference.Response(
            profile="output/bytes/v1",
            content_digest=raw.content_digest(output).hex(),
            wire_digest=sha256(output).hex(),
            complete=True,
        ),
    )
    envelope = place.node.signer.sign(journal.batch_statement())
    with place.client(place.node.token) as node:
        node.register_batch(envelope.to_bytes(), journal.records)
        yield node, output, node.get_statement(envelope.record_id)


def test_a_registered_batch_moves_the_head_of_its_shim(
    traced: tuple[RegistryClient, bytes, LoggedStatement],
) -> None:
    node, output, logged = traced
    head = node.shim_head(sha256(output)[:16])
    assert (head.next_n, head.last_batch) == (3, logged.envelope.record_id)
    assert len(head.last_leaf) == 32


def test_a_shim_that_nobody_knows_starts_at_0(client: RegistryClient) -> None:
    head = client.shim_head(bytes(16))
    assert (head.next_n, head.last_batch, head.last_leaf) == (0, b"", b"")


def test_keys_are_not_asked_for_with_every_batch(
    place: Place, liar: Liar, client: RegistryClient, published: tuple[str, Published]
) -> None:
    known = client.release(published[0], "1").logged
    released = mint.Logged(known.statement, known.envelope, known.index)
    journal = mint.Journal(shim_id=sha256(b"often " + published[0].encode()).hex()[:32])
    with place.client(place.node.token, liar.address) as node:
        members: dict[str, str] = {}
        for _ in range(3):
            first = len(journal.records)
            journal.call(released)
            envelope = place.node.signer.sign(journal.batch_statement(first, **members))
            node.register_batch(envelope.to_bytes(), journal.records[first:])
            members["prev_batch"] = digest.text(envelope.record_id)
    assert liar.count(LIST) == 1


def test_a_batch_receipt_that_does_not_hold_is_refused(
    place: Place, liar: Liar, client: RegistryClient, published: tuple[str, Published]
) -> None:
    known = client.release(published[0], "1").logged
    journal = mint.Journal(shim_id=sha256(published[0].encode()).hex()[:32])
    journal.call(mint.Logged(known.statement, known.envelope, known.index))
    envelope = place.node.signer.sign(journal.batch_statement())

    def forge(raw_answer: bytes) -> bytes:
        message = statement_service_pb2.RegisterBatchResponse.FromString(raw_answer)
        message.receipt.index -= 1
        return message.SerializeToString()

    liar.answers["StatementService/RegisterBatch"] = forge
    with place.client(place.node.token, liar.address) as node:
        error = refusal(lambda: node.register_batch(envelope.to_bytes(), journal.records))
    assert error.reason is Reason.INCLUSION_PROOF


def test_an_output_is_found_and_traced(
    traced: tuple[RegistryClient, bytes, LoggedStatement],
) -> None:
    node, output, logged = traced
    digests = [raw.content_digest(output)]
    assert node.find_output(digests) == [Location(logged.index, 2)]
    answer = node.trace(digests, Location(logged.index, 2))
    assert (answer.matches, answer.location) == (1, Location(logged.index, 2))
    assert Capsule.parse(answer.capsule).position == 2


def test_an_output_that_nobody_recorded_is_unknown(client: RegistryClient) -> None:
    assert refusal(lambda: client.trace([bytes(32)])).reason is Reason.UNKNOWN_OUTPUT
