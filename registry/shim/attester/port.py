"""What the shim needs of a device that attests: one question, one answer."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol

from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Role

REPORT_DATA_BYTES: Final = 64
"""Bytes that a device commits to."""

Commitment = Literal["report_data", "tpm_nonce"]
"""Which spelling of a binding a device commits to (:mod:`registry.core.evidence.binding`)."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a device said.

    Attributes:
        family: The kind of evidence.
        evidence: Its bytes, as an examination reads them.
        endorsements: What came with it, each with its role: certificates, an event log.
    """

    family: Family
    evidence: bytes
    endorsements: tuple[tuple[Role, bytes], ...] = ()


class Attester(Protocol):
    """A device that commits to bytes, and signs what it and its software are.

    Whoever controls the host may keep it from answering, or play an older answer, which the nonce
    gives away. A call may take seconds; it raises and never hangs. Any thread may call, one at a
    time.

    Attributes:
        commits_to: What ``report_data`` must be.
    """

    commits_to: ClassVar[Commitment]

    def evidence(self, report_data: bytes, nonce: bytes, session_key_der: bytes) -> Collected:
        """Evidence that commits to ``report_data``.

        Args:
            report_data: The 64 bytes of :meth:`registry.core.evidence.binding.Binding.report_data`,
                or the 32 of its ``tpm_nonce``.
            nonce: What the registry issued; for devices that have a place of its own for it.
            session_key_der: The key that will sign, DER; as ``nonce``.

        Raises:
            UnsupportedError: ``ATTESTER_ABSENT``: this host has no such device.
            UnavailableError: ``ATTESTER_FAILED``: it did not answer, or not as it should; or
                ``MISSING_EXTRA``.
        """
