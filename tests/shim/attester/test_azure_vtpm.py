"""The attester of Azure's vTPM, with a real TPM in software where there is one (swtpm)."""

import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.core.encoding import read_foreign_json
from registry.core.evidence.appraisal import Question, appraise
from registry.core.evidence.azure.rules import SNP_RULES
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.policy import Policy
from registry.core.verdict import Verdict
from registry.errors import Reason, RegistryError
from registry.shim.attester import tpm as tpm_room
from registry.shim.attester.azure_vtpm import (
    ATTESTATION_KEY,
    MAX_ATTEMPTS,
    REPORT_INDEX,
    AzureVTPM,
)
from registry.shim.attester.tpm import TPM, DevTPM, TPMDevice
from tools.fake_vendor import azure, intel

SWTPM = shutil.which("swtpm")
needs_tpm = pytest.mark.skipif(SWTPM is None, reason="swtpm, a TPM in software, is not installed")

BINDING = Binding(nonce=bytes(range(32)), session_key=b"key", model=b"m" * 32)
PASSWORD = bytes.fromhex("00000009400000090000000000")
OWNER = bytes.fromhex("40000001")
KEY_TEMPLATE = bytes.fromhex(
    "0001000b000500720000"  # RSA, SHA-256; restricted, signs, fixed to this TPM
    "00100014000b0800000000000000"  # RSASSA with SHA-256, 2048 bits
)  # fmt: skip


class SoftTPM:
    """A TPM in software, behind a socket."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tpm.sock"
        (folder / "state").mkdir()
        self._process = subprocess.Popen(
            [
                *(str(SWTPM), "socket", "--tpm2", "--flags", "startup-clear,not-need-init"),
                *("--tpmstate", f"dir={folder / 'state'}", "--log", "level=0"),
                *("--server", f"type=unixio,path={self._path}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        ends = time.monotonic() + 10
        while True:
            try:
                self._socket.connect(str(self._path))
                break
            except OSError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.02)

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def exchange(self, command: bytes) -> bytes:
        self._socket.sendall(command)
        answer = b""
        while len(answer) < 10 or len(answer) < int.from_bytes(answer[2:6], "big"):
            piece = self._socket.recv(4096)
            assert piece
            answer += piece
        return answer

    def ask(self, code: int, handles: bytes, parameters: bytes) -> bytes:
        """What an owner does, with an empty password."""
        body = handles + PASSWORD + parameters
        answer = self.exchange(struct.pack(">HII", 0x8002, 10 + len(body), code) + body)
        assert answer[6:10] == bytes(4), answer.hex()
        return answer[10:]

    def make_key(self) -> int:
        """Make the attestation key where Azure has it; its modulus."""
        parameters = (
            b"\0\x04" + bytes(4)
            + sized(KEY_TEMPLATE) + sized(b"") + bytes(4)
        )  # fmt: skip
        made = self.ask(0x131, OWNER, parameters)
        handle, public = made[:4], made[8:]
        self.ask(0x120, OWNER + handle, ATTESTATION_KEY.to_bytes(4, "big"))
        size = int.from_bytes(public[:2], "big")
        return int.from_bytes(public[2 : 2 + size][-256:], "big")

    def write_index(self, number: int, data: bytes) -> None:
        """Define an index that its owner reads and writes, and fill it."""
        handle = number.to_bytes(4, "big")
        public = handle + struct.pack(">HIHH", 0x0B, 0x0002_0002, 0, len(data))
        self.ask(0x12A, OWNER, sized(b"") + sized(public))
        for at in range(0, len(data), 512):
            piece = data[at : at + 512]
            self.ask(0x137, OWNER + handle, sized(piece) + at.to_bytes(2, "big"))

    def extend(self, number: int, digest: bytes) -> None:
        handle = number.to_bytes(4, "big")
        self.ask(0x182, handle, bytes.fromhex("00000001000b") + digest)


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


@pytest.fixture
def soft(tmp_path: Path) -> Iterator[SoftTPM]:
    running = SoftTPM(tmp_path)
    yield running
    running.close()


class Paravisor:
    """A TPM whose one index is larger than that of a TPM in software may be: 2600 bytes."""

    def __init__(self, soft: SoftTPM, report: bytes) -> None:
        self._soft = soft
        self._report = report
        self.meanwhile: Callable[[], None] = lambda: None

    def exchange(self, command: bytes) -> bytes:
        code = int.from_bytes(command[6:10], "big")
        index = REPORT_INDEX.to_bytes(4, "big")
        if code == 0x169 and command[10:14] == index:
            public = index + struct.pack(">HIHH", 0x0B, 0x0002_0002, 0, len(self._report))
            body = sized(public) + sized(bytes(34))
            return struct.pack(">HII", 0x8001, 10 + len(body), 0) + body
        if code == 0x14E and command[14:18] == index:
            size, at = struct.unpack(">HH", command[-4:])
            read = sized(self._report[at : at + size])
            body = len(read).to_bytes(4, "big") + read + bytes(5)
            return struct.pack(">HII", 0x8002, 10 + len(body), 0) + body
        if code == 0x158:
            self.meanwhile()
        return self._soft.exchange(command)


def paravisor_report(modulus: int, spec: azure.Spec | None = None) -> azure.Minted:
    """What the hardware and the paravisor of the fake vendor say of that key."""

    def named(runtime: dict[str, Any]) -> dict[str, Any]:
        runtime["keys"][0]["n"] = azure.url(modulus.to_bytes(256, "big"))
        return runtime

    return azure.mint(azure.Spec(runtime=named) if spec is None else spec)


@needs_tpm
def test_an_index_registers_and_a_quote_of_a_real_tpm_are_read(soft: SoftTPM) -> None:
    data = os.urandom(1700)
    soft.write_index(REPORT_INDEX, data)
    soft.make_key()
    soft.extend(7, b"\x07" * 32)
    tpm = TPM(soft, "swtpm")
    assert tpm.index(REPORT_INDEX) == data
    registers = tpm.registers(range(24))
    assert len(registers) == 24
    assert registers[7] != bytes(32)
    assert registers[8] == bytes(32)
    assert tpm.registers((7, 23)) == (registers[7], registers[23])
    quote, signature = tpm.quote(ATTESTATION_KEY, b"n" * 32, range(24))
    assert quote.startswith(bytes.fromhex("ff5443478018"))
    assert len(signature) == 256


@needs_tpm
def test_evidence_of_a_real_tpm_is_examined_and_bound(soft: SoftTPM) -> None:
    minted = paravisor_report(soft.make_key())
    attester = AzureVTPM(Paravisor(soft, minted.submission.hcl_report))
    collected = attester.evidence(BINDING.tpm_nonce(), b"nonce", b"key")
    assert collected.family is Family.AZURE_SNP_VTPM
    examination = SNP_RULES.examine(
        collected.evidence, minted.endorsements, intel.NOON, minted.roots
    )
    skip = tuple(SNP_RULES.references)
    policy = Policy(name="t", family=Family.AZURE_SNP_VTPM, skip=skip)
    for bound, verdict in ((BINDING, Verdict.VALID), (Binding(nonce=bytes(32)), Verdict.INVALID)):
        question = Question(stated=bound, expected=bound)
        appraisal = appraise(examination, policy, SNP_RULES, question)
        assert appraisal.verdict is verdict, appraisal.findings()
    assert read_foreign_json(collected.evidence, what="submission")


@needs_tpm
def test_registers_that_change_while_they_are_read_are_read_again(soft: SoftTPM) -> None:
    minted = paravisor_report(soft.make_key())
    device = Paravisor(soft, minted.submission.hcl_report)
    changes = 0

    def change() -> None:
        nonlocal changes
        changes += 1
        if changes < MAX_ATTEMPTS:
            soft.extend(16, bytes([changes]) * 32)

    device.meanwhile = change
    assert AzureVTPM(device).evidence(bytes(32), b"", b"").evidence
    assert changes == MAX_ATTEMPTS
    device.meanwhile = lambda: soft.extend(16, b"\x01" * 32)
    assert reason(lambda: AzureVTPM(device).evidence(bytes(32), b"", b"")) is (
        Reason.ATTESTER_FAILED
    )


@needs_tpm
def test_a_tpm_without_the_paravisors_report_is_no_such_device(soft: SoftTPM) -> None:
    assert reason(lambda: AzureVTPM(soft).evidence(bytes(32), b"", b"")) is Reason.ATTESTER_ABSENT


@needs_tpm
def test_a_tpm_without_the_key_is_a_failure(soft: SoftTPM) -> None:
    device = Paravisor(soft, azure.mint().submission.hcl_report)
    assert reason(lambda: AzureVTPM(device).evidence(bytes(32), b"", b"")) is (
        Reason.ATTESTER_FAILED
    )


def reason(act: Callable[[], object]) -> Reason:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value.reason


class Says:
    """Answers everything with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def exchange(self, _command: bytes) -> bytes:
        return self._answer


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x80\x01\0\0\0\x0a\0\0",
        struct.pack(">HII", 0x8001, 11, 0),
        struct.pack(">HII", 0x8002, 10, 0),
        struct.pack(">HII", 0x8001, 10, 0),
        struct.pack(">HII", 0x8001, 12, 0) + b"\xff\xff",
        struct.pack(">HII", 0x8001, 16, 0) + sized(b"\xff\xff\xff\xff"),
    ],
    ids=["nothing", "cut", "size", "tag", "empty", "overrun", "too long an index"],
)
def test_another_answer_is_a_failure(answer: bytes) -> None:
    assert reason(lambda: TPM(Says(answer), "tpm").index(REPORT_INDEX)) is Reason.ATTESTER_FAILED
    assert reason(lambda: TPM(Says(answer), "tpm").registers((0,))) is Reason.ATTESTER_FAILED
    assert reason(lambda: TPM(Says(answer), "tpm").quote(1, b"", (0,))) is Reason.ATTESTER_FAILED


def said(tag: int, body: bytes, code: int = 0) -> bytes:
    """An answer with its head."""
    return struct.pack(">HII", tag, 10 + len(body), code) + body


def in_session(body: bytes) -> bytes:
    """What an authorized command answers."""
    return said(0x8002, len(body).to_bytes(4, "big") + body + bytes(5))


ONE_REGISTER = bytes.fromhex("0000000100000001000b03010000")
SIGNED = sized(b"quote") + bytes.fromhex("0014000b") + sized(b"signature")


def read_index(tpm: TPM) -> None:
    tpm.index(REPORT_INDEX)


def read_registers(tpm: TPM) -> None:
    tpm.registers((0,))


def read_quote(tpm: TPM) -> None:
    tpm.quote(1, b"", (0,))


@pytest.mark.parametrize(
    ("act", "answer", "what"),
    [
        (read_index, said(0x8001, sized(b"\xff\xff")), "an index of the TPM is too long"),
        (read_quote, said(0x8001, b"", 0x18B), "the TPM refuses"),
        (read_registers, said(0x8002, ONE_REGISTER), "the TPM answers something else"),
        (read_registers, said(0x8001, ONE_REGISTER) + b"\0", "the TPM answers something else"),
        (read_registers, b"\x80\x01", "the TPM answers something else"),
        (
            read_registers,
            said(0x8001, ONE_REGISTER.replace(b"\0\x0b", b"\0\x0c") + bytes(4)),
            "the TPM has no registers of SHA-256",
        ),
        (
            read_registers,
            said(0x8001, ONE_REGISTER + bytes(4)),
            "the TPM does not tell its registers",
        ),
        (
            read_quote,
            in_session(SIGNED.replace(b"\0\x14", b"\0\x16")),
            "the TPM signs in another way than asked",
        ),
        (read_quote, in_session(SIGNED[:-20]), "the TPM's answer is cut off"),
    ],
    ids=range(9),
)
def test_what_is_wrong_with_an_answer_is_said(
    act: Callable[[TPM], None], answer: bytes, what: str
) -> None:
    with pytest.raises(RegistryError) as caught:
        act(TPM(Says(answer), "tpm"))
    assert caught.value.what == what


def test_what_is_right_is_read() -> None:
    good = said(0x8001, ONE_REGISTER + b"\0\0\0\1" + sized(b"r" * 32))
    assert TPM(Says(good), "tpm").registers((0,)) == (b"r" * 32,)
    assert TPM(Says(in_session(SIGNED)), "tpm").quote(1, b"", (0,)) == (b"quote", b"signature")


def test_an_index_that_is_read_in_part_is_a_failure() -> None:
    class Short:
        def exchange(self, command: bytes) -> bytes:
            if int.from_bytes(command[6:10], "big") == 0x169:
                return said(0x8001, sized(b"\0\x10"))
            return in_session(sized(b"half"))

    with pytest.raises(RegistryError) as caught:
        TPM(Short(), "tpm").index(REPORT_INDEX)
    assert caught.value.what == "the TPM reads too little of an index"


def test_a_device_that_is_silent_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpm_room, "ANSWER_SECONDS", 0.2)
    ours, theirs = os.openpty()
    try:
        device = DevTPM(Path(os.ttyname(theirs)))
        with pytest.raises(TimeoutError):
            device.exchange(bytes(10))
        with pytest.raises(RegistryError) as caught:
            TPM(device, "tty").registers((0,))
        assert caught.value.what == "the TPM does not answer"
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_tpm_that_is_always_busy_is_left_in_time() -> None:
    busy = TPM(Says(struct.pack(">HII", 0x8001, 10, 0x922)), "tpm", seconds=0.1)
    assert reason(lambda: busy.registers((0,))) is Reason.ATTESTER_FAILED


def test_a_machine_without_a_tpm_has_no_such_device(tmp_path: Path) -> None:
    attester = AzureVTPM(DevTPM(tmp_path / "tpmrm0"))
    assert reason(lambda: attester.evidence(bytes(32), b"", b"")) is Reason.ATTESTER_ABSENT


def test_a_device_that_is_no_tpm_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "tpmrm0").write_bytes(b"")
    attester = AzureVTPM(DevTPM(tmp_path / "tpmrm0"))
    assert reason(lambda: attester.evidence(bytes(32), b"", b"")) is Reason.ATTESTER_FAILED


def holding(report: bytes) -> TPMDevice:
    """A TPM that has nothing but the paravisor's report."""

    class Index:
        def exchange(self, command: bytes) -> bytes:
            if int.from_bytes(command[6:10], "big") == 0x169:
                body = sized(bytes(12) + len(report).to_bytes(2, "big"))
                return struct.pack(">HII", 0x8001, 10 + len(body), 0) + body
            size, at = struct.unpack(">HH", command[-4:])
            read = sized(report[at : at + size])
            body = len(read).to_bytes(4, "big") + read + bytes(5)
            return struct.pack(">HII", 0x8002, 10 + len(body), 0) + body

    return Index()


def test_a_machine_on_intel_is_told_where_to_ask() -> None:
    report = azure.mint(azure.Spec(hardware=intel.Spec())).submission.hcl_report
    with pytest.raises(RegistryError) as caught:
        AzureVTPM(holding(report)).evidence(bytes(32), b"", b"")
    assert caught.value.reason is Reason.ATTESTER_FAILED
    assert "agent" in caught.value.hint


def test_what_is_no_report_of_a_paravisor_is_a_failure() -> None:
    with pytest.raises(RegistryError) as caught:
        AzureVTPM(holding(bytes(2600))).evidence(bytes(32), b"", b"")
    assert caught.value.what == "the paravisor's report cannot be read"


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_commitment_of_another_size_is_not_padded(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        AzureVTPM(Says(b"")).evidence(bytes(size), b"", b"")
