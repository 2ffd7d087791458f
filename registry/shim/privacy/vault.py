"""The vault: sealed payloads of one shim in files, one to a call, and the keys of their classes.

::

    private/keys/CLASS.key
    private/payloads/0000000000000071/00000000000000071234.sealed
    private/unfinished/00000000000000071235.sealed

A payload is on disk before the record that speaks of it. Erasing one leaves a note in its place
that says so; destroying the key of a class shuts every payload of that class for ever, also in
copies that others hold. What a crash leaves unfinished belongs to no record, and is wiped before
anything else is sealed. What a disk keeps of blocks that were overwritten is beyond this room.
"""

import os
import threading
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.encoding import Value
from registry.errors import LimitExceededError, MalformedError, NotFoundError, Reason
from registry.shim.durable import make_folder, replace_file, sync_folder
from registry.shim.key_file import KEY_BYTES, open_key, read_key
from registry.shim.privacy.policy import RetentionClass
from registry.shim.privacy.sealed_payload import (
    MAX_PAYLOAD_BYTES,
    Head,
    Opened,
    open_payload,
    read_head,
)

FOLDER: Final = "private"
"""The vault's name in a shim's folder."""

_MAX_FILE_BYTES = 2 * MAX_PAYLOAD_BYTES
_FOLDER_CALLS = 1000


class Erased(Value, frozen=True):
    """What stands where a payload was."""

    schema: Literal["erased-payload/v1"]
    receipt: Annotated[str, msgspec.Meta(max_length=64)]


class Vault:
    """Sealed payloads below one folder; used by one process at a time to write."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which need not exist."""
        self._keys = folder / "keys"
        self._payloads = folder / "payloads"
        self._unfinished = folder / "unfinished"
        # Two calls at once must not make two keys of one class: what the first sealed is lost.
        self._making = threading.Lock()
        self._swept = False

    def put(self, n: int, opened: Opened) -> bytes:
        """Seal what call ``n`` said, durably.

        Returns:
            The SHA-256 of the sealed file.

        Raises:
            MalformedError: ``MALFORMED_KEY``.
            OSError: The disk does not take it.
        """
        with self._making:
            if not self._swept:
                self.sweep()
            make_folder(self._keys)
            key = open_key(self._key(opened.payload.retention_class), "key of a class")
        sealed = opened.seal(key)
        path = self._path(n)
        make_folder(path.parent)
        replace_file(path, sealed, self._unfinished / path.name)
        return sha256(sealed)

    def sweep(self) -> None:
        """Wipe what a crash left unfinished: no record speaks of it, and nobody could erase it.

        For whoever writes here, before anything is sealed.

        Raises:
            OSError: The disk does not take it.
        """
        make_folder(self._unfinished)
        for path in self._unfinished.iterdir():
            _overwrite(path, path.stat().st_size)
            path.unlink()
        sync_folder(self._unfinished)
        self._swept = True

    def open(self, n: int) -> Opened:
        """Open what call ``n`` said.

        Raises:
            NotFoundError: ``NO_SEALED_PAYLOAD`` or ``ERASED``.
            MalformedError: ``MALFORMED_SEALED_PAYLOAD`` or ``MALFORMED_KEY``.
            VerificationError: ``SEALED_PAYLOAD_KEY``.
        """
        data, head = self._read(n)
        key = self._key(head.retention_class)
        if not key.exists():
            raise NotFoundError(
                Reason.ERASED,
                "the key of this class was destroyed",
                where=f"class {head.retention_class}",
                hint="its payloads are shut for ever; their records and proofs stand",
            )
        return open_payload(data, read_key(key, "key of a class"))

    def receipt(self, n: int) -> str:
        """Whose payload call ``n`` has, as its file says: shim id and number.

        Raises:
            NotFoundError: ``NO_SEALED_PAYLOAD`` or ``ERASED``.
            MalformedError: ``MALFORMED_SEALED_PAYLOAD``.
        """
        return self._read(n)[1].receipt

    def erase(self, n: int) -> None:
        """Erase what call ``n`` said, for good.

        Raises:
            NotFoundError: ``NO_SEALED_PAYLOAD`` or ``ERASED``.
            MalformedError: ``MALFORMED_SEALED_PAYLOAD``.
        """
        _, head = self._read(n)
        path = self._path(n)
        _overwrite(path, path.stat().st_size)
        replace_file(
            path, encoding.write_json(Erased(schema="erased-payload/v1", receipt=head.receipt))
        )

    def destroy(self, retention_class: str) -> None:
        """Destroy the key of a class, and so everything that it wraps.

        Raises:
            MalformedError: ``MALFORMED_FIELD``: this names no class.
            NotFoundError: ``ERASED``: there is no such key, or none any more.
        """
        try:
            msgspec.convert(retention_class, RetentionClass)
        except msgspec.ValidationError as error:
            raise MalformedError(
                Reason.MALFORMED_FIELD, "this names no class", actual=ascii(retention_class[:80])
            ) from error
        path = self._key(retention_class)
        if not path.exists():
            raise NotFoundError(
                Reason.ERASED, "there is no key of this class", where=f"class {retention_class}"
            )
        _overwrite(path, KEY_BYTES)
        path.unlink()
        sync_folder(path.parent)

    def _read(self, n: int) -> tuple[bytes, Head]:
        path = self._path(n)
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError as error:
            raise NotFoundError(
                Reason.NO_SEALED_PAYLOAD,
                "nothing is kept of this call",
                where=f"intent {n}",
                hint="the shim's privacy policy says what is kept",
            ) from error
        if len(data) > _MAX_FILE_BYTES:
            raise LimitExceededError(
                Reason.PAYLOAD_TOO_LARGE, "this is too large for a sealed payload", where=str(path)
            )
        if data.startswith(b'{"receipt":') and data.endswith(b'"schema":"erased-payload/v1"}'):
            encoding.read_json(data, Erased, what="note of an erased payload")
            raise NotFoundError(
                Reason.ERASED,
                "what this call said was erased",
                where=f"intent {n}",
                hint="its record and every proof of it stand",
            )
        if data.startswith(b"\0"):
            # The head goes first, and with it the key: erasing was cut short before its note.
            raise NotFoundError(
                Reason.ERASED,
                "what this call said was overwritten",
                where=f"intent {n}",
                hint="nothing of it can be opened; its record and every proof of it stand",
            )
        head, _ = read_head(data)
        if head.receipt.partition("/")[2] != str(n):
            raise MalformedError(
                Reason.MALFORMED_SEALED_PAYLOAD,
                "this file is the payload of another call",
                where=str(path),
                expected=f"intent {n}",
                actual=head.receipt,
            )
        return data, head

    def _path(self, n: int) -> Path:
        return self._payloads / f"{n // _FOLDER_CALLS:016}" / f"{n:020}.sealed"

    def _key(self, retention_class: str) -> Path:
        return self._keys / f"{retention_class}.key"


def _overwrite(path: Path, size: int) -> None:
    """Write over what a file holds, and take it away, as far as a file system can."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        data = memoryview(bytes(size))
        position = 0
        while position < size:
            position += os.pwrite(descriptor, data[position:], position)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
