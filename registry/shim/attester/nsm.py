"""AWS Nitro: documents of the Nitro security module, asked through its device.

One ioctl exchanges CBOR (include/uapi/linux/nsm.h)::

    {"Attestation": {"user_data": …, "nonce": …, "public_key": …}}  →
    {"Attestation": {"document": h'…'}}  or  {"Error": "InvalidArgument"}
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import cbor2

from registry.core.evidence.claims import Family
from registry.core.evidence.nitro.document import MAX_PUBLIC_KEY_BYTES, MAX_USER_DATA_BYTES
from registry.shim.attester.faults import absent, check_report_data, failed
from registry.shim.attester.port import Collected, Commitment

DEVICE: Final = Path("/dev/nsm")
"""The device of an enclave."""

MAX_REQUEST_BYTES: Final = 0x1000
"""Bytes that the device takes."""

MAX_RESPONSE_BYTES: Final = 0x3000
"""Bytes that the device answers."""

NSM_IOCTL: Final = 3 << 30 | 32 << 16 | 0x0A << 8
"""``_IOWR(0x0A, 0, struct nsm_raw)``: two vectors, each an address and a length of 64 bits."""

_VECTORS: Final = struct.Struct("=QQQQ")
_ABSENT: Final = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTTY)
_MAX_DEPTH: Final = 4


class NSMDevice(Protocol):
    """Exchanges one message with the module; no more is known of it here."""

    def exchange(self, request: bytes) -> bytes:
        """The module's answer to ``request``.

        Raises:
            OSError: The device is not there, or refuses.
        """


class DevNSM:
    """The device of Linux."""

    def __init__(self, path: Path = DEVICE) -> None:
        self._path = path

    def exchange(self, request: bytes) -> bytes:
        """See :class:`NSMDevice`."""
        asked = ctypes.create_string_buffer(request, len(request))
        answer = ctypes.create_string_buffer(MAX_RESPONSE_BYTES)
        vectors = bytearray(
            _VECTORS.pack(
                ctypes.addressof(asked), len(asked), ctypes.addressof(answer), len(answer)
            )
        )
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, NSM_IOCTL, vectors, True)  # noqa: FBT003 - Python's interface
        finally:
            os.close(descriptor)
        size = _VECTORS.unpack(vectors)[3]
        return answer.raw[: min(size, MAX_RESPONSE_BYTES)]


class NitroNSM:
    """Asks the module for documents."""

    commits_to: ClassVar[Commitment] = "report_data"

    def __init__(self, device: NSMDevice | None = None) -> None:
        """Ask nothing yet; the device of Linux if none is given."""
        self._device = device or DevNSM()

    def evidence(self, report_data: bytes, nonce: bytes, session_key_der: bytes) -> Collected:
        """See :class:`~registry.shim.attester.port.Attester`."""
        check_report_data(report_data)
        if len(nonce) > MAX_USER_DATA_BYTES or len(session_key_der) > MAX_PUBLIC_KEY_BYTES:
            message = "a document has no room for such a nonce or key"
            raise ValueError(message)
        fields = {
            "user_data": report_data,
            "nonce": nonce or None,
            "public_key": session_key_der or None,
        }
        said = self._ask({"Attestation": fields})
        attestation = said.get("Attestation")
        document = attestation.get("document") if isinstance(attestation, Mapping) else None
        if not isinstance(document, bytes):
            error = said.get("Error", "no document")
            raise failed("the Nitro security module attests nothing", "NSM", ascii(error))
        return Collected(Family.AWS_NITRO, document)

    def _ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            answer = self._device.exchange(cbor2.dumps(request))
        except OSError as error:
            if error.errno in _ABSENT:
                raise absent(str(DEVICE), str(error)) from error
            raise failed(
                "the Nitro security module does not answer", str(DEVICE), str(error)
            ) from error
        try:
            said = cbor2.loads(answer, max_depth=_MAX_DEPTH, allow_duplicate_keys=False)
        except (cbor2.CBORDecodeError, ValueError, OverflowError) as error:
            raise failed(
                "the Nitro security module answers something else", "NSM", str(error)
            ) from error
        if not isinstance(said, Mapping):
            # A refusal without fields is a bare word.
            return {"Error": said}
        return said
