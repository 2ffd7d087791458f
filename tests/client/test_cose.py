"""COSE receipts from a registry: each checked, whatever the registry says."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from registry.api.v1 import log_service_pb2 as pb
from registry.client.registry import RegistryClient
from registry.core.tlog.cose import CoseReceipt
from registry.errors import Reason, RegistryError
from tests.client.conftest import Place
from tests.client.liar import Liar

METHOD = "LogService/GetCoseReceipt"


def refusal(act: Callable[[], object]) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value


def test_an_entry_is_proved_in_cose(place: Place, client: RegistryClient) -> None:
    body, receipt = client.cose_receipt(1)
    receipt.verify(body, place.log_key)
    assert (receipt.index, receipt.origin) == (1, place.log_key.name)
    assert client.cose_receipt(receipt.subject)[0] == client.proof(1).body == body


def test_an_entry_that_does_not_exist_is_proved_in_no_way(client: RegistryClient) -> None:
    assert refusal(lambda: client.cose_receipt(10**9)).reason is Reason.BEYOND_TREE
    assert refusal(lambda: client.cose_receipt(bytes(32))).reason is Reason.UNKNOWN_RECORD


def test_another_entry_than_asked_for_is_refused(liar: Liar, misled: RegistryClient) -> None:
    liar.requests[METHOD] = lambda _: pb.GetCoseReceiptRequest(index=0).SerializeToString()
    assert refusal(lambda: misled.cose_receipt(1)).reason is Reason.SUBJECT_MISMATCH


def changed(how: Callable[[CoseReceipt], CoseReceipt]) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        answer = pb.GetCoseReceiptResponse.FromString(raw)
        receipt = how(CoseReceipt.parse(answer.cose_receipt))
        answer.cose_receipt = receipt.to_bytes()
        return answer.SerializeToString()

    return change


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (lambda receipt: replace(receipt, signature=bytes(64)), Reason.LOG_SIGNATURE),
        (lambda receipt: replace(receipt, key_id=bytes(32)), Reason.WRONG_LOG),
        (lambda receipt: replace(receipt, proof=receipt.proof[:-1]), Reason.INCLUSION_PROOF),
    ],
)
def test_a_receipt_that_does_not_hold_is_refused(
    liar: Liar,
    misled: RegistryClient,
    how: Callable[[CoseReceipt], CoseReceipt],
    reason: Reason,
) -> None:
    liar.answers[METHOD] = changed(how)
    assert refusal(lambda: misled.cose_receipt(1)).reason is reason


def test_a_tree_size_that_is_not_the_signed_one_is_refused(
    liar: Liar, misled: RegistryClient
) -> None:
    def grow(receipt: CoseReceipt) -> CoseReceipt:
        # A size with the same path to entry 0: only the checkpoint tells them apart.
        inner = (receipt.size - 1).bit_length()
        same = next(
            size
            for size in (receipt.size + 1, receipt.size - 1)
            if (size - 1).bit_length() == inner
        )
        return replace(receipt, size=same)

    liar.answers[METHOD] = changed(grow)
    assert refusal(lambda: misled.cose_receipt(0)).reason is Reason.SUBJECT_MISMATCH


def test_what_is_no_receipt_is_refused(liar: Liar, misled: RegistryClient) -> None:
    liar.answers[METHOD] = lambda _: pb.GetCoseReceiptResponse(
        cose_receipt=b"\xd2\x80"
    ).SerializeToString()
    assert refusal(lambda: misled.cose_receipt(0)).reason is Reason.MALFORMED_COSE
