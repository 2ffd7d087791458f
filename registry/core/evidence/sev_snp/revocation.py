"""AMD's revocation lists: signed by the ARK, they name ASKs and ASVKs that are no longer good.

Endorsement keys cannot be on them: all have the serial number 0.
"""

from collections.abc import Sequence
from typing import Final

from cryptography.x509.oid import NameOID

from registry.core.evidence import crl
from registry.core.evidence.checks import CheckError, Ledger
from registry.core.evidence.sev_snp.chain import Authority, Path
from registry.core.evidence.sev_snp.product import ProductLine

_ROOTS: Final = frozenset(f"ARK-{line}" for line in ProductLine)


def check_revocation(ledger: Ledger, path: Path, lists: Sequence[bytes]) -> bytes:
    """Check that the signer of an endorsement key is not revoked, by the list that counts.

    Of several lists the one counts that was made last before the moment.

    Args:
        ledger: Its moment counts, and it learns the window.
        path: From the endorsement key to the root.
        lists: DER of the lists of this root, at least one.

    Returns:
        The list that counts.

    Raises:
        CheckError: ``CRL_MALFORMED``, ``CRL_SCOPE``, ``CRL_ISSUER``, ``CRL_SIGNATURE``,
            ``NOT_YET_VALID``, ``EXPIRED`` or ``REVOKED``.
    """
    read = [crl.read(data) for data in lists]
    for one in read:
        one.verify(path.root.der)
    chosen = max(read, key=lambda one: (one.window.start <= ledger.at, one.window.start))
    ledger.within("the revocation list", chosen.window)
    crl.check_not_revoked(chosen, path.signer.certificate, ledger.at)
    return chosen.der


def concerns(data: bytes, root: Authority) -> bool:
    """Whether a list is to be looked at: not if it is the list of another product line."""
    try:
        names = crl.read(data).issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    except CheckError:
        return True
    name = str(names[0].value) if len(names) == 1 else ""
    return name == root.name or name not in _ROOTS
