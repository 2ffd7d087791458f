"""Intel's Provisioning Certification Service, version 4 of its API, or a cache that speaks as it.

``GET /{sgx,tdx}/certification/v4/…`` answers with the signed bytes; the chain of whoever signed
them stands in a header, percent-encoded PEM.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import unquote

from registry.core.encoding import read_foreign_json
from registry.core.evidence.endorsements import Role
from registry.errors import MalformedError
from registry.remote.http import Answer, HTTPClient, check_url
from registry.remote.vendor_answer import MAX_CRL_BYTES, crl_until, found, wrong
from registry.remote.vendor_cache import Fresh, Items, VendorCache

MAX_JSON_BYTES: Final = 256 * 1024
"""Bytes of TCB info or an identity; some 25 KiB today."""

MAX_CHAIN_CHARACTERS: Final = 32 * 1024
"""Characters of a chain in a header; some 4,000 today."""

FMSPC_BYTES: Final = 6
"""Bytes that name a kind of platform."""

CA = Literal["platform", "processor"]
"""Which authority issued a platform's certificate."""

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"


class IntelPCS:
    """Asks for TCB info, identities and revocation lists."""

    def __init__(self, http: HTTPClient, cache: VendorCache, url: str, root_crl_url: str) -> None:
        """Ask nothing yet.

        Args:
            http: How to ask.
            cache: Where answers are kept.
            url: Where the service is, without its path.
            root_crl_url: Where the list of the root is, as DER.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        check_url(url)
        check_url(root_crl_url)
        self._http = http
        self._cache = cache
        self._url = url.rstrip("/")
        self._root_crl_url = root_crl_url

    def tcb_info(self, fmspc: bytes, *, tdx: bool) -> Items:
        """TCB info of a kind of platform, and the chain of its signer.

        Raises:
            NotFoundError: ``NO_ENDORSEMENT``: Intel knows no such platform.
            MalformedError: ``VENDOR_ANSWER``.
            UnavailableError: ``UNREACHABLE``, ``DEADLINE`` or ``REMOTE_STATUS``.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
        """
        if len(fmspc) != FMSPC_BYTES:
            message = f"an FMSPC has {FMSPC_BYTES} bytes"
            raise ValueError(message)
        return self._signed_json(
            f"{self._url}/{_kind(tdx)}/certification/v4/tcb?fmspc={fmspc.hex().upper()}",
            "tcbInfo",
            Role.INTEL_TCB_INFO,
            (Role.INTEL_TCB_CHAIN, ("tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain")),
        )

    def qe_identity(self, *, tdx: bool) -> Items:
        """The identity of the quoting enclave, and the chain of its signer.

        Raises:
            RegistryError: As :meth:`tcb_info`.
        """
        return self._signed_json(
            f"{self._url}/{_kind(tdx)}/certification/v4/qe/identity",
            "enclaveIdentity",
            Role.INTEL_QE_IDENTITY,
            (Role.INTEL_QE_CHAIN, ("sgx-enclave-identity-issuer-chain",)),
        )

    def pck_crl(self, ca: CA) -> Items:
        """The list of the authority that issues platforms' certificates, and its chain.

        Raises:
            RegistryError: As :meth:`tcb_info`.
        """
        url = f"{self._url}/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"

        def ask() -> Fresh:
            answer = found(self._http.get(url, max_bytes=MAX_CRL_BYTES))
            chain = _chain(answer, ("sgx-pck-crl-issuer-chain",))
            items = ((Role.INTEL_PCK_CRL, answer.body), (Role.INTEL_PCK_CRL_CHAIN, chain))
            return Fresh(items, until=crl_until(answer))

        return self._cache.get(url, ask)

    def root_crl(self) -> Items:
        """The list of the root.

        Raises:
            RegistryError: As :meth:`tcb_info`.
        """
        url = self._root_crl_url

        def ask() -> Fresh:
            answer = found(self._http.get(url, max_bytes=MAX_CRL_BYTES))
            return Fresh(((Role.INTEL_ROOT_CRL, answer.body),), until=crl_until(answer))

        return self._cache.get(url, ask)

    def _signed_json(
        self, url: str, member: str, role: Role, chain: tuple[Role, tuple[str, ...]]
    ) -> Items:
        def ask() -> Fresh:
            answer = found(self._http.get(url, max_bytes=MAX_JSON_BYTES))
            signer = _chain(answer, chain[1])
            items = ((role, answer.body), (chain[0], signer))
            return Fresh(items, until=_next_update(answer, member))

        return self._cache.get(url, ask)


def _kind(tdx: bool) -> str:  # noqa: FBT001 - private, and named where it is given
    return "tdx" if tdx else "sgx"


def _chain(answer: Answer, names: tuple[str, ...]) -> bytes:
    given = next((answer.headers[name] for name in names if name in answer.headers), "")
    pem = unquote(given, errors="replace") if len(given) <= MAX_CHAIN_CHARACTERS else ""
    if not pem.startswith(_BEGIN) or not pem.isascii():
        raise wrong(answer, f"a chain in the header {names[0]}", given[:80])
    return pem.encode("ascii")


def _next_update(answer: Answer, member: str) -> datetime:
    """When the vendor will say something else; only to know how long to keep what it said."""
    try:
        said = read_foreign_json(answer.body, what="signed answer")
        inner = said.get(member) if isinstance(said, Mapping) else None
        text = inner.get("nextUpdate") if isinstance(inner, Mapping) else None
        moment = datetime.fromisoformat(text if isinstance(text, str) else "")
    except (MalformedError, ValueError) as error:
        raise wrong(answer, f"{member} with the time of its next update", str(error)) from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
