"""AMD's Key Distribution Service: certificates of chips by their id and firmware, chains, CRLs.

``GET /vcek/v1/{line}/{hwid}?blSPL=…`` (AMD publication 57230). A VLEK is not to be had there: the
cloud that holds it hands it out together with the report.
"""

from collections.abc import Mapping
from typing import Final, Literal

from registry.core.evidence.endorsements import Role
from registry.core.evidence.sev_snp.product import ProductLine
from registry.remote.http import HTTPClient, check_url
from registry.remote.vendor_answer import MAX_CRL_BYTES, crl_until, found
from registry.remote.vendor_cache import Fresh, Items, VendorCache

MAX_VEK_BYTES: Final = 8 * 1024
"""Bytes of a chip's certificate; some 1,400 today."""

MAX_CHAIN_BYTES: Final = 32 * 1024
"""Bytes of a chain in PEM; some 4,600 today."""

HWID_BYTES: Final = {ProductLine.MILAN: 64, ProductLine.GENOA: 64, ProductLine.TURIN: 8}
"""Bytes by which the service knows a chip."""

Key = Literal["vcek", "vlek"]
"""Which kind of key signs: one of the chip, or one loaded by the cloud."""

_COMPONENTS: Final = (
    ("bl", "blSPL"),
    ("tee", "teeSPL"),
    ("snp", "snpSPL"),
    ("ucode", "ucodeSPL"),
)


class AMDKDS:
    """Asks for certificates and revocation lists."""

    def __init__(self, http: HTTPClient, cache: VendorCache, url: str) -> None:
        """Ask nothing yet.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        check_url(url)
        self._http = http
        self._cache = cache
        self._url = url.rstrip("/")

    def vcek(self, line: ProductLine, chip_id: bytes, tcb: Mapping[str, int]) -> Items:
        """The certificate of a chip's key for a version of its firmware.

        Args:
            line: The product line.
            chip_id: The 64 bytes of a report.
            tcb: Security versions by the names of :func:`~.product.components`.

        Raises:
            NotFoundError: ``NO_ENDORSEMENT``.
            UnavailableError: ``UNREACHABLE``, ``DEADLINE`` or ``REMOTE_STATUS``.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
        """
        hwid = chip_id[: HWID_BYTES[line]].hex()
        fmc = (("fmc", "fmcSPL"),) if line is ProductLine.TURIN else ()
        query = "&".join(f"{name}={tcb[part]:02}" for part, name in (*fmc, *_COMPONENTS))
        url = f"{self._url}/vcek/v1/{line}/{hwid}?{query}"

        def ask() -> Fresh:
            answer = found(self._http.get(url, max_bytes=MAX_VEK_BYTES))
            return Fresh(((Role.AMD_VEK, answer.body),), lasting=True)

        return self._cache.get(url, ask)

    def chain(self, line: ProductLine, key: Key) -> Items:
        """The intermediate and the root of a product line, as PEM.

        Raises:
            RegistryError: As :meth:`vcek`.
        """
        url = f"{self._url}/{key}/v1/{line}/cert_chain"

        def ask() -> Fresh:
            answer = found(self._http.get(url, max_bytes=MAX_CHAIN_BYTES))
            return Fresh(((Role.AMD_CHAIN, answer.body),), lasting=True)

        return self._cache.get(url, ask)

    def crl(self, line: ProductLine, key: Key) -> Items:
        """The list of the root of a product line.

        Raises:
            RegistryError: As :meth:`vcek`.
            MalformedError: ``VENDOR_ANSWER``.
        """
        url = f"{self._url}/{key}/v1/{line}/crl"

        def ask() -> Fresh:
            answer = found(self._http.get(url, max_bytes=MAX_CRL_BYTES))
            return Fresh(((Role.AMD_CRL, answer.body),), until=crl_until(answer))

        return self._cache.get(url, ask)
