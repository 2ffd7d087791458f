"""What the options of ``provreg shim`` come to in the digest of its configuration."""

from registry.cli.attesting import Attest
from registry.shim.app import Chosen
from registry.shim.attestation import KeyAttestation
from registry.shim.configuration import Attestation, Serving
from registry.shim.deployment import Description, Engine
from registry.shim.privacy.keeping import Keeping
from registry.shim.recorder.calls import Mode


def served(
    described: Description, engine: Engine, mode: Mode, served_as: tuple[str, ...], report: str
) -> Serving:
    """How this proxy serves, and by which interface the model server is asked what it serves."""
    return Serving(
        mode=mode,
        upstream=described.upstream,
        served_as=served_as,
        engine=engine.name,
        engine_version=engine.version,
        quantization=engine.quantization,
        engine_settings={str(name): value for name, value in engine.settings.items()},
        files_verified=described.files_verified,
        adapters=described.adapters,
        tokenizer=described.tokenizer,
        chat_template=described.chat_template,
        report=report,
    )


def chosen(
    serving: Serving, attest: Attest, attestation: KeyAttestation | None, keeping: Keeping | None
) -> Chosen:
    """What the boot record tells, and in which evidence the key is held now."""
    policy = None if keeping is None else keeping.policy
    if attestation is None:
        return Chosen(serving, policy)
    how = Attestation(
        required=attest.mode == "required", policy=attest.policy, gpu_policy=attest.gpu_policy
    )
    return Chosen(serving, policy, how, attestation.evidence)
