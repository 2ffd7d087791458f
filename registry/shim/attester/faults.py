"""How a device can fail to attest, in the words of all attesters."""

from registry.errors import Reason, UnavailableError, UnsupportedError
from registry.shim.attester.port import REPORT_DATA_BYTES


def absent(where: str, actual: str = "", hint: str = "") -> UnsupportedError:
    """This host has no such device."""
    return UnsupportedError(
        Reason.ATTESTER_ABSENT,
        "this host has no such device to attest it",
        where=where,
        actual=actual[:300],
        hint=hint,
    )


def failed(what: str, where: str, actual: str = "", hint: str = "") -> UnavailableError:
    """The device did not answer, or not as it should."""
    return UnavailableError(
        Reason.ATTESTER_FAILED, what, where=where, actual=actual[:300], hint=hint
    )


def check_report_data(report_data: bytes) -> None:
    """Refuse a commitment of another size: a device would pad it, or cut it.

    Raises:
        ValueError: It is no commitment.
    """
    if len(report_data) != REPORT_DATA_BYTES:
        message = f"a device commits to {REPORT_DATA_BYTES} bytes, not {len(report_data)}"
        raise ValueError(message)
