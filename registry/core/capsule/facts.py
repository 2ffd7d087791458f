"""Facts: what a capsule says, as far as the link that carries it holds, as values."""

from typing import Final

import msgspec

from registry.core.encoding import Value
from registry.core.evidence.claims import Family
from registry.core.records.attribution import DatasetShare
from registry.core.records.dataset import Contributor
from registry.core.verdict import Verdict

TEE_NAMES: Final = {
    Family.INTEL_DCAP: "Intel SGX or TDX",
    Family.AMD_SNP: "AMD SEV-SNP",
    Family.AWS_NITRO: "AWS Nitro Enclave",
    Family.NVIDIA_SPDM: "NVIDIA GPU or NVSwitch",
    Family.NVIDIA_SET: "NVIDIA GPUs and NVSwitches",
    Family.NVIDIA_EAT: "NVIDIA devices, on the word of NVIDIA's verifier",
    Family.AZURE_SNP_VTPM: "AMD SEV-SNP with Azure vTPM",
    Family.AZURE_TDX_VTPM: "Intel TDX with Azure vTPM",
}
"""What people call the environments that each family of evidence is about."""

NO_VENDOR: Final = "NOT A REAL VENDOR"
"""What is said, before all else, of evidence that rests on a root that is no vendor's."""

TEST_ROOT: Final = "this evidence is from a test root"
"""Why it is said."""


class FileFact(Value, frozen=True):
    """One file of the model version."""

    path: str
    size: int
    digest: str
    role: str


class DatasetFact(Value, frozen=True):
    """One dataset, and who contributed which share of it."""

    part: str
    record_id: str
    name: str
    publisher: str
    index: int
    licence: str
    files: int
    contributors: tuple[Contributor, ...]


class AttributionFact(Value, frozen=True):
    """One attribution: what the model version owes to which dataset, says ``issuer``."""

    part: str
    record_id: str
    issuer: str
    index: int
    method: str
    datasets: tuple[DatasetShare, ...]


class AttestationFact(Value, frozen=True):
    """In which environment the node held its key, as the registry appraised its evidence.

    Attributes:
        part: The result in the capsule.
        index: Its entry in the log.
        tee: What people call such an environment.
        tier: EAR's ``ear.status``.
        tcb_status: What the vendor says of its firmware; empty if this family has no word for it.
        in_force_from: From when on the result was in force.
        in_force_until: From when on it no longer was.
        policy: The name of the appraisal policy.
        policy_sha256: Its digest.
        verifier: Which software appraised.
        bound_to: What the evidence commits to.
        findings: What the policy did not like and yet accepted.
        configured_roots: Roots that are no vendor's, on which the evidence rests.
        refuted: What is known now against it; empty if nothing is.
    """

    part: str
    index: int
    family: Family
    tee: str
    evidence_id: str
    tier: str
    tcb_status: str
    in_force_from: str
    in_force_until: str
    policy: str
    policy_sha256: str
    verifier: str
    bound_to: tuple[str, ...]
    findings: tuple[str, ...] = ()
    configured_roots: tuple[str, ...] = ()
    refuted: str = ""


class ReplayFact(Value, frozen=True):
    """What an auditor says who ran the call again.

    Attributes:
        outcome: ``bit_exact``, ``within_tolerance``, ``mismatch`` or ``indeterminate``.
        spelled: The same for people, with the tolerance that it is about.
        input: Whether the auditor had the very input that was recorded.
        reasons: What must be known beside the outcome.
        claimed_at: The auditor's clock.
    """

    part: str
    record_id: str
    auditor: str
    index: int
    outcome: str
    spelled: str
    input: str
    model_file: str
    ran_with: str
    claimed_at: str
    reasons: tuple[str, ...] = ()


class LogFact(Value, frozen=True):
    """The tree in which everything was found."""

    origin: str
    size: int
    root: str


class TimeFact(Value, frozen=True):
    """By when it all existed.

    Attributes:
        at: The stamped time, and the authority's own doubt of it.
        authorities: Who stamped.
        size: The entries of the log that existed by then.
    """

    at: str
    authorities: tuple[str, ...]
    size: int


class OutputFact(Value, frozen=True):
    """What the inference record says.

    Attributes:
        digest: The content digest of the output.
        profile: The rule by which an output gives that digest.
        complete: Whether the answer came to its own end.
        claimed_at: The node's clock.
        model: ``name@version``.
        release: The record id of the release statement.
        manifest: The digest that names the model version.
        uncovered: What of the call the record does not commit to.
        n: The number of the record in its shim's journal.
        batch_index: The index of the batch in the log.
        asked: How strongly the caller wanted it proven, and by when; empty if it did not say.
        params: Sampling parameters, the seed among them, as the request spelled them.
        added_us: How long the shim kept the answer, in microseconds; absent within one process.
    """

    digest: str
    profile: str
    complete: bool
    claimed_at: str
    model: str
    release: str
    manifest: str
    binding: str
    runtime: str
    uncovered: tuple[str, ...]
    node: str
    shim_id: str
    n: int
    batch_index: int
    asked: str = ""
    params: dict[str, str] = msgspec.field(default_factory=dict)
    added_us: int | None = None


class ReportFact(Value, frozen=True):
    """What the model server said of the model that it served, as the node read it.

    Attributes:
        weights: Digests of files of weights that it named, each with the file of the version that
            it is; empty where it is none, or the capsule does not list the files.
    """

    interface: str
    model: str
    version: str = ""
    digest: str = ""
    weights: tuple[tuple[str, str], ...] = ()
    adapters: tuple[str, ...] = ()
    chat_template: str = ""
    quantization: str = ""
    engine: str = ""


class BoundFact(Value, frozen=True):
    """How strongly this capsule binds the output to a model.

    Attributes:
        binding: How it is known which model answered.
        level: The step of the binding ladder that holds here.
        by: The link on which that rests.
        weights: What a proof of another system says of the weights; empty if none is needed.
    """

    binding: str
    level: int
    by: str
    weights: str = ""


class SetupFact(Value, frozen=True):
    """What ran, as the node wrote it down before the call; its word, but for what is attested.

    Attributes:
        n: The number of the record.
        level: How the model's identity is known: step 0 to 5 of the binding ladder.
        files_verified: Files of the version that the node compared.
        adapters: Digests of files on top of the model.
        tokenizer: Digest of another tokenizer than the version's; empty if there is none.
        chat_template: Digest of another template than the version's; empty if there is none.
        evidence: Evidence id of the node's environment; empty if it was unattested.
        report: What the model server said that it served; absent if it was not asked, or silent.
    """

    n: int
    binding: str
    level: int
    files_verified: int
    adapters: tuple[str, ...] = ()
    tokenizer: str = ""
    chat_template: str = ""
    quantization: str = ""
    upstream: str = ""
    evidence: str = ""
    report: ReportFact | None = None


class AttachedFact(Value, frozen=True):
    """What became of the level that the caller asked for, as the node attached it to the record.

    Attributes:
        n: The number of the record that says so.
        claimed_at: The node's clock.
        late_us: How long after the caller's deadline it was had or given up.
        evidence_us: How long after the outcome was written.
        proof: The digest of what proves it; empty if it was missed.
        proven_by: The link under which that proof was checked here; empty if the capsule does not
            hold it.
        missed: Why it could not be had; empty if it was.
    """

    part: str
    level: str
    n: int
    claimed_at: str
    deadline_ms: int
    late_us: int
    evidence_us: int
    proof: str
    proven_by: str
    missed: str = ""


class ReleaseFact(Value, frozen=True):
    """What the release says; ``claimed_at`` is the publisher's clock."""

    record_id: str
    name: str
    manifest: str
    publisher: str
    index: int
    claimed_at: str
    licence: str
    trained_on: tuple[str, ...]
    parents: tuple[str, ...]


class ForeignFact(Value, frozen=True):
    """What an importer says of another system's proof, and what reading it again came to.

    Attributes:
        said: What the importer says.
        here: What is made of it here, by the vendors' roots alone, and by what the capsule says is
            no longer believed.
        then: The same by what was believed at the moment of the proof.
        reason: The first thing that is wrong or missing here; empty if nothing is.
        binding_strength: How the output is bound to weights, by what was checked here.
        code_strength: How it is bound to code, by what was checked here.
        uncovered: What the proof does not commit to.
    """

    part: str
    record_id: str
    importer: str
    index: int
    system: str
    said: Verdict
    here: Verdict
    reason: str
    binding_strength: str
    code_strength: str
    uncovered: tuple[str, ...]
    then: Verdict


class Facts(Value, frozen=True):
    """What was said by links that held when they were logged; absent where a link did not.

    Attributes:
        unattested: Why the environment of the node is not known; absent if it is attested.
    """

    log: LogFact | None = None
    time: TimeFact | None = None
    output: OutputFact | None = None
    release: ReleaseFact | None = None
    files: tuple[FileFact, ...] = ()
    datasets: tuple[DatasetFact, ...] = ()
    attributions: tuple[AttributionFact, ...] = ()
    attestations: tuple[AttestationFact, ...] = ()
    replays: tuple[ReplayFact, ...] = ()
    foreign: tuple[ForeignFact, ...] = ()
    bound: BoundFact | None = None
    setup: SetupFact | None = None
    attached: tuple[AttachedFact, ...] = ()
    unattested: str = ""
