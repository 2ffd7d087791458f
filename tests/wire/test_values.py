"""Values on their way through messages, there and back."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from registry.api.v1 import access_pb2, log_pb2, statement_pb2
from registry.core.access import ROLES, Principal
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.receipt import Receipt
from registry.errors import MalformedError, Reason
from registry.signing.file import LogSigner
from registry.wire import access, artifact, log, statement

SIGNER = LogSigner.generate("log.example")

times = st.integers(0, 2**33).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
digests = st.binary(min_size=32, max_size=32)


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    """Receipts with a genuine note; whether the proof holds is not the wire's business."""
    size = draw(st.integers(1, 2**63 - 1))
    head = SIGNER.sign(Checkpoint("log.example", size, draw(digests)))
    return Receipt(draw(st.integers(0, size - 1)), tuple(draw(st.lists(digests, max_size=9))), head)


@given(receipts())
def test_a_receipt_comes_back(receipt: Receipt) -> None:
    sent = log.receipt_to_proto(receipt).SerializeToString()
    assert log.receipt_from_proto(log_pb2.Receipt.FromString(sent)) == receipt


@given(receipts(), st.binary(max_size=100), st.text(max_size=20), st.text(max_size=20))
def test_a_logged_statement_comes_back(
    receipt: Receipt, envelope: bytes, predicate_type: str, principal: str
) -> None:
    message = statement.logged_to_proto(envelope, receipt, predicate_type, principal)
    sent = statement_pb2.LoggedStatement.FromString(message.SerializeToString())
    assert statement.logged_from_proto(sent) == (envelope, receipt)


@given(
    st.builds(
        Principal,
        name=st.text(max_size=20),
        roles=st.lists(st.sampled_from(ROLES)).map(tuple),
        namespaces=st.lists(st.text(max_size=20)).map(tuple),
        key_ids=st.lists(st.text(max_size=20)).map(tuple),
        expires_at=st.none() | times,
        revoked_at=st.none() | times,
    )
)
def test_a_principal_comes_back(principal: Principal) -> None:
    sent = access.principal_to_proto(principal).SerializeToString()
    assert access.principal_from_proto(access_pb2.Principal.FromString(sent)) == principal


@pytest.mark.parametrize("role", [0, 99])
def test_a_role_that_nobody_knows_is_refused(role: int) -> None:
    message = access_pb2.Principal(name="x")
    message.roles.append(role)  # type: ignore[arg-type]
    with pytest.raises(MalformedError) as caught:
        access.principal_from_proto(message)
    assert caught.value.reason is Reason.MALFORMED_FIELD


def test_a_receipt_whose_checkpoint_is_none_is_refused() -> None:
    with pytest.raises(MalformedError):
        log.receipt_from_proto(log_pb2.Receipt(index=1, checkpoint=b"nonsense"))


def test_no_time_stays_absent() -> None:
    assert access.time_to_proto(None) is None


def test_a_time_in_another_zone_is_the_same_time() -> None:
    at = datetime(2026, 9, 1, 12, tzinfo=UTC)
    message = access.time_to_proto(at)
    assert isinstance(message, Timestamp)
    assert message.ToDatetime(tzinfo=UTC) - at == timedelta(0)


@pytest.mark.parametrize("seconds", [2**62, -(2**62)])
def test_an_impossible_time_is_refused(seconds: int) -> None:
    message = access_pb2.Principal(name="x", expires_at=Timestamp(seconds=seconds))
    with pytest.raises(MalformedError) as caught:
        access.principal_from_proto(message)
    assert caught.value.reason is Reason.MALFORMED_FIELD


def test_a_blob_says_both_digests_and_its_size() -> None:
    blob = artifact.blob_to_proto(bytes(32), bytes(64), 7)
    assert (blob.sha256, blob.sha512, blob.size) == (bytes(32), bytes(64), 7)
