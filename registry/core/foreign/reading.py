"""What a reader of one format makes of a proof, and how it becomes a statement's content.

Checks are named by a letter and a number; the letter is the layer: P parse, E encoding, S
signature, C claims, A attestation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.evidence.checks import CheckResult, Finding, Severity
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import Environment
from registry.core.evidence.validity import appraised_at
from registry.core.foreign.captured import Asked, Captured, PartRole, names
from registry.core.foreign.proof import (
    ForeignProof,
    Layer,
    LayerVerdict,
    Raw,
    Strength,
    System,
)
from registry.core.profiles.recognise import candidates
from registry.core.verdict import Verdict

LAYERS: Final[Mapping[str, Layer]] = {
    "P": Layer.PARSE,
    "E": Layer.ENCODING,
    "S": Layer.SIGNATURE,
    "C": Layer.CLAIMS,
    "A": Layer.ATTESTATION,
}
"""The first letter of a check → its layer."""

POLICY: Final = "policy"
"""The role of an appraisal policy among what is kept."""

UNTOLD: Final = "not told, since the importer withholds what it is about"
"""What stands for the detail of a check that looked at a withheld part."""

_OPEN: Final = (Finding.MISSING, Finding.NOT_REACHED)
_CONTRADICTIONS: Final = (Severity.CRYPTO, Severity.IDENTITY)
_TEXT_CHARACTERS: Final = 1000


@dataclass(slots=True)
class Reading:
    """What is read and checked so far.

    Attributes:
        format_version: What the bytes are in.
        parser_version: What reads them.
        model: How the weights are bound if everything holds.
        code: How the code is bound if everything holds.
        unattested: How the weights are bound if only the signature holds.
        environment: What was made of the evidence.
        policy: What judged it, if that is not the starter of its family.
        response_sha256: What is signed as the SHA-256 of the response's bytes.
    """

    system: System
    format_version: str
    parser_version: str
    model: Strength
    code: Strength
    unattested: Strength = Strength.NAME_ONLY
    canonicaliser: str = ""
    claims: dict[str, str] = field(default_factory=dict)
    covered: list[str] = field(default_factory=list)
    uncovered: list[str] = field(default_factory=list)
    client_claimable: list[str] = field(default_factory=list)
    response_sha256: bytes | None = None
    environment: Environment | None = None
    policy: Policy | None = None

    def say(self, **claims: object) -> None:
        """Take note of what the proof says; what is None it does not say."""
        for name, value in claims.items():
            if value is not None:
                self.claims[name] = str(value)[:_TEXT_CHARACTERS]


def layer_verdicts(checks: Iterable[CheckResult]) -> tuple[LayerVerdict, ...]:
    """The verdict on every layer that has a check, in their order."""
    said = list(checks)
    verdicts = []
    for letter, layer in LAYERS.items():
        own = [item for item in said if item.check[:1] == letter]
        if own:
            verdicts.append(_layer(layer, own))
    return tuple(verdicts)


def _layer(layer: Layer, own: list[CheckResult]) -> LayerVerdict:
    broken = [item for item in own if item.outcome == "fail" and item.severity in _CONTRADICTIONS]
    if broken:
        return LayerVerdict(layer=layer, verdict=Verdict.INVALID, finding=broken[0].finding)
    open_ = [
        item
        for item in own
        if (item.outcome == "fail" and item.severity is Severity.TIME)
        or (item.outcome == "skipped" and item.finding in _OPEN)
    ]
    if open_:
        return LayerVerdict(layer=layer, verdict=Verdict.INDETERMINATE, finding=open_[0].finding)
    return LayerVerdict(layer=layer, verdict=Verdict.VALID)


def worst(layers: Iterable[LayerVerdict]) -> Verdict:
    """The verdict on the whole."""
    verdicts = {item.verdict for item in layers}
    for verdict in (Verdict.INVALID, Verdict.INDETERMINATE):
        if verdict in verdicts:
            return verdict
    return Verdict.VALID


def output_digests(captured: Captured, signed: bytes | None) -> tuple[bytes, ...]:
    """The digests that name the output, the one under which it is found first.

    Content digests of the response if its bytes are at hand; then what was signed as the SHA-256 of
    its bytes; without either, that of the first part, so that what cannot be read can be found.
    """
    response = captured.one(PartRole.RESPONSE)
    found = [] if response is None else list(candidates(response))
    found += [] if signed is None else [signed]
    if not found:
        found = [names(captured)[0][1]]
    return tuple(dict.fromkeys(found))


def _kept(captured: Captured, policy: Policy | None) -> tuple[tuple[str, bytes], ...]:
    """Everything that the result rests on; a starter policy anybody can make again."""
    if policy is None:
        return names(captured)
    return (*names(captured), (POLICY, sha256(encoding.write_json(policy))))


def _untold(
    checks: tuple[CheckResult, ...], captured: Captured, asked: Asked
) -> tuple[CheckResult, ...]:
    """The checks without what they tell of parts that are withheld: they may quote them."""
    hidden = {sha256(data).hex() for role in asked.withheld for data in captured.all(role)}
    return tuple(
        msgspec.structs.replace(item, detail=UNTOLD)
        if item.detail and hidden.intersection(item.inputs)
        else item
        for item in checks
    )


def finish(
    reading: Reading, checks: tuple[CheckResult, ...], captured: Captured, asked: Asked
) -> ForeignProof:
    """Write down a reading, with no more strength than what was checked bears."""
    checks = _untold(checks, captured, asked)
    layers = layer_verdicts(checks)
    of = {item.layer: item.verdict for item in layers}
    genuine = all(
        of.get(layer, Verdict.VALID) is Verdict.VALID for layer in (Layer.PARSE, Layer.SIGNATURE)
    )
    whole = genuine and all(verdict is Verdict.VALID for verdict in of.values())
    attested = whole and of.get(Layer.ATTESTATION) is Verdict.VALID
    weights = reading.unattested if genuine else Strength.NONE
    return ForeignProof(
        system=reading.system,
        format_version=reading.format_version,
        parser_version=reading.parser_version,
        canonicaliser=reading.canonicaliser,
        output=output_digests(captured, reading.response_sha256)[0].hex(),
        verdict=worst(layers),
        layers=layers,
        checks=checks,
        binding_strength=reading.model if attested else weights,
        code_strength=reading.code if attested else Strength.NONE,
        covered=tuple(reading.covered) if genuine else (),
        uncovered=tuple(dict.fromkeys(reading.uncovered)),
        client_claimable=tuple(reading.client_claimable),
        claims=dict(sorted(reading.claims.items())),
        raw=tuple(
            Raw(role=role, sha256=raw.hex(), withheld=role in asked.withheld)
            for role, raw in _kept(captured, reading.policy)
        ),
        judged_at=appraised_at(asked.at),
        fetched_at=asked.fetched_at,
        environment=msgspec.UNSET if reading.environment is None else reading.environment,
        nonce="" if asked.nonce is None else asked.nonce.hex(),
        expected_model=msgspec.UNSET if asked.model is None else asked.model.hex(),
    )
