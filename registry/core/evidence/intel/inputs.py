"""What an examination is given, and what of it was used: chains, CRLs, signed JSON.

Several endorsements may be at hand in one role, as in an archive. The one that is meant for this
platform is taken, of those one that is in force at the moment, of those the newest. It is chosen by
what it says, before anything is verified: what then does not verify fails.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from cryptography import x509

from registry.core.digest import sha256
from registry.core.evidence import crl as crls
from registry.core.evidence.checks import CheckError, Ledger, Severity, missing
from registry.core.evidence.crl import RevocationList
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.intel.certificate import (
    TCB_SIGNER_NAME,
    Chain,
    common_name,
    read_chain,
)
from registry.core.evidence.intel.collateral import (
    QEIdentity,
    Signed,
    TCBInfo,
    verify_raw,
)
from registry.core.evidence.intel.findings import Found
from registry.core.evidence.roots import Roots, Vendor
from registry.core.evidence.validity import Validity

MAX_CANDIDATES = 16
"""Endorsements that are looked at in one role; one is what is needed."""

_CALLED: Final = {Role.INTEL_TCB_INFO: "TCB info", Role.INTEL_QE_IDENTITY: "QE identity"}

T = TypeVar("T", TCBInfo, QEIdentity)


@dataclass(frozen=True, slots=True)
class Vouched(Generic[T]):
    """Signed JSON whose signature is good, and who signed it."""

    signed: Signed[T]
    chain: Chain

    @property
    def value(self) -> T:
        """What it says."""
        return self.signed.value


@dataclass(slots=True)
class Inputs:
    """What an examination is given.

    Attributes:
        used: SHA-256 of every endorsement that was used.
        configured: SHA-256 of each root that counts only because it was named.
    """

    endorsements: Endorsements
    ledger: Ledger
    roots: Roots
    used: set[str] = field(default_factory=set)
    configured: set[str] = field(default_factory=set)

    def chain(
        self,
        check: str,
        pem: bytes,
        length: int,
        like: Chain | None = None,
        *,
        authority: bool = False,
    ) -> Chain | None:
        """Read a PEM chain, verified up to a trusted root; its windows narrow that of the whole.

        Args:
            check: The check that wants it.
            pem: The chain.
            length: How many certificates it must have.
            like: A chain to the root that this one must lead to, too.
            authority: Whether its first certificate is an authority's, not a signer's.
        """
        chain: Chain | None = None
        with self.ledger.check(check, pem):
            found = read_chain(pem, length, authority=authority)
            if self.roots.accept(Vendor.INTEL_SGX, found.root):
                self.configured.add(sha256(found.root).hex())
            if like is not None and like.root != found.root:
                raise CheckError(Found.OTHER_ROOT, "it leads to another root than the quote's")
            chain = found
        if chain is not None:
            self.within(check, chain.windows)
        return chain

    def within(self, check: str, windows: Iterable[tuple[str, Validity]]) -> None:
        """Require each of these to be valid at the moment."""
        for what, window in windows:
            with self.ledger.check(check):
                self.ledger.within(what, window)

    def crl(self, role: Role, what: str, issuer: bytes) -> RevocationList | None:
        """The CRL of an authority, verified; None after a failure of check I6."""
        name = x509.load_der_x509_certificate(issuer).subject

        def rank(crl: RevocationList) -> tuple[int, ...]:
            return (crl.issuer == name, self.ledger.at in crl.window, crl.window.start)

        chosen: RevocationList | None = None
        with self.ledger.check("I6"):
            chosen = _choose(self._held(role), crls.read, rank, missing(what, role))
        if chosen is None:
            return None
        verified: RevocationList | None = None
        with self.ledger.check("I6", chosen.der):
            self.use(chosen.der)
            chosen.verify(issuer)
            verified = chosen
        if verified is not None:
            self.within("I6", [(what, verified.window)])
        return verified

    def crl_chain(self, authority: x509.Certificate) -> bytes | None:
        """The chain of an authority's CRL, that authority's if there are several; None if none."""

        def fit(pem: bytes) -> bool:
            try:
                chain = read_chain(pem, 2, authority=True)
            except CheckError:
                return False
            return chain.leaf.subject == authority.subject

        return max(self._held(Role.INTEL_PCK_CRL_CHAIN), key=fit, default=None)

    def signed(
        self,
        check: str,
        roles: tuple[Role, Role],
        read: Callable[[bytes], Signed[T]],
        meant: Callable[[T], bool],
        like: Chain,
    ) -> Vouched[T] | None:
        """Signed JSON and its signer, verified; None after a failure of the check.

        Args:
            check: The check that wants it.
            roles: The role of Intel's answer, and that of its signer's chain.
            read: Reads the answer.
            meant: Whether it is for this quote.
            like: The quote's own chain.
        """
        what = _CALLED[roles[0]]

        def rank(item: Signed[T]) -> tuple[int, ...]:
            current = self.ledger.at in item.window
            return (meant(item.value), current, item.value.evaluation, item.window.start)

        chosen: Signed[T] | None = None
        with self.ledger.check(check):
            chosen = _choose(self._held(roles[0]), read, rank, missing(f"the {what}", roles[0]))
        if chosen is None:
            return None
        self.use(chosen.body)
        pem = self._signer(roles[1], chosen)
        if pem is None:
            with self.ledger.check(check):
                raise missing(f"the chain of the {what}'s signer", roles[1])
            return None
        self.use(pem)
        chain = self.chain(check, pem, 2, like)
        good = False
        if chain is not None:
            with self.ledger.check(check, chain.ders[0], chosen.raw):
                name = common_name(chain.leaf.subject)
                if name != TCB_SIGNER_NAME:
                    raise CheckError(
                        Found.COLLATERAL_SIGNER,
                        "its signer is not the one that signs collateral",
                        severity=Severity.IDENTITY,
                        expected=TCB_SIGNER_NAME,
                        actual=name,
                    )
                verify_raw(chain.ders[0], chosen.signature, chosen.raw)
                good = True
        self.within(check, [(f"the {what}", chosen.window)])
        return Vouched(chosen, chain) if good and chain is not None else None

    def use(self, data: bytes) -> None:
        """Note that an endorsement was used."""
        self.used.add(sha256(data).hex())

    def _held(self, role: Role) -> tuple[bytes, ...]:
        return self.endorsements.all(role)[:MAX_CANDIDATES]

    def _signer(self, role: Role, signed: Signed[T]) -> bytes | None:
        """The chain whose leaf signed it, one in force if there are several; else any."""
        held = self._held(role)
        if len(held) < 2:  # noqa: PLR2004 - nothing to choose
            return held[0] if held else None

        def fit(pem: bytes) -> tuple[bool, bool]:
            try:
                chain = read_chain(pem, 2, authority=False)
                verify_raw(chain.ders[0], signed.signature, signed.raw)
            except CheckError:
                return (False, False)
            return (True, all(self.ledger.at in window for _, window in chain.windows))

        return max(held, key=fit)


R = TypeVar("R")


def _choose(
    held: Iterable[bytes],
    read: Callable[[bytes], R],
    rank: Callable[[R], tuple[int, ...]],
    absent: CheckError,
) -> R:
    """The endorsement of the highest rank, of those that can be read.

    Raises:
        CheckError: ``MISSING``, or why none can be read.
    """
    error = absent
    found: list[R] = []
    for number, data in enumerate(held):
        try:
            found.append(read(data))
        except CheckError as unread:
            error = error if number else unread
    if not found:
        raise error
    return max(found, key=rank)
