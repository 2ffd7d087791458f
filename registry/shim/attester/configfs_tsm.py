"""Intel TDX and AMD SEV-SNP through Linux: reports of configfs-tsm (since 6.7).

A report is a folder (Documentation/ABI/testing/configfs-tsm)::

    mkdir /sys/kernel/config/tsm/report/NAME
    write the 64 bytes to inblob, read the evidence from outblob, and
    on SNP the host's certificates from auxblob; provider says which of the two it is

Each write adds one to ``generation``. The folder is ours alone, and still it is compared: if
somebody else wrote meanwhile, the report may be about their bytes.
"""

import errno
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

from registry.core.encoding import decimal
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES, Family
from registry.core.evidence.endorsements import MAX_ENDORSEMENT_BYTES, Role
from registry.errors import MalformedError, UnavailableError, UnsupportedError
from registry.shim.attester.certificate_table import endorsements
from registry.shim.attester.faults import absent, check_report_data, failed
from registry.shim.attester.port import Collected, Commitment

REPORTS: Final = Path("/sys/kernel/config/tsm/report")
"""Where Linux makes reports."""

EVENT_LOG: Final = Path("/sys/firmware/acpi/tables/data/CCEL")
"""Where Linux shows the event log of a trust domain."""

TRIES: Final = 3
"""Reports that are asked for, if others write to them."""

TIMEOUT_SECONDS: Final = 10.0
"""Seconds in which a device must sign."""

_PAUSE_SECONDS: Final = 0.002
_MAX_TEXT_BYTES: Final = 256
_FAMILIES: Final = {"tdx_guest": Family.INTEL_DCAP, "sev_guest": Family.AMD_SNP}
_NOT_YET: Final = (errno.EAGAIN, errno.EBUSY, errno.EINTR)
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO, errno.ENOTTY)


class RacedError(Exception):
    """Somebody else wrote to our report."""


class ConfigfsTSM:
    """Asks the kernel."""

    commits_to: ClassVar[Commitment] = "report_data"

    def __init__(
        self,
        reports: Path = REPORTS,
        *,
        privilege: int | None = None,
        event_log: Path | None = EVENT_LOG,
        make: Callable[[Path], None] = os.mkdir,
        remove: Callable[[Path], None] = os.rmdir,
    ) -> None:
        """Ask nothing yet.

        Args:
            reports: The folder of reports.
            privilege: The privilege level (VMPL) that a report shall state; None for the lowest
                number that the kernel has.
            event_log: Where the event log of a trust domain is; None to leave it away.
            make: Makes a folder, in which the kernel puts its attributes.
            remove: Removes it, attributes and all.
        """
        self._reports = reports
        self._privilege = privilege
        self._event_log = event_log
        self._make = make
        self._remove = remove

    def evidence(self, report_data: bytes, nonce: bytes, session_key_der: bytes) -> Collected:  # noqa: ARG002 - committed in report_data
        """See :class:`Attester`; nonce and key are in ``report_data`` only."""
        check_report_data(report_data)
        for _ in range(TRIES):
            with suppress(RacedError):
                return self._collect(report_data)
        raise failed("somebody else writes to our report each time", str(self._reports))

    def _collect(self, report_data: bytes) -> Collected:
        report = self._reports / f"provreg-{secrets.token_hex(8)}"
        try:
            self._make(report)
        except OSError as error:
            raise self._refusal("no report can be made", error) from error
        try:
            return self._ask(report, report_data)
        except OSError as error:
            raise self._refusal("the report could not be read", error) from error
        finally:
            # An empty report that is left behind takes some memory of the kernel, and no more.
            with suppress(OSError):
                self._remove(report)

    def _ask(self, report: Path, report_data: bytes) -> Collected:
        provider = _text(report / "provider")
        family = _FAMILIES.get(provider)
        if family is None:
            raise absent(
                str(self._reports), f"provider {provider!r}", "known: tdx_guest, sev_guest"
            )
        before = _number(report / "generation")
        writes = 1
        if self._privilege is not None:
            _write(report / "privlevel", str(self._privilege).encode("ascii"))
            writes += 1
        _write(report / "inblob", report_data)
        evidence = _signed(report / "outblob")
        table = _optional(report / "auxblob") if family is Family.AMD_SNP else b""
        if _number(report / "generation") != before + writes:
            raise RacedError
        return Collected(family, evidence, self._more(family, table))

    def _more(self, family: Family, table: bytes) -> tuple[tuple[Role, bytes], ...]:
        if family is Family.AMD_SNP:
            return endorsements(table)
        log = _optional(self._event_log) if self._event_log is not None else b""
        return ((Role.EVENT_LOG, log),) if log else ()

    def _refusal(self, what: str, error: OSError) -> UnsupportedError | UnavailableError:
        where = error.filename if isinstance(error.filename, str) else str(self._reports)
        if error.errno in _ABSENT:
            return absent(str(self._reports), str(error))
        hint = "it needs root" if error.errno in (errno.EACCES, errno.EPERM) else ""
        return failed(what, where, str(error), hint)


def _text(path: Path) -> str:
    return _read(path, _MAX_TEXT_BYTES).decode("ascii", "replace").strip()


def _number(path: Path) -> int:
    text = _text(path)
    try:
        return decimal(text)
    except MalformedError as error:
        raise failed("the kernel does not count its reports", str(path), repr(text)) from error


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        parts: list[bytes] = []
        size = 0
        # An attribute may come in pieces.
        while part := file.read(limit + 1 - size):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise failed("the kernel says more than any device does", str(path), f"> {limit}")
    return b"".join(parts)


def _signed(path: Path) -> bytes:
    """What the device signs when it is asked; it may be busy with another's report."""
    ends = time.monotonic() + TIMEOUT_SECONDS
    while True:
        data, said = b"", "nothing"
        try:
            data = _read(path, MAX_EVIDENCE_BYTES)
        except OSError as error:
            if error.errno not in _NOT_YET:
                raise
            said = str(error)
        if data:
            return data
        if time.monotonic() > ends:
            raise failed("the device did not sign in time", str(path), said)
        time.sleep(_PAUSE_SECONDS)


def _optional(path: Path) -> bytes:
    """What may not be there: not every host hands out certificates, or an event log."""
    with suppress(OSError):
        return _read(path, MAX_ENDORSEMENT_BYTES)
    return b""


def _write(path: Path, data: bytes) -> None:
    """Write an attribute in one piece; the kernel takes binary ones when the file is closed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        written = os.write(descriptor, data)
    except OSError:
        os.close(descriptor)
        raise
    # Closing is part of writing here: its errors are those of the device.
    os.close(descriptor)
    if written != len(data):
        raise failed("the kernel took only a part", str(path), f"{written} of {len(data)} bytes")
