"""The stock Sigstore verifier, as a second opinion beside ours.

It works on what it is given and asks nobody: a trusted root is handed in, no network is used.
"""

import importlib.metadata

from registry.core.attestation.dsse import PAYLOAD_TYPE
from registry.core.attestation.identity import Identity
from registry.errors import Reason, VerificationError


def engine() -> str:
    """The engine's name and version."""
    return f"sigstore {importlib.metadata.version('sigstore')}"


def verify_statement(bundle: bytes, trusted_root: bytes, expected: Identity) -> bytes:
    """Verify a bundle with a statement; gives the statement.

    Raises:
        VerificationError: ``SIGSTORE_BUNDLE``: the stock verifier refuses it.
    """
    # Half a second to load, which only a registry that takes bundles shall wait for.
    from sigstore.errors import Error as StockError  # noqa: PLC0415
    from sigstore.models import Bundle, TrustedRoot  # noqa: PLC0415
    from sigstore.verify import Verifier  # noqa: PLC0415
    from sigstore.verify.policy import Identity as Policy  # noqa: PLC0415
    from sigstore_models.trustroot.v1 import TrustedRoot as Root  # noqa: PLC0415

    try:
        verifier = Verifier(trusted_root=TrustedRoot(Root.from_json(trusted_root)))
        policy = Policy(identity=expected.name, issuer=expected.issuer)
        kind, payload = verifier.verify_dsse(Bundle.from_json(bundle), policy)
    # The library lets errors of its parsers through, and they are many.
    except (StockError, ValueError, TypeError, KeyError) as error:
        raise VerificationError(
            Reason.SIGSTORE_BUNDLE,
            "the stock verifier refuses this bundle",
            where=engine(),
            actual=f"{type(error).__name__}: {error}"[:300],
        ) from error
    if kind != PAYLOAD_TYPE:
        raise VerificationError(
            Reason.SIGSTORE_BUNDLE, "the stock verifier found something else", actual=kind[:80]
        )
    return payload
