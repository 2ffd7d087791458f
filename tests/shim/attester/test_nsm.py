"""The Nitro security module: its protocol, over a device that is played by the fake vendor."""

import errno
import fcntl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest

from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.nitro.rules import RULES
from registry.errors import Reason, RegistryError, UnavailableError, UnsupportedError
from registry.shim.attester import nsm
from registry.shim.attester.nsm import NSM_IOCTL, DevNSM, NitroNSM
from tools.fake_vendor.nitro import NOON, Spec, mint

NONCE = b"\x11" * 32
BINDING = Binding(nonce=NONCE, session_key=b"key")


class Module:
    """A module that knows one request, as the real one encodes its answers."""

    def __init__(self, edit: Callable[[bytes], bytes] = lambda answer: answer) -> None:
        self.edit = edit
        self.requests: list[Any] = []

    def exchange(self, request: bytes) -> bytes:
        said = cbor2.loads(request)
        self.requests.append(said)
        fields = said["Attestation"]
        minted = mint(Spec(**fields))
        return self.edit(cbor2.dumps({"Attestation": {"document": minted.evidence}}))


def evidence(module: Module) -> Any:
    return NitroNSM(module).evidence(BINDING.report_data(), NONCE, b"key")


def test_a_document_commits_to_data_nonce_and_key() -> None:
    module = Module()
    collected = evidence(module)
    assert collected.family is Family.AWS_NITRO
    assert module.requests == [
        {
            "Attestation": {
                "user_data": BINDING.report_data(),
                "nonce": NONCE,
                "public_key": b"key",
            }
        }
    ]
    examination = RULES.examine(collected.evidence, Endorsements(), NOON, mint().roots)
    assert examination.claims["user_data"] == BINDING.report_data()
    assert (examination.claims["nonce"], examination.claims["public_key"]) == (NONCE, b"key")


def test_an_answer_whose_maps_leave_their_length_open_is_read() -> None:
    def open_maps(answer: bytes) -> bytes:
        inner = answer[1 + 12 :]
        return b"\xbf" + answer[1 : 1 + 12] + b"\xbf" + inner[1:] + b"\xff\xff"

    assert evidence(Module(open_maps)).evidence == evidence(Module()).evidence


@pytest.mark.parametrize(
    "answer",
    [
        cbor2.dumps({"Error": "InvalidArgument"}),
        cbor2.dumps("InputTooLarge"),
        cbor2.dumps({"Attestation": {}}),
        cbor2.dumps({"Attestation": {"document": "text"}}),
        cbor2.dumps({"DescribeNSM": {}}),
        cbor2.dumps(7),
        b"",
        b"\xff",
        b"\xa2\x61a\x01\x61a\x02",
        b"\x81" * 1000,
    ],
    ids=["error", "word", "empty", "text", "other", "number", "nothing", "break", "twice", "deep"],
)
def test_an_answer_without_a_document_is_a_failure(answer: bytes) -> None:
    with pytest.raises(UnavailableError) as caught:
        evidence(Module(lambda _: answer))
    assert caught.value.reason is Reason.ATTESTER_FAILED


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOENT, Reason.ATTESTER_ABSENT),
        (errno.ENOTTY, Reason.ATTESTER_ABSENT),
        (errno.EACCES, Reason.ATTESTER_FAILED),
        (errno.EMSGSIZE, Reason.ATTESTER_FAILED),
    ],
)
def test_a_device_that_refuses_is_told_from_none(number: int, reason: Reason) -> None:
    class Refusing:
        def exchange(self, request: bytes) -> bytes:  # noqa: ARG002 - refused unread
            raise OSError(number, "refused")

    with pytest.raises(RegistryError) as caught:
        NitroNSM(Refusing()).evidence(bytes(64), NONCE, b"key")
    assert caught.value.reason is reason


def test_what_a_document_has_no_room_for_is_not_asked() -> None:
    module = Module()
    for data, nonce, key in ((bytes(63), NONCE, b""), (bytes(64), bytes(513), b""),
                             (bytes(64), NONCE, bytes(1025))):  # fmt: skip
        with pytest.raises(ValueError, match=r"64 bytes|no room"):
            NitroNSM(module).evidence(data, nonce, key)
    assert module.requests == []


def test_a_host_without_the_device_has_none(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        NitroNSM(DevNSM(tmp_path / "nsm")).evidence(bytes(64), NONCE, b"key")
    (tmp_path / "nsm").touch()
    # A file is no device: the real system call says so.
    with pytest.raises(UnsupportedError):
        NitroNSM(DevNSM(tmp_path / "nsm")).evidence(bytes(64), NONCE, b"key")


def test_the_system_call_is_the_one_of_linux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes  # noqa: PLC0415 - what the kernel would do with an address

    def kernel(_descriptor: int, request: int, vectors: bytearray, mutate: bool) -> int:
        assert (request, mutate, len(vectors)) == (0xC0200A00, True, 32)
        asked, size, answer, room = struct.unpack("=QQQQ", vectors)
        assert (ctypes.string_at(asked, size), room) == (b"request", 0x3000)
        ctypes.memmove(answer, b"answer", 6)
        vectors[24:] = struct.pack("=Q", 6)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", kernel)
    (tmp_path / "nsm").touch()
    assert DevNSM(tmp_path / "nsm").exchange(b"request") == b"answer"
    assert NSM_IOCTL == 0xC0200A00
    assert nsm.MAX_RESPONSE_BYTES == 0x3000
