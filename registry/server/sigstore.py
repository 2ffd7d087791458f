"""Sigstore bundles, if the settings name a trusted root to judge them by."""

from registry.config import ServerSettings
from registry.core.attestation.trusted_root import MAX_TRUSTED_ROOT_BYTES
from registry.services.access import Access, Clock
from registry.services.artifacts import Artifacts
from registry.services.ephemeral import EphemeralKeys
from registry.services.keyring import Keyring
from registry.services.operator import Operator
from registry.services.registration import Registration
from registry.services.sequencing import Sequencer
from registry.services.sigstore_statements import SigstoreStatements


def open_sigstore(
    settings: ServerSettings,
    *,
    artifacts: Artifacts,
    access: Access,
    keyring: Keyring,
    operator: Operator,
    ephemeral: EphemeralKeys,
    registration: Registration,
    sequencer: Sequencer,
    clock: Clock,
) -> SigstoreStatements | None:
    """What takes statements in Sigstore bundles; None if nobody asked for it.

    Raises:
        MalformedError: ``MALFORMED_TRUSTED_ROOT``.
    """
    if settings.sigstore_root is None:
        return None
    with settings.sigstore_root.open("rb") as file:
        root = file.read(MAX_TRUSTED_ROOT_BYTES + 1)
    return SigstoreStatements(
        root,
        artifacts=artifacts,
        vouched=access.vouched,
        keyring=keyring,
        operator=operator,
        ephemeral=ephemeral,
        registration=registration,
        sequencer=sequencer,
        clock=clock,
    )
