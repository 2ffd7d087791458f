"""Asks the vendors for what they say of the device that made evidence.

What to ask is read from the evidence, by the strict readers of its family; nothing in it is
believed. Whatever comes back is judged by the examination, as if a submitter had brought it. A
vendor who does not answer leaves a gap, not a failure: the examination says what is missing.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from registry.config import VendorSettings
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import MAX_ENDORSEMENTS, Role
from registry.core.evidence.nitro.examine import distribution_points
from registry.core.evidence.sev_snp import report as snp
from registry.core.evidence.sev_snp.product import ProductLine, components
from registry.core.evidence.sev_snp.report import Report
from registry.errors import Reason, RegistryError, UnavailableError
from registry.remote.amd_kds import AMDKDS, Key
from registry.remote.crl import CRLClient
from registry.remote.http import HTTPClient
from registry.remote.intel_pcs import IntelPCS
from registry.remote.nvidia import NVIDIAServices
from registry.remote.vendor_cache import Clock, Items, VendorCache

REQUEST_TIMEOUT: Final = timedelta(seconds=5)
"""For one request to a vendor."""

MAX_SECONDS: Final = 20.0
"""Seconds for everything that one piece of evidence needs."""

Ask = Callable[[], Items]
"""One question to a vendor."""

logger = logging.getLogger(__name__)


class VendorEndorser:
    """All vendors. Any number of threads may use one."""

    def __init__(
        self, *, intel: IntelPCS, amd: AMDKDS, nvidia: NVIDIAServices, nitro: CRLClient
    ) -> None:
        self.intel = intel
        self.amd = amd
        self.nvidia = nvidia
        self.nitro = nitro

    @classmethod
    def open(cls, settings: VendorSettings, clock: Clock) -> "VendorEndorser":
        """Ask nothing yet.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        http = HTTPClient(timeout=REQUEST_TIMEOUT, ca_file=settings.ca_file)
        cache = VendorCache(clock)
        return cls(
            intel=IntelPCS(http, cache, settings.intel_pcs, settings.intel_root_crl),
            amd=AMDKDS(http, cache, settings.amd_kds),
            nvidia=NVIDIAServices(http, cache, settings.nvidia_rim, settings.nvidia_ocsp),
            nitro=CRLClient(http, cache, settings.crl_hosts),
        )

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
        return gather(self._questions(family, evidence))

    def _questions(self, family: Family, evidence: bytes) -> Iterator[Ask]:
        match family:
            case Family.AWS_NITRO:
                for url in distribution_points(evidence):
                    yield lambda url=url: self.nitro.fetch(url)  # type: ignore[misc]  # url is bound
            case Family.AMD_SNP:
                yield from self._snp(Report.parse(evidence))
            case _:
                return

    def _snp(self, report: Report) -> Iterator[Ask]:
        # A report of version 2 does not name the processor: the service knows the chip, or not.
        lines = (report.line,) if report.line else (ProductLine.MILAN, ProductLine.GENOA)
        for line in lines:
            key: Key = "vlek" if report.signing_key == snp.VLEK else "vcek"
            # A platform may withhold which chip it is.
            if key == "vcek" and any(report.chip_id):
                tcb = components(line, report.reported_tcb)
                yield lambda line=line, tcb=tcb: self.amd.vcek(line, report.chip_id, tcb)  # type: ignore[misc]  # all are bound
            yield lambda line=line, key=key: self.amd.chain(line, key)  # type: ignore[misc]  # all are bound
            yield lambda line=line, key=key: self.amd.crl(line, key)  # type: ignore[misc]  # all are bound


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
