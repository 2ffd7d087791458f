"""Revocation lists by distribution point, from hosts that the operator named.

The address stands in a certificate, in evidence that anybody may send: whoever follows it blindly
asks for them whatever they like, from inside our network. So the host must be on a list, nothing
but a path may follow, and no redirection is obeyed. What comes back is believed by its signature.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from registry.core.evidence.endorsements import Role
from registry.errors import MalformedError, Reason, RefusedError
from registry.remote.http import HTTPClient, check_url
from registry.remote.vendor_answer import MAX_CRL_BYTES, crl_until, found
from registry.remote.vendor_cache import Fresh, Items, VendorCache

_HOST: Final = re.compile(r"[a-z0-9*]([a-z0-9.*-]{0,251}[a-z0-9*])?(:[1-9][0-9]{0,4})?")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]{1,500}")


class CRLClient:
    """Fetches lists from the hosts that it is given."""

    def __init__(self, http: HTTPClient, cache: VendorCache, hosts: Iterable[str]) -> None:
        """Ask nothing yet.

        Args:
            http: How to ask.
            cache: Where answers are kept.
            hosts: Host names, with a port where it is not that of the scheme. A star stands for
                letters, digits and dashes, never for a dot.

        Raises:
            MalformedError: ``BAD_SETTING``.
        """
        self._http = http
        self._cache = cache
        self._hosts = tuple(_pattern(host) for host in hosts)

    def fetch(self, url: str, role: Role = Role.NITRO_CRL) -> Items:
        """The list at ``url``, as DER.

        Raises:
            RefusedError: ``FOREIGN_ADDRESS``.
            NotFoundError: ``NO_ENDORSEMENT``.
            MalformedError: ``VENDOR_ANSWER``.
            UnavailableError: ``UNREACHABLE``, ``DEADLINE`` or ``REMOTE_STATUS``.
            LimitExceededError: ``ANSWER_TOO_LARGE``.
        """
        self._check(url)

        def ask() -> Fresh:
            answer = self._http.get(url, max_bytes=MAX_CRL_BYTES)
            return Fresh(((role, found(answer).body),), until=crl_until(answer))

        return self._cache.get(f"{role} {url}", ask)

    def _check(self, url: str) -> None:
        try:
            check_url(url)
            parts = urlsplit(url)
            fine = any(host.fullmatch(parts.netloc.lower()) for host in self._hosts)
        except (MalformedError, ValueError):
            fine = False
        else:
            fine = fine and not parts.query and _PATH.fullmatch(parts.path) is not None
        if not fine:
            raise RefusedError(
                Reason.FOREIGN_ADDRESS,
                "evidence names an address that we do not ask",
                expected="a host that the operator named, and a path",
                actual=ascii(url[:200]),
            )


def _pattern(host: str) -> re.Pattern[str]:
    if _HOST.fullmatch(host) is None:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this is no host for revocation lists",
            expected="a host name in lower case, with stars for parts of it",
            actual=ascii(host[:200]),
        )
    return re.compile("[a-z0-9-]+".join(re.escape(part) for part in host.split("*")))
