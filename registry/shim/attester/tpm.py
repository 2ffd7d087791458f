"""A TPM 2.0, asked in its own language: read an index, read registers, quote them with a key.

Commands and answers are big-endian (Trusted Platform Module Library, part 3). A key without a
password is used, as cloud providers make it; Linux gives a session of one's own at
``/dev/tpmrm0``, and swaps what others use out and in.
"""

import os
import select
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from registry.shim.attester.faults import absent, failed

DEVICE: Final = Path("/dev/tpmrm0")
"""The TPM of this host, behind the kernel's resource manager."""

MAX_ANSWER_BYTES: Final = 4096
"""Bytes of one answer."""

ANSWER_SECONDS: Final = 20.0
"""Seconds that a TPM may take for one answer; a quote takes some tenths."""

MAX_INDEX_BYTES: Final = 16 * 1024
"""Bytes of an index that is read."""

_CHUNK_BYTES: Final = 512
_NO_SESSIONS: Final = 0x8001
_SESSIONS: Final = 0x8002
_NV_READ_PUBLIC: Final = 0x169
_NV_READ: Final = 0x14E
_PCR_READ: Final = 0x17E
_QUOTE: Final = 0x158
_OWNER: Final = 0x4000_0001
_EMPTY_PASSWORD: Final = bytes.fromhex("00000009400000090000000000")
_RSASSA: Final = 0x14
_SHA256: Final = 0x0B
_LATER: Final = (0x908, 0x90A, 0x922)
"""Codes of a TPM that is busy: TPM_RC_YIELDED, TPM_RC_TESTING and TPM_RC_RETRY."""
_PAUSE_SECONDS: Final = 0.02
_HEAD: Final = struct.Struct(">HII")


class TPMDevice(Protocol):
    """Exchanges one command with a TPM; no more is known of it here."""

    def exchange(self, command: bytes) -> bytes:
        """The TPM's answer to ``command``.

        Raises:
            OSError: It is not there, or does not answer in time.
        """


class DevTPM:
    """The device of Linux."""

    def __init__(self, path: Path = DEVICE) -> None:
        self._path = path

    def exchange(self, command: bytes) -> bytes:
        """See :class:`TPMDevice`."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.write(descriptor, command)
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            ends = time.monotonic() + ANSWER_SECONDS
            while not waiting.poll(max(0.0, ends - time.monotonic()) * 1000):
                if time.monotonic() >= ends:
                    message = "the TPM does not answer"
                    raise TimeoutError(message)
            return os.read(descriptor, MAX_ANSWER_BYTES)
        finally:
            os.close(descriptor)


class TPM:
    """Asks a TPM."""

    def __init__(self, device: TPMDevice, where: str, seconds: float = ANSWER_SECONDS) -> None:
        """Ask nothing yet.

        Args:
            device: How to ask.
            where: What it is called in errors.
            seconds: How long a TPM that is busy is asked again.
        """
        self._seconds = seconds
        self._device = device
        self._where = where

    def index(self, number: int) -> bytes:
        """What an index of non-volatile memory holds, which its owner may read.

        Raises:
            UnsupportedError: ``ATTESTER_ABSENT``: there is no TPM, or no such index.
            UnavailableError: ``ATTESTER_FAILED``.
        """
        handle = number.to_bytes(4, "big")
        public = _Answer(self._ask(_NV_READ_PUBLIC, handle, absent_if_refused=True), self._where)
        size = int.from_bytes(public.sized()[-2:], "big")
        if size > MAX_INDEX_BYTES:
            raise failed("an index of the TPM is too long", self._where, f"{size} bytes")
        data = b""
        while len(data) < size:
            wanted = min(_CHUNK_BYTES, size - len(data))
            handles = _OWNER.to_bytes(4, "big") + handle
            place = struct.pack(">HH", wanted, len(data))
            piece = self._authorized(_NV_READ, handles, place).sized()
            if len(piece) != wanted:
                raise failed("the TPM reads too little of an index", self._where)
            data += piece
        return data

    def registers(self, numbers: Sequence[int]) -> tuple[bytes, ...]:
        """What registers of SHA-256 hold, in the order of their numbers.

        Raises:
            UnsupportedError: ``ATTESTER_ABSENT``.
            UnavailableError: ``ATTESTER_FAILED``.
        """
        found: dict[int, bytes] = {}
        while missing := [number for number in sorted(numbers) if number not in found]:
            answer = _Answer(self._ask(_PCR_READ, _selection(missing)), self._where)
            answer.take(4)
            selected = answer.selection()
            values = [answer.sized() for _ in range(answer.number(4))]
            if not values or len(values) != len(selected):
                raise failed("the TPM does not tell its registers", self._where)
            found.update(zip(selected, values, strict=True))
        return tuple(found[number] for number in sorted(numbers))

    def quote(self, key: int, nonce: bytes, numbers: Sequence[int]) -> tuple[bytes, bytes]:
        """What a persistent key signs of registers of SHA-256, and its signature.

        Raises:
            UnsupportedError: ``ATTESTER_ABSENT``.
            UnavailableError: ``ATTESTER_FAILED``: also if there is no such key.
        """
        parameters = (
            len(nonce).to_bytes(2, "big")
            + nonce
            + struct.pack(">HH", _RSASSA, _SHA256)
            + _selection(numbers)
        )
        answer = self._authorized(_QUOTE, key.to_bytes(4, "big"), parameters)
        quoted = answer.sized()
        if (answer.number(2), answer.number(2)) != (_RSASSA, _SHA256):
            raise failed("the TPM signs in another way than asked", self._where)
        return quoted, answer.sized()

    def _authorized(self, code: int, handles: bytes, parameters: bytes) -> "_Answer":
        body = handles + _EMPTY_PASSWORD + parameters
        answer = _Answer(self._ask(code, body, tag=_SESSIONS), self._where)
        answer.take(4)
        return answer

    def _ask(
        self,
        code: int,
        body: bytes,
        *,
        tag: int = _NO_SESSIONS,
        absent_if_refused: bool = False,
    ) -> bytes:
        command = _HEAD.pack(tag, _HEAD.size + len(body), code) + body
        ends = time.monotonic() + self._seconds
        answer = self._exchange(command)
        said, size, refusal = _HEAD.unpack_from(answer)
        while refusal in _LATER and time.monotonic() < ends:
            time.sleep(_PAUSE_SECONDS)
            answer = self._exchange(command)
            said, size, refusal = _HEAD.unpack_from(answer)
        if refusal:
            text = f"command {code:#x}: code {refusal:#x}"
            if absent_if_refused:
                raise absent(self._where, text)
            raise failed("the TPM refuses", self._where, text)
        if said != tag or size != len(answer):
            raise failed("the TPM answers something else", self._where, answer.hex()[:80])
        return answer[_HEAD.size :]

    def _exchange(self, command: bytes) -> bytes:
        try:
            answer = self._device.exchange(command)
        except FileNotFoundError as error:
            raise absent(self._where, str(error)) from error
        except OSError as error:
            raise failed("the TPM does not answer", self._where, str(error)) from error
        if len(answer) < _HEAD.size:
            raise failed("the TPM answers something else", self._where, answer.hex()[:80])
        return answer


class _Answer:
    """Takes what an answer holds from the front."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self._at = 0

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise failed("the TPM's answer is cut off", self._where)
        self._at += size
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        return self.take(self.number(2))

    def selection(self) -> list[int]:
        """The numbers of one selection of registers of SHA-256."""
        if (self.number(4), self.number(2)) != (1, _SHA256):
            raise failed("the TPM has no registers of SHA-256", self._where)
        bits = int.from_bytes(self.take(self.number(1)), "little")
        return [number for number in range(bits.bit_length()) if bits >> number & 1]


def _selection(numbers: Sequence[int]) -> bytes:
    bits = sum(1 << number for number in numbers)
    return struct.pack(">IHB", 1, _SHA256, 3) + bits.to_bytes(3, "little")
