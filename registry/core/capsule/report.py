"""Reports: every link with its verdict on both clocks, and what that proves, in plain words."""

from collections.abc import Iterable, Sized
from typing import Self

from registry.core import encoding
from registry.core.capsule.attestation import ATTESTATION, GPU
from registry.core.capsule.facts import NO_VENDOR, TEST_ROOT, AttestationFact, Facts
from registry.core.capsule.links import Link
from registry.core.capsule.rows import fact_rows, plural, table
from registry.core.capsule.witnesses import WITNESSES
from registry.core.encoding import Value
from registry.core.verdict import Check, Verdict, overall

LOG_KEY = "log key"
"""The link that says whether the capsule is from the log that the reader trusts."""

_BINDINGS = {
    "artifact_verified": (
        "That the weights which were loaded computed this answer: the node checked the files of "
        "the version before it loaded them (level L2), nothing measured the run itself."
    ),
    "runtime_reported": (
        "Which weights ran: the serving software said what it served (level L1 and a claim), and "
        "the node wrote that down."
    ),
    "provider_attested": (
        "Which weights ran: code of a provider answered that is attested, and says of the weights "
        "no more than stands beside it."
    ),
    "name_only": "Which weights ran: only a name was known.",
}

_UNKNOWN_LEVEL = "level L3 where its setup record says so, else L2"
_ATTESTED_FILES = (
    "That the weights which were loaded computed this answer: the node checked the files of the "
    "version before it loaded them, in an environment that was attested with this version; that "
    f"the model ran in there is the node's word ({_UNKNOWN_LEVEL})."
)
_UNSAID = (
    "What became of the level that the caller asked for: no record in this capsule says so; the "
    "log may have one by now."
)
_CALLS = "That every call was recorded: what never reached the shim left no trace."
_TIME = "The true time beyond the order of the log: times in records are the signer's own clock."
_TIME_BEFORE = (
    "How long before the timestamp things happened: times in records are the signer's own clock."
)
_HARDWARE = (
    "That nobody broke into the hardware or stole its vendor's keys: an attestation is as good as "
    "they are."
)
_UNATTESTED = "On what hardware, and in what environment, the node ran: UNATTESTED."
_CLAIMS = "That what the publisher says of training, data and licences is true: it is only signed."


_OUTCOMES = {
    "bit_exact": "got the recorded output bit for bit (level L4)",
    "within_tolerance": "got an output within the tolerance that the statement names (level L4)",
}
_INPUTS = {"proven": "the recorded input", "unproven": "an input that it brought itself"}


class Report(Value, frozen=True):
    """The verdict on a capsule.

    Attributes:
        checks_then: Every link, judged by what the log held when it was logged.
        checks_now: Every link, judged by everything in the capsule.
        proved: What the valid links prove together.
        conditional: What holds only under the condition that is stated.
        not_provable: What no capsule proves, so that nobody reads it into one.
    """

    verdict_then: Verdict
    verdict_now: Verdict
    checks_then: tuple[Check, ...]
    checks_now: tuple[Check, ...]
    facts: Facts
    proved: tuple[str, ...]
    conditional: tuple[str, ...]
    not_provable: tuple[str, ...]

    @classmethod
    def build(cls, links: Iterable[Link], facts: Facts) -> Self:
        """Say in words what the verdicts on ``links`` amount to."""
        chain = tuple(links)
        then, now = tuple(link.then for link in chain), tuple(link.now for link in chain)
        sure = {link.now.link for link in chain if link.sure}
        said = _sentences(sure, facts)
        if LOG_KEY not in sure:
            doubt = "If the log key in the capsule is one that you trust: "
            said, under = [], [doubt + sentence for sentence in said]
        else:
            under = []
        return cls(
            verdict_then=overall(then),
            verdict_now=overall(now),
            checks_then=then,
            checks_now=now,
            facts=facts,
            proved=tuple(said),
            conditional=(*under, *_conditions(chain, facts)),
            not_provable=_not_provable(facts),
        )

    def to_bytes(self) -> bytes:
        """The report for machines, as RFC 8785 JSON."""
        return encoding.write_json(self)

    def to_text(self) -> str:
        """The report for people."""
        lines = [f"Verdict as-now: {self.verdict_now}    as-then: {self.verdict_then}"]
        lines += (
            [f"{NO_VENDOR}: {TEST_ROOT}."]
            if any(map(_is_no_vendor, self.facts.attestations))
            else []
        )
        lines.append("")
        lines += table(fact_rows(self.facts))
        lines += ["", "Links"]
        for then, now in zip(self.checks_then, self.checks_now, strict=True):
            lines.append(_check_line(now, ""))
            if then != now:
                lines.append(_check_line(then, " (as-then)"))
        for title, sentences in (
            ("Proved", self.proved),
            ("Conditional", self.conditional),
            ("Not provable", self.not_provable),
        ):
            lines += ["", title, *(f"  - {sentence}" for sentence in sentences or ["nothing"])]
        return "".join(f"{_plain(line)}\n" for line in lines)


def _plain(line: str) -> str:
    """Text from statements must not forge lines of a report, or drive a terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line
    )


def _check_line(check: Check, clock: str) -> str:
    state = f"{check.verdict}({check.reason})" if check.reason else str(check.verdict)
    # The text of an error begins with its reason, which stands in the line already.
    detail = check.detail.removeprefix(f"{check.reason}: ")
    return f"  {check.link}{clock}: {state}" + (f" - {detail}" if detail else "")


def _sentences(sure: set[str], facts: Facts) -> list[str]:
    said = []
    output, release, log = facts.output, facts.release, facts.log
    if output is not None and log is not None and "record" in sure:
        said.append(
            f"{output.node} recorded an output with digest {output.digest} ({output.profile}) as "
            f"number {output.n} of shim {output.shim_id}, in the batch that is entry "
            f"{output.batch_index} of {log.origin}."
        )
        if not output.complete:
            said.append("The answer ended before its own end.")
        if release is not None and "model version" in sure:
            said.append(
                f"The record names {release.name}, which {release.publisher} had published before, "
                f"as entry {release.index}, with manifest {release.manifest}."
            )
    said += _attested(facts, sure)
    if facts.time is not None and log is not None:
        among = ", the batch among them," if "batch" in sure else ""
        said.append(
            f"The first {facts.time.size} entries of {log.origin}{among} existed at "
            f"{facts.time.at} at latest: {' and '.join(facts.time.authorities)} stamped them."
        )
    if release is not None and "manifest" in sure:
        said.append(
            f"{release.name} consists of exactly {_count(facts.files, 'file')}: those listed."
        )
    said += [
        f"{item.publisher} registered dataset {item.name} under {item.licence!r}, with "
        f"{_count(item.contributors, 'contributor')}, as entry {item.index}."
        for item in facts.datasets
        if item.part in sure
    ]
    said += [
        f"{item.issuer} signed an attribution of this version to "
        f"{_count(item.datasets, 'dataset')} ({item.method}), as entry {item.index}."
        for item in facts.attributions
        if item.part in sure
    ]
    said += [
        f"{item.auditor} ran {item.model_file} of that version again on "
        f"{_INPUTS[item.input]}, and {_OUTCOMES[item.outcome]}, as entry {item.index}."
        for item in facts.replays
        if item.part in sure and item.outcome in _OUTCOMES
    ]
    return said


def _attested(facts: Facts, sure: set[str]) -> list[str]:
    said = []
    for item in facts.attestations:
        if (GPU if item.bound_to == (GPU,) else ATTESTATION) not in sure:
            continue
        what = f"with {item.tee}" if item.bound_to == (GPU,) else f"in {_article(item.tee)}"
        said.append(
            f"The node's key was attested {what} when it signed ({item.tier}): by policy "
            f"{item.policy}, entry {item.index}, in force from {item.in_force_from} to "
            f"{item.in_force_until}, bound to {' and '.join(item.bound_to)}."
            + (f" {NO_VENDOR}: {TEST_ROOT}." if item.configured_roots else "")
        )
    return said


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "AEIOU" else f"a {noun}"


def _is_no_vendor(item: AttestationFact) -> bool:
    return bool(item.configured_roots)


def _vouches_for_the_model(item: AttestationFact) -> bool:
    return "model" in item.bound_to and not item.configured_roots and not item.refuted


def _count(items: Sized, noun: str) -> str:
    return plural(len(items), noun)


def _conditions(chain: tuple[Link, ...], facts: Facts) -> list[str]:
    said = []
    if facts.log is not None:
        said.append(
            f"As-now means as of a tree of {facts.log.size} entries, and of the key events in this "
            "capsule: whether a key was ended or reported compromised later, ask the log."
        )
        said.append(_same_to_everybody(chain))
    if any(not item.refuted for item in facts.attestations):
        said.append(
            "That nothing was found against the attested hardware since: later results and the "
            "distrust list count as far as this capsule carries them; whoever made it may have "
            "left some out, so ask the log for what is newer."
        )
    if facts.attributions:
        said.append("Shares of datasets are their issuer's signed estimate, not a measurement.")
    said += [
        f"{link.now.link}: {link.now.detail}."
        for link in chain
        if link.now.verdict is Verdict.INDETERMINATE
    ]
    return said


def _same_to_everybody(chain: tuple[Link, ...]) -> str:
    claim = "That the log showed the same entries to everybody: "
    if any(link.now.link == WITNESSES and link.holds for link in chain):
        return f"{claim}the witnesses of your policy say so, and you trust enough of them."
    return f"{claim}no policy of yours names witnesses that have signed this checkpoint."


def _not_provable(facts: Facts) -> tuple[str, ...]:
    binding = facts.bound.binding if facts.bound else "name_only"
    weights = _BINDINGS[binding]
    if binding == "artifact_verified" and any(map(_vouches_for_the_model, facts.attestations)):
        weights = _ATTESTED_FILES
        if facts.setup is not None:
            weights = weights.replace(_UNKNOWN_LEVEL, f"level L{facts.setup.level}")
    said = [_CALLS, _TIME if facts.time is None else _TIME_BEFORE, _CLAIMS, weights]
    asked = facts.output.asked if facts.output else ""
    if asked and not asked.startswith("logged") and not facts.attached:
        said.append(_UNSAID)
    said.append(_HARDWARE if facts.attestations else _UNATTESTED)
    if not facts.datasets:
        said.append("On which data the version was trained: no dataset in this capsule says so.")
    if facts.output and facts.output.uncovered:
        said.append(f"What the record does not commit to: {', '.join(facts.output.uncovered)}.")
    return tuple(said)
