"""The links that say whether the key that signed an output was that of an attested environment.

``attestation/<i>``
    A result: signed by the operator, logged, and about this output or the same evidence.
``evidence/<i>``
    What ``attestation/<i>`` is about, examined and appraised again, led to the same.
``material``
    Something in the capsule that no result names; the link is there only then.
``attestation``
    The batch's key was attested when the output was made; on the later clock, nothing that the
    capsule knows of later refutes it.
``gpu``
    The GPUs that the evidence is bound to were attested as well; only if it is bound to any.

An output without any attestation has none of these links: that it is unattested is a fact, and
refutes nothing, unless the reader demands an attestation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from registry.core import verdict
from registry.core.capsule import covering
from registry.core.capsule.container import Capsule
from registry.core.capsule.covering import Covering, Signing
from registry.core.capsule.links import Link, waiting
from registry.core.capsule.reappraisal import Holdings, Reads, Reappraisal, reappraise
from registry.core.evidence import distrust
from registry.core.evidence.distrust import Entry
from registry.core.evidence.validity import Validity
from registry.core.verdict import Check, Verdict
from registry.errors import MalformedError, Reason, VerificationError

ATTESTATION: Final = "attestation"
"""The link that says whether the batch's key was attested."""

GPU: Final = "gpu"
"""The link that says whether the GPUs of that environment were attested, too."""

MATERIAL: Final = "material"
"""The link that is there only if the capsule holds what no result names."""

UNATTESTED: Final = "no attestation result for the node's key is in this capsule"
"""What is said of an output without attestation."""


@dataclass(frozen=True, slots=True)
class Environments:
    """What is known of the environment of an output.

    Attributes:
        links: The links of this room, in the order in which people read them.
        covers: The environments that cover the output: the CPU's first, then that of its GPUs.
        reappraisals: What was examined again, by the log index of its result.
        unattested: Why the output is unattested; empty if it is attested.
        distrusted: What is believed no longer, by entries that hold now.
    """

    links: dict[str, Link] = field(default_factory=dict)
    covers: tuple[Covering, ...] = ()
    reappraisals: dict[int, Reappraisal] = field(default_factory=dict)
    unattested: str = ""
    distrusted: tuple[Entry, ...] = ()


def judge_environments(
    capsule: Capsule,
    reads: Reads,
    links: dict[str, Link],
    signing: Signing | MalformedError | None,
    *,
    demanded: bool = False,
) -> Environments:
    """Judge everything that a capsule says of the environment in which the node held its key.

    Args:
        capsule: Where it is carried.
        reads: The statements of ``capsule.attested``, by name; None where one cannot be read.
        links: How they, the batch and the record were judged.
        signing: What must be covered; None if batch or record cannot be read.
        demanded: Whether the reader wants an attested output.
    """
    holdings = Holdings(capsule.attested, reads)
    own = {name: links[name] for name in reads}
    found = Environments(own, distrusted=_believed(own, holdings))
    if not tuple(replace(capsule.attested, distrust=()).parts()):
        # What is distrusted is then carried for the sake of other systems' proofs.
        return _without(found, demanded=demanded)
    for name, item in holdings.results():
        again = name.replace("attestation/", "evidence/")
        found.reappraisals[item.index] = reappraise(again, item, holdings, links)
        found.links[again] = found.reappraisals[item.index].link
    try:
        holdings.verify_nothing_else()
    except VerificationError as error:
        found.links[MATERIAL] = Link.both(verdict.invalid(MATERIAL, error))
    if not isinstance(signing, Signing):
        check = waiting(ATTESTATION, "record")
        if signing is not None:
            check = verdict.invalid(ATTESTATION, signing)
        found.links[ATTESTATION] = Link.both(check)
        return replace(found, unattested=check.detail)
    return _judge(found, links, signing)


def _without(found: Environments, *, demanded: bool) -> Environments:
    if not demanded:
        return replace(found, unattested=UNATTESTED)
    error = VerificationError(
        Reason.UNATTESTED, UNATTESTED, expected="an attestation, as you demand one"
    )
    found.links[ATTESTATION] = Link.both(verdict.invalid(ATTESTATION, error))
    return replace(found, unattested=UNATTESTED)


def _judge(found: Environments, links: dict[str, Link], signing: Signing) -> Environments:
    held = [item for item in found.reappraisals.values() if found.links[item.name].holds]
    results = [(item.index, item.said) for item in held]
    cover = covering.find(results, signing)
    if not isinstance(cover, Covering):
        found.links[ATTESTATION] = Link.both(verdict.invalid(ATTESTATION, cover))
        _refuse_strangers(found, signing, ())
        return replace(found, unattested=str(cover))
    covers = [cover]
    needs = [links["batch"], links["record"]]
    found.links[ATTESTATION] = _covered(found, cover, signing).after(*needs)
    gpu_id = covering.gpu_of(cover.environment)
    if gpu_id:
        gpu = covering.find_gpu(results, signing, gpu_id)
        if isinstance(gpu, Covering):
            covers.append(gpu)
            own = _covered(found, gpu, signing, GPU)
        elif gpu.reason is Reason.UNATTESTED:
            own = Link.both(verdict.indeterminate(GPU, Reason.MISSING_BLOB, str(gpu)))
        else:
            own = Link.both(verdict.invalid(GPU, gpu))
        found.links[GPU] = own.after(found.links[ATTESTATION])
    _refuse_strangers(found, signing, covers)
    attested = found.links[ATTESTATION].then
    unattested = "" if attested.verdict is Verdict.VALID else attested.detail
    return replace(found, covers=tuple(covers), unattested=unattested)


def _covered(
    found: Environments,
    cover: Covering,
    signing: Signing,
    name: str = ATTESTATION,
) -> Link:
    """That one environment covers the output; on the later clock, that nothing refutes it."""
    said = cover.said
    bound = [GPU] if name == GPU else ["session key"]
    bound += ["model"] if covering.model_of(cover.environment) else []
    text = (
        f"{cover.family}, entry {cover.index}, bound to {' and '.join(bound)}; in force from "
        f"{Validity.text(said.issued_at)} to {Validity.text(said.expires_at)}, output made "
        f"{Validity.text(signing.at)}"
    )
    own = verdict.valid(name, text)
    again = found.reappraisals[cover.index]
    now = _refuted(found, cover, name) or own
    return Link(own, now).after(found.links[again.name], again.link)


def _refuted(found: Environments, cover: Covering, name: str) -> Check | None:
    """What is known now against an environment; None if nothing is."""
    newest: dict[str, Covering] = {}
    for item in sorted(found.reappraisals.values(), key=lambda each: each.index):
        believed = found.links[item.name].now.verdict is Verdict.VALID
        for later in covering.environments([(item.index, item.said)]):
            if believed and later.again(cover):
                newest[later.environment.question] = later
    for later in newest.values():
        environment = later.environment
        where = f"entry {later.index}"
        if environment.verdict is Verdict.INVALID:
            reason = Reason.DISTRUSTED if environment.distrusted else Reason.ATTESTATION_REFUSED
            text = ", ".join(f"{item.check} {item.finding}" for item in environment.checks)
            error = VerificationError(
                reason, "the same evidence was refused later", where=where, actual=text[:300]
            )
            return verdict.invalid(name, error)
        if environment.disputed:
            text = f"{where}: two engines disagree later: {environment.disputed}"
            return verdict.indeterminate(name, Reason.ENGINES_DISAGREE, text[:400])
        # That its endorsements have ended since says nothing against what was attested before.
    return _distrusted(found, cover, name)


def _believed(links: Mapping[str, Link], holdings: Holdings) -> tuple[Entry, ...]:
    """What the distrust list says, as far as its entries hold now."""
    return tuple(
        item.statement.predicate
        for item in holdings.distrust.values()
        if links[item.name].now.verdict is Verdict.VALID
    )


def _distrusted(found: Environments, cover: Covering, name: str) -> Check | None:
    again = found.reappraisals[cover.index]
    appraisal = again.appraisals.get(cover.family)
    if appraisal is None:
        return None
    examination, verifier = appraisal.examination, again.said.verifier.build
    for entry in distrust.applying(found.distrusted, examination, now=True, verifier=verifier):
        error = VerificationError(
            Reason.DISTRUSTED,
            "this environment is no longer believed",
            where=entry.reference[:200],
            expected=f"nothing of {entry.selector.family} that is distrusted",
            actual=f"{entry.reason}, since {entry.effective_from}"[:400],
        )
        return verdict.invalid(name, error)
    return None


def _refuse_strangers(found: Environments, signing: Signing, covers: Sequence[Covering]) -> None:
    """A result that is neither about this output nor about the same evidence proves nothing."""
    for item in found.reappraisals.values():
        mine = list(covering.environments([(item.index, item.said)]))
        if any(each.index == cover.index or each.again(cover) for each in mine for cover in covers):
            continue
        refusal = covering.find([(item.index, item.said)], signing)
        if isinstance(refusal, Covering):
            # It covers the output as well, and a newer one was taken.
            continue
        stranger = Link.both(verdict.invalid(item.name, refusal))
        found.links[item.name] = found.links[item.name].also(stranger)
