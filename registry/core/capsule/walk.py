"""The walk: from an output back to its model, publisher, datasets and contributors, link by link.

Nothing that a capsule says makes :func:`appraise` raise: every link gets a verdict on both clocks.
"""

from collections.abc import Sequence

from registry.core import digest, verdict
from registry.core.archive.authority import Authority
from registry.core.capsule.attestation import judge_environments
from registry.core.capsule.beside import SETUP, Around, judge_beside
from registry.core.capsule.bound import BINDING, judge_binding
from registry.core.capsule.container import Capsule
from registry.core.capsule.covering import Signing
from registry.core.capsule.existence import CHECKPOINT, TIME, judge_time
from registry.core.capsule.findings import Findings, gather
from registry.core.capsule.foreign import judge_proofs
from registry.core.capsule.links import Link, judge, waiting
from registry.core.capsule.parts import LoggedEnvelope
from registry.core.capsule.replays import judge_replay
from registry.core.capsule.report import LOG_KEY, Report
from registry.core.capsule.signers import Read, Signed, Signer, Signers, read
from registry.core.capsule.sigstore import judge_bundles
from registry.core.capsule.training import about, references, unnamed
from registry.core.capsule.witnesses import WITNESSES, judge_witnesses
from registry.core.records import (
    appraisal_policy,
    attestation_result,
    attribution,
    batch,
    dataset,
    distrust_entry,
    foreign_proof,
    inference,
    key_event,
    release,
    replay,
    verification,
)
from registry.core.tlog import merkle
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.policy import Policy
from registry.core.verdict import Check
from registry.errors import MalformedError, Reason, RegistryError, VerificationError

_ABOUT_EVIDENCE = {
    "attestation": attestation_result.PREDICATE_TYPE,
    "policy": appraisal_policy.PREDICATE_TYPE,
    "distrust": distrust_entry.PREDICATE_TYPE,
}
"""The parts about the node's environment, and what kind of statement each is."""


def appraise(
    capsule: Capsule,
    log_key: VerifierKey | None,
    output: Sequence[bytes] | None = None,
    policy: Policy | None = None,
    authorities: Sequence[Authority] = (),
    *,
    demand_attestation: bool = False,
    demand_level: int = 0,
) -> Report:
    """Judge everything in a capsule, as-then and as-now.

    Args:
        capsule: What to judge.
        log_key: The key of the log as the reader knows it from elsewhere; None leaves open whose
            log this is.
        output: SHA-256 content digests of the output that the reader holds, one for each profile
            that may have been used; None if the reader holds none.
        policy: Which witnesses must have cosigned the checkpoint; None asks for none.
        authorities: The timestamp authorities that the reader trusts.
        demand_attestation: Whether an output of an unattested node is refused.
        demand_level: The step of the binding ladder below which it is refused.
    """
    head, signed_head = _open_checkpoint(capsule)
    key_events = [
        (name, read(name, item, key_event.PREDICATE_TYPE))
        for name, item in capsule.statements()
        if name.startswith("key-event/")
    ]
    operator = read("operator", capsule.operator, key_event.PREDICATE_TYPE)
    time, seen = judge_time(capsule, head, authorities)
    walk = _Walk(capsule, head, Signers(head, operator, key_events, seen))
    walk.findings.seen = seen
    walk.links[LOG_KEY] = Link.both(_log_key(capsule.log, log_key))
    walk.links[CHECKPOINT] = Link.both(signed_head)
    if policy is not None:
        walk.links[WITNESSES] = Link.both(judge_witnesses(capsule, policy))
    if time is not None:
        walk.links[TIME] = Link.both(time)
    walk.links.update(walk.signers.links)
    walk.output_side(output)
    walk.environment_side(demanded=demand_attestation)
    walk.model_side()
    walk.data_side()
    walk.replay_side()
    walk.foreign_side()
    walk.beside_side()
    walk.signer_side()
    facts = gather(capsule, walk.findings, walk.links)
    if demand_level:
        walk.links[BINDING] = judge_binding(facts.bound, demand_level)
    return Report.build(walk.links.values(), facts)


class _Walk:
    """One pass over a capsule; ``links`` stand in the order in which people read them."""

    def __init__(self, capsule: Capsule, head: Checkpoint | None, signers: Signers) -> None:
        self.capsule = capsule
        self.signers = signers
        self.links: dict[str, Link] = {}
        self.findings = Findings(head=head)

    def _statement(
        self, name: str, logged: LoggedEnvelope, predicate_type: str, key_link: str = ""
    ) -> Read | None:
        """Judge a statement, and its key as a link of its own if that has a name."""
        signed: Signed = self.signers.check(name, read(name, logged, predicate_type))
        signer: Signer = self.signers.signer(key_link or name, signed)
        if key_link:
            self.links[key_link] = signer.link
        self.links[name] = signed.admitted_by(signer)
        if signer.then is not None:
            self.findings.principals[name] = signer.then.principal
        return signed.read

    def output_side(self, output: Sequence[bytes] | None) -> None:
        """Node key, batch, record, output."""
        container = self._statement("batch", self.capsule.batch, batch.PREDICATE_TYPE, "node key")
        self.findings.batch = container
        try:
            record = _completion(inference.parse(self.capsule.record))
        except RegistryError as error:
            self.links["record"] = Link.both(verdict.invalid("record", error))
            self.links["output"] = Link.both(waiting("output", "record"))
            return
        self.findings.record = record
        if container is None:
            own = waiting("record", "batch")
        else:
            own = judge("record", lambda: _record_in_batch(self.capsule, record, container))
        self.links["record"] = Link.both(own).after(self.links["batch"])
        held = judge("output", lambda: _output(record, output))
        self.links["output"] = Link.both(held).after(self.links["record"])

    def environment_side(self, *, demanded: bool) -> None:
        """Attestation results for the node's key, their policies and evidence, distrust entries."""
        reads = {
            name: self._statement(name, logged, _ABOUT_EVIDENCE[name.partition("/")[0]])
            for name, logged in self.capsule.attested.statements()
        }
        signing: Signing | MalformedError | None = None
        container, record = self.findings.batch, self.findings.record
        if container is not None and record is not None:
            key_id, index = container.envelope.keyid, container.index
            try:
                signing = Signing.of(key_id, record.model.manifest, record.at, index)
            except MalformedError as error:
                signing = error
        found = judge_environments(self.capsule, reads, self.links, signing, demanded=demanded)
        self.links.update(found.links)
        self.findings.environments = found

    def model_side(self) -> None:
        """Publisher key, release, model version, manifest."""
        if self.capsule.release is None:
            text = "the registry that wrote this capsule does not know the release"
            for name in ("release", "model version", "manifest"):
                self.links[name] = Link.both(
                    verdict.indeterminate(name, Reason.UNKNOWN_REFERENCE, text)
                )
            return
        said = self._statement(
            "release", self.capsule.release, release.PREDICATE_TYPE, "publisher key"
        )
        self.findings.release = said
        if said is None:
            for name in ("model version", "manifest"):
                self.links[name] = Link.both(waiting(name, "release"))
            return
        if not said.index < self.capsule.batch.index:
            self.links["release"] = self.links["release"].also(
                Link.both(verdict.invalid("release", _too_late(said, self.capsule.batch.index)))
            )
        self.links["model version"] = self._model_version(said)
        self.links["manifest"] = self._manifest(said)

    def _model_version(self, said: Read) -> Link:
        record = self.findings.record
        if record is None:
            return Link.both(waiting("model version", "record"))
        own = judge("model version", lambda: _same_model(record.model, said))
        return Link.both(own).after(self.links["record"], self.links["release"])

    def _manifest(self, said: Read) -> Link:
        raw = self.capsule.manifest
        if raw is None:
            text = "the capsule does not hold the list of the files"
            return Link.both(verdict.indeterminate("manifest", Reason.MISSING_BLOB, text))
        try:
            manifest = release.validate_manifest(
                said.statement.subject, said.statement.predicate, raw
            )
        except RegistryError as error:
            return Link.both(verdict.invalid("manifest", error))
        self.findings.manifest = manifest
        text = f"{len(manifest.files)} files, {digest.text(digest.sha256(raw))}"
        return Link.both(verdict.valid("manifest", text)).after(self.links["release"])

    def data_side(self) -> None:
        """Training data that the release names, datasets, attributions."""
        datasets, attributions = self.findings.datasets, self.findings.attributions
        for name, logged in self.capsule.statements():
            if name.startswith("dataset/"):
                datasets[name] = self._statement(name, logged, dataset.PREDICATE_TYPE)
            elif name.startswith("attribution/"):
                attributions[name] = self._statement(name, logged, attribution.PREDICATE_TYPE)
        held = {item.record_id for item in datasets.values() if item is not None}
        said = self.findings.release
        trained_on = said.statement.predicate.trained_on if said is not None else ()
        if trained_on:
            every = references("training data", trained_on, held)
            self.links["training data"] = Link.both(every).after(self.links["release"])
        named = set(trained_on)
        for name, item in attributions.items():
            if item is not None:
                shares = [share.dataset for share in item.statement.predicate.datasets]
                named.update(shares)
                own = about(item, said).also(Link.both(references(name, shares, held)))
                self.links[name] = self.links[name].also(own).after(self.links["release"])
        for name, item in datasets.items():
            if item is not None and item.record_id not in named:
                stranger = Link.both(verdict.invalid(name, unnamed(item)))
                self.links[name] = self.links[name].also(stranger)

    def replay_side(self) -> None:
        """What auditors say who ran the call again."""
        for name, logged in self.capsule.statements():
            if name.startswith("replay/"):
                said = self._statement(name, logged, replay.PREDICATE_TYPE)
                self.findings.replays[name] = said
                record = self.findings.record
                if said is not None and record is not None:
                    about = judge_replay(said, record, merkle.leaf_hash(self.capsule.record))
                    self.links[name] = self.links[name].also(about)
                self.links[name] = self.links[name].after(self.links["record"])

    def foreign_side(self) -> None:
        """What importers say of proofs of other systems."""
        found = self.findings
        for number, logged in enumerate(self.capsule.foreign):
            name = f"foreign/{number}"
            found.foreign[name] = self._statement(name, logged, foreign_proof.PREDICATE_TYPE)
        self.links.update(judge_proofs(self.capsule, found.foreign, self.links, found.record))

    def beside_side(self) -> None:
        """What ran, and what became of the level that the caller asked for."""
        found, names = self.findings, [SETUP] if self.capsule.setup is not None else []
        names += [f"attached/{number}" for number in range(len(self.capsule.attached))]
        for number, logged in enumerate(self.capsule.other_batches):
            name = f"other-batch/{number}"
            found.other_batches[name] = self._statement(name, logged, batch.PREDICATE_TYPE)
        if found.record is None:
            self.links.update({name: Link.both(waiting(name, "record")) for name in names})
            return
        batches = {"batch": found.batch, **found.other_batches}
        around = Around(
            record=found.record,
            batches={name: item for name, item in batches.items() if item is not None},
            principals=found.principals,
            links=self.links,
            replays=found.replays,
            evidence=tuple(cover.evidence for cover in found.environments.covers),
            files=found.files,
        )
        found.beside = judge_beside(self.capsule.setup, self.capsule.attached, around)
        self.links.update(found.beside.links)

    def signer_side(self) -> None:
        """Statements that came in Sigstore bundles: what the operator verified, verified again."""
        findings = self.findings
        read_ = [*findings.other_batches.values(), findings.release]
        read_ += [*findings.attributions.values(), *findings.datasets.values()]
        read_ += [*findings.replays.values(), *findings.foreign.values()]
        statements = {item.record_id: item for item in (findings.batch, *read_) if item is not None}
        said = [
            self._statement(name, logged, verification.PREDICATE_TYPE)
            for name, logged in self.capsule.statements()
            if name.startswith("verification/")
        ]
        for name, link in judge_bundles(self.capsule, said, statements).items():
            about = name.replace("signer/", "verification/")
            self.links[name] = link.after(self.links[about])


def _log_key(stated: VerifierKey, pinned: VerifierKey | None) -> Check:
    if pinned is None:
        return verdict.indeterminate(
            LOG_KEY,
            Reason.LOG_KEY_NOT_PINNED,
            f"the capsule says that its log's key is {stated}; whose that is was not checked",
        )
    if pinned != stated:
        return verdict.invalid(
            LOG_KEY,
            VerificationError(
                Reason.WRONG_LOG,
                "this capsule is from another log",
                expected=str(pinned),
                actual=str(stated),
            ),
        )
    return verdict.valid(LOG_KEY, f"the key that you trust: {stated}")


def _open_checkpoint(capsule: Capsule) -> tuple[Checkpoint | None, Check]:
    try:
        head = SignedCheckpoint.open(capsule.checkpoint, capsule.log).checkpoint
    except RegistryError as error:
        return None, verdict.invalid(CHECKPOINT, error)
    text = f"{head.origin} signed a tree of {head.size} entries with root {head.root.hex()}"
    return head, verdict.valid(CHECKPOINT, text)


def _completion(record: inference.Record) -> inference.Completion:
    if not isinstance(record, inference.Completion):
        raise MalformedError(
            Reason.FOREIGN_PREDICATE,
            "this journal record is not about an output",
            expected="a completion",
            actual=type(record).__name__.lower(),
        )
    return record


def _record_in_batch(capsule: Capsule, record: inference.Completion, container: Read) -> str:
    said: batch.Batch = container.statement.predicate
    merkle.verify_inclusion(
        merkle.leaf_hash(capsule.record),
        capsule.position,
        said.count,
        capsule.path,
        bytes.fromhex(said.root),
    )
    sequence = record.sequence
    expected = f"shim {said.shim_id} n={said.n_first + capsule.position}"
    actual = f"shim {sequence.shim_id} n={sequence.n}"
    if actual != expected:
        raise VerificationError(
            Reason.BATCH_CONTENT,
            "the record is not the one that belongs at this place of the batch",
            expected=expected,
            actual=actual,
        )
    return f"number {capsule.position} of {said.count} in the batch, {actual}"


def _output(record: inference.Completion, held: Sequence[bytes] | None) -> str:
    response = record.response
    text = f"the record is about an output with digest sha256:{response.content_digest}"
    if held is None:
        return f"{text}; no output was given to compare"
    if bytes.fromhex(response.content_digest) not in held:
        raise VerificationError(
            Reason.DIGEST_MISMATCH,
            "the record is about another output than yours",
            where=response.profile,
            expected=f"sha256:{response.content_digest}",
            actual=" or ".join(map(digest.text, held)) or "none",
        )
    return f"{text}, which is that of your output"


def _too_late(said: Read, batch_index: int) -> RegistryError:
    return VerificationError(
        Reason.CAPSULE_LINK,
        "the release was logged only after the batch that names it",
        expected=f"an entry before {batch_index}",
        actual=f"entry {said.index}",
    )


def _same_model(model: inference.Model, said: Read) -> str:
    predicate: release.Release = said.statement.predicate
    expected = (said.record_id, said.statement.subject[0].digest.sha256)
    actual = (model.release, model.manifest)
    name = f"{predicate.name}@{predicate.version}"
    recorded = f"{model.name}@{model.version}"
    if (*expected, name) != (*actual, recorded):
        raise VerificationError(
            Reason.SUBJECT_MISMATCH,
            "the record is about another model version than this release",
            expected=f"{name}, release {expected[0]}, manifest sha256:{expected[1]}",
            actual=f"{recorded}, release {actual[0]}, manifest sha256:{actual[1]}",
        )
    return f"{name}, manifest sha256:{model.manifest}"
