"""Foreign proofs: what another system proves of an output, layer by layer, and what it leaves open.

The bytes stay as they came, named by digest; whoever has them can read and check them again, with
this parser or a later one. A proof is never said to be stronger than what was checked of it.
"""

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from registry.core.encoding import AsciiKey, Count, Hex32, Text, Value
from registry.core.evidence.checks import CheckResult
from registry.core.evidence.result import Environment
from registry.core.verdict import Verdict

MAX_CHECKS: Final = 128
"""Results of checks in one proof; a table has some twenty."""

MAX_NAMES: Final = 256
"""Names of fields in one list."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Names = Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_NAMES)]


class System(StrEnum):
    """Whose proof it is."""

    ACI = "aci"
    AIR = "air"
    NEAR = "near"
    OPENGRADIENT = "opengradient"


class Layer(StrEnum):
    """What is checked, in this order: each layer is judged by itself."""

    PARSE = "parse"
    ENCODING = "encoding"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    ATTESTATION = "attestation"


class Strength(StrEnum):
    """How strongly something is bound to the output, from weakest to strongest.

    ``none``: nothing that was checked names it. ``name_only``: somebody who signed calls it so.
    ``workload_asserted_hash``: attested code says which bytes it loaded. ``measured``: the hardware
    measured it. ``zk``: the output is proven to be computed by it.
    """

    NONE = "none"
    NAME_ONLY = "name_only"
    WORKLOAD_ASSERTED_HASH = "workload_asserted_hash"
    MEASURED = "measured"
    ZK = "zk"


class LayerVerdict(Value, frozen=True):
    """What was made of one layer.

    Attributes:
        finding: The first thing that was found to be wrong, or missing; empty if nothing was.
    """

    layer: Layer
    verdict: Verdict
    finding: str = ""


class Raw(Value, frozen=True):
    """A part, an endorsement or the appraisal policy, as it came.

    Attributes:
        withheld: Whether the importer keeps it to itself; else it is a blob.
    """

    role: _Name
    sha256: Hex32
    withheld: bool = False


class ForeignProof(Value, frozen=True):
    """The importer says: this is what another system proves of this output, checked by me.

    Attributes:
        system: Whose proof it is.
        format_version: What the bytes are in.
        parser_version: What read them.
        canonicaliser: Which spelling of the request or response the signed hash is of, where the
            system hashes something else than what it sent; empty if none matched or none is needed.
        output: Under what the proof is found: the first content digest of the response, or what was
            signed as the SHA-256 of its bytes.
        verdict: The worst of the layers.
        layers: The verdict on each.
        checks: Every check of the format's table.
        binding_strength: How the output is bound to the weights of a model.
        code_strength: How the output is bound to the code that made it.
        covered: What the signature commits to.
        uncovered: What it does not: changing it changes no signature.
        client_claimable: What the system signs as it was told by whoever asked.
        claims: What is said in the proof, as text.
        raw: All bytes that this rests on.
        judged_at: The moment that counts, in Unix seconds.
        fetched_at: When the importer says that it fetched the proof, in Unix seconds.
        environment: What was made of the evidence of the hardware, if there was any.
        nonce: What the importer had sent, in hexadecimal.
        expected_model: What the importer expected the model's hash to be.
    """

    system: System
    format_version: _Name
    parser_version: _Name
    output: Hex32
    verdict: Verdict
    layers: Annotated[tuple[LayerVerdict, ...], msgspec.Meta(min_length=1, max_length=len(Layer))]
    checks: Annotated[tuple[CheckResult, ...], msgspec.Meta(max_length=MAX_CHECKS)]
    binding_strength: Strength
    code_strength: Strength
    covered: _Names
    uncovered: _Names
    raw: Annotated[tuple[Raw, ...], msgspec.Meta(min_length=1, max_length=1024)]
    judged_at: Count
    fetched_at: Count
    claims: dict[AsciiKey, Text] = msgspec.field(default_factory=dict)
    client_claimable: _Names = ()
    canonicaliser: Annotated[str, msgspec.Meta(max_length=64)] = ""
    environment: Environment | msgspec.UnsetType = msgspec.UNSET
    nonce: Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{2}){0,64}\Z")] = ""
    expected_model: Hex32 | msgspec.UnsetType = msgspec.UNSET

    @property
    def name(self) -> str:
        """Under what a registry lists it."""
        return self.output

    @property
    def kept(self) -> list[bytes]:
        """The SHA-256 of everything that is not withheld."""
        return [bytes.fromhex(item.sha256) for item in self.raw if not item.withheld]
