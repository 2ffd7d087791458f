"""Rows: what the facts of a capsule come to for a person, each with a name and a line."""

from collections.abc import Iterator

from registry.core.capsule.facts import NO_VENDOR, TEST_ROOT, Facts, ReportFact

_SECOND = 1_000_000
"""Microseconds of a second."""


def fact_rows(facts: Facts) -> list[tuple[str, str]]:
    """All facts, in the order in which people read them."""
    rows = []
    if facts.output is not None:
        output = facts.output
        rows += [
            ("output", f"{output.digest} ({output.profile})"),
            ("recorded by", f"{output.node}, shim {output.shim_id}, n={output.n}"),
            ("claimed time", output.claimed_at),
            ("model", output.model),
            ("ran with", f"{output.runtime} ({output.binding})"),
            *(("  parameter", f"{name} {value}") for name, value in sorted(output.params.items())),
            *([("asked for", output.asked)] if output.asked else []),
            *([("shim added", f"{output.added_us} µs")] if output.added_us is not None else []),
        ]
    rows += _beside_rows(facts)
    if facts.output is not None or facts.attestations:
        rows += _attestation_rows(facts)
    if facts.time is not None:
        rows.append(("existed by", f"{facts.time.at}, by {', '.join(facts.time.authorities)}"))
    if facts.release is not None:
        release = facts.release
        rows += [
            ("release", f"{release.record_id}, entry {release.index}"),
            ("manifest", release.manifest),
            ("publisher", release.publisher),
        ]
    rows += [("file", f"{item.path}  {item.size} bytes  {item.digest}") for item in facts.files]
    names = {item.record_id: item.name for item in facts.datasets}
    for dataset in facts.datasets:
        rows.append(("dataset", f"{dataset.name}, {dataset.licence}, by {dataset.publisher}"))
        total = sum(item.share for item in dataset.contributors)
        rows += [
            ("  contributor", f"{item.name or item.id}: {item.share} of {total}")
            for item in dataset.contributors
        ]
    for attribution in facts.attributions:
        total = sum(item.share for item in attribution.datasets)
        rows.append(("attribution", f"{attribution.method}, by {attribution.issuer}"))
        rows += [
            ("  dataset", f"{names.get(item.dataset, item.dataset)}: {item.share} of {total}")
            for item in attribution.datasets
        ]
    for replay in facts.replays:
        because = f" ({', '.join(replay.reasons)})" if replay.reasons else ""
        rows += [
            ("replay", f"{replay.spelled}, input {replay.input}, by {replay.auditor}{because}"),
            ("  ran with", replay.ran_with),
        ]
    for proof in facts.foreign:
        why = f" ({proof.reason})" if proof.reason else ""
        once = f", {proof.then} as it was then" if proof.then is not proof.here else ""
        said = f"{proof.here}{why}{once}; {proof.said}, says {proof.importer}"
        rows += [
            ("foreign proof", f"of {proof.system}: {said}"),
            ("  binds", f"weights {proof.binding_strength}, code {proof.code_strength}"),
            *(("  NOT COVERED", item) for item in proof.uncovered),
        ]
    if facts.log is not None:
        rows.append(("log", f"{facts.log.origin}, {facts.log.size} entries, root {facts.log.root}"))
    return rows


def _beside_rows(facts: Facts) -> list[tuple[str, str]]:
    rows = []
    if facts.bound is not None:
        bound = facts.bound
        weights = f", weights {bound.weights}" if bound.weights else ""
        by = f"by {bound.by}{weights}"
        rows.append(("model bound", f"level L{bound.level}, {bound.binding}, {by}"))
    if facts.setup is not None:
        ran = facts.setup
        files = f", {plural(ran.files_verified, 'file')} compared" if ran.files_verified else ""
        rows.append(("  says the node", f"level L{ran.level}, {ran.binding}{files}"))
        named = [("adapter", each) for each in ran.adapters]
        named += [("tokenizer", ran.tokenizer), ("chat template", ran.chat_template)]
        named.append(("quantisation", ran.quantization))
        named += [] if ran.report is None else list(_reported(ran.report))
        rows += [(f"  {name}", value) for name, value in named if value]
    for item in facts.attached:
        took = f"{item.evidence_us / _SECOND:.1f} s after the answer"
        late = f", {item.late_us / _SECOND:.1f} s late" if item.late_us else ", in time"
        if item.missed:
            said = f"{item.level} MISSED({item.missed}), given up {took}"
        else:
            by = f"checked here: {item.proven_by}" if item.proven_by else "not in this capsule"
            said = f"{item.level} {took}{late}, by {item.proof}, {by}"
        rows.append(("attached", f"{said}, record n={item.n}"))
    return rows


def _reported(said: ReportFact) -> Iterator[tuple[str, str]]:
    """What the model server said, as far as it said it."""
    version = f", version {said.version}" if said.version else ""
    yield "reported", f"{said.model}{version}, by {said.engine or 'an engine'} ({said.interface})"
    yield "  digest", said.digest
    for digest, path in said.weights:
        yield "  weights", f"{digest}, {path or 'no file that is listed here'}"
    yield from (("  adapter", each) for each in said.adapters)
    yield "  template", said.chat_template
    yield "  quantisation", said.quantization


def _attestation_rows(facts: Facts) -> list[tuple[str, str]]:
    if facts.unattested or not facts.attestations:
        return [("attested", f"UNATTESTED: {facts.unattested or 'nothing is known'}")]
    rows = []
    for item in facts.attestations:
        status = f", TCB {item.tcb_status}" if item.tcb_status else ""
        rows += [
            ("attested", f"{item.tee}, {item.tier}{status}"),
            ("  bound to", ", ".join(item.bound_to)),
            ("  in force", f"{item.in_force_from} to {item.in_force_until}, entry {item.index}"),
            ("  policy", f"{item.policy}, sha256:{item.policy_sha256}"),
            ("  appraised by", item.verifier),
        ]
        rows += [("  accepted", finding) for finding in item.findings]
        rows += [(NO_VENDOR, f"{TEST_ROOT}, sha256:{r}") for r in item.configured_roots]
        rows += [("  REFUTED", item.refuted)] if item.refuted else []
    return rows


def plural(count: int, noun: str) -> str:
    """So many of a noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(rows: list[tuple[str, str]]) -> list[str]:
    """Rows as lines."""
    return [f"  {name:<14} {value}" for name, value in rows]
