"""Asks the vendors for what they say of the device that made evidence.

Whatever comes back is judged by the examination, as if a submitter had brought it. A vendor who
does not answer leaves a gap, not a failure: the examination says what is missing.
"""

import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from registry.config import VendorSettings
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import MAX_ENDORSEMENTS, Role
from registry.errors import Reason, RegistryError, UnavailableError
from registry.remote.amd_kds import AMDKDS
from registry.remote.asking import Ask, Vendors, questions
from registry.remote.crl import CRLClient
from registry.remote.http import HTTPClient
from registry.remote.intel_pcs import IntelPCS
from registry.remote.nvidia import NVIDIAServices
from registry.remote.vendor_cache import Clock, VendorCache

REQUEST_TIMEOUT: Final = timedelta(seconds=5)
"""For one request to a vendor."""

MAX_SECONDS: Final = 20.0
"""Seconds for everything that one piece of evidence needs."""

logger = logging.getLogger(__name__)


class VendorEndorser:
    """All vendors. Any number of threads may use one."""

    def __init__(self, vendors: Vendors, http: HTTPClient) -> None:
        self.vendors = vendors
        self._http = http

    @classmethod
    def open(cls, settings: VendorSettings, clock: Clock) -> "VendorEndorser":
        """Ask nothing yet.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        http = HTTPClient(timeout=REQUEST_TIMEOUT, ca_file=settings.ca_file)
        cache = VendorCache(clock)
        return cls(
            Vendors(
                intel=IntelPCS(http, cache, settings.intel_pcs, settings.intel_root_crl),
                amd=AMDKDS(http, cache, settings.amd_kds),
                nvidia=NVIDIAServices(
                    http, cache, settings.nvidia_rim, settings.nvidia_ocsp, settings.nvidia_jwks
                ),
                nitro=CRLClient(http, cache, settings.crl_hosts),
            ),
            http,
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def endorse(
        self,
        family: Family,
        evidence: bytes,
        at: datetime,  # noqa: ARG002 - the newest, always
    ) -> Iterable[tuple[Role, bytes]]:
        """The newest endorsements for this evidence, with the role of each.

        Raises:
            RegistryError: The evidence cannot be read, or nobody answers anything.
        """
        return gather(questions(self.vendors, family, evidence))


def gather(
    questions: Iterable[Ask], seconds: float = MAX_SECONDS
) -> tuple[tuple[Role, bytes], ...]:
    """Ask one question after the other, as long as there is time; what was answered.

    Raises:
        RegistryError: Not one question was answered: why the first was not.
    """
    ends = time.monotonic() + seconds
    answers: dict[tuple[Role, bytes], None] = {}
    failures: list[RegistryError] = []
    for question in questions:
        if time.monotonic() > ends or len(answers) >= MAX_ENDORSEMENTS:
            failures.append(
                UnavailableError(Reason.DEADLINE, "the vendors did not answer all in time")
            )
            break
        try:
            answers.update(dict.fromkeys(question()))
        except RegistryError as error:
            failures.append(error)
    if failures and not answers:
        raise failures[0]
    for failure in failures:
        logger.info("an endorsement is missing: %s", failure)
    return tuple(answers)
