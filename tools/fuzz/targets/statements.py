"""Targets of statements and capsules: envelopes, predicates, records, keys, a capsule's container.

A capsule names each part by its digest, so a changed part would be noticed before it is read; here
the digests are made to fit again.
"""

import json
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from registry.core import encoding
from registry.core.attestation.dsse import Envelope
from registry.core.capsule.container import Capsule
from registry.core.capsule.parts import Stamped, Token
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.certificates.signing import SigningCertificate
from registry.core.digest import sha256
from registry.core.foreign.captured import Asked, PartRole
from registry.core.foreign.proof import System
from registry.core.foreign.systems import examine
from registry.core.keys import PublicKey, parse_signature
from registry.core.records import (
    batch,
    certificate,
    foreign_proof,
    identity_event,
    inference,
    predicate,
)
from registry.core.records.manifest import Manifest
from tests.core.capsule.test_beside import story
from tests.core.records.test_inference import a_boot, a_setup
from tests.mint import AT, OUTPUT, tell
from tools.fake_vendor import near
from tools.fake_vendor.caught import NOON
from tools.fuzz.edits import Edit, raw
from tools.fuzz.elements import der
from tools.fuzz.examples import CAPSULE, HEAD, TOLD, WORLD, FixedWorld
from tools.fuzz.members import members, structured
from tools.fuzz.sigstore import CERTIFICATE, SIGNER, TSA, token
from tools.fuzz.target import Target

_SAID: Final = (
    TOLD.release,
    TOLD.datasets[0],
    TOLD.attributions[0],
    TOLD.batch,
    WORLD.key_events[1],
)
_BY_THE_OPERATOR: Final = tuple(
    encoding.write_json(said)
    for said in (
        certificate.build(SigningCertificate.parse(CERTIFICATE), "oidc", AT),
        identity_event.build(
            "add", SIGNER, "acme", roles=("publisher",), namespaces=("acme/*",), issued_at=AT
        ),
    )
)
_STAMPED: Final = WORLD.capsule(
    TOLD,
    stamped=Stamped(
        HEAD.note,
        HEAD.checkpoint.size,
        (),
        (Token(TSA.pinned().chain_digest, token(HEAD.note)),),
    ),
)
_CAUGHT: Final = near.mint(near.Spec(response=OUTPUT)).without(PartRole.REPORT)
_PARTS: Final = tuple(data for items in _CAUGHT.parts.values() for data in items) + tuple(
    item.data for item in _CAUGHT.endorsements.items
)
_EXAMINED: Final = examine(System.NEAR, _CAUGHT, Asked(NOON))
_IMPORT: Final = foreign_proof.build(_EXAMINED.proof, _EXAMINED.outputs)
_OTHER: Final = FixedWorld()
_OTHER_TOLD: Final = tell(_OTHER)
_LOGGED: Final = _OTHER.register(_IMPORT, "acme")
_IMPORTED: Final = _OTHER.capsule(
    _OTHER_TOLD, foreign=[_OTHER.proved(_LOGGED)], foreign_parts=_PARTS
)
_MANIFEST: Final = TOLD.manifest.to_bytes()


def resealed(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Change a part of a capsule, or its index, and let every digest fit again."""
    header, _, rest = data.partition(b"\n")
    line, _, content = rest.partition(b"\n")
    try:
        index = json.loads(line)
        parts = index["parts"]
        at = edit.choose(len(parts) + 1)
        if at < len(parts):
            start = sum(part["size"] for part in parts[:at])
            end = start + parts[at]["size"]
            changed = structured(content[start:end], edit, donor)
            parts[at] |= {"sha256": sha256(changed).hex(), "size": len(changed)}
            content = content[:start] + changed + content[end:]
            line = json.dumps(index, separators=(",", ":"), sort_keys=True).encode()
        else:
            line = members(line, edit, line)
    except (ValueError, KeyError, TypeError, IndexError):
        return raw(data, edit, donor)
    line += b"\n"
    return header.partition(b" ")[0] + b" " + sha256(line).hex().encode() + b"\n" + line + content


def _capsule(data: bytes) -> bytes:
    read = Capsule.parse(data)
    # What an auditor does with any file: nothing in it may stop the appraisal.
    appraise(read, WORLD.log.key, authorities=(TSA.pinned(),))
    return read.to_bytes()


def _leaves(data: bytes) -> bytes:
    again = bytearray()
    for leaf in batch.split_leaves(data):
        again += batch.join_leaves([leaf])
    return bytes(again)


TARGETS: Final = (
    Target(
        "envelope",
        tuple(said.envelope.to_bytes() for said in _SAID),
        lambda data: Envelope.parse(data).to_bytes(),
        (members,),
    ),
    Target(
        "statement",
        (
            *(said.envelope.payload for said in _SAID),
            *_BY_THE_OPERATOR,
            encoding.write_json(_IMPORT),
        ),
        lambda data: encoding.write_json(predicate.parse(data)),
        (members,),
    ),
    Target(
        "record",
        (*TOLD.records, a_boot(), a_setup()),
        lambda data: inference.write(inference.parse(data)),
        (members,),
    ),
    Target(
        "batch-leaves",
        (batch.join_leaves([b"one", b"", b"three"]), batch.join_leaves(list(TOLD.records))),
        _leaves,
    ),
    Target(
        "batch-hashes",
        (b"".join(WORLD.leaves[:3]),),
        lambda data: b"".join(batch.split_hashes(data)),
    ),
    Target("manifest", (_MANIFEST,), lambda data: Manifest.parse(data).to_bytes(), (members,)),
    Target(
        "capsule",
        (
            CAPSULE.to_bytes(),
            _STAMPED.to_bytes(),
            _IMPORTED.to_bytes(),
            story(world=FixedWorld()).capsule().to_bytes(),
        ),
        _capsule,
        (resealed,),
    ),
    Target(
        "report",
        (appraise(CAPSULE, WORLD.log.key).to_bytes(),),
        lambda data: encoding.read_json(data, Report).to_bytes(),
        (members,),
    ),
    Target(
        "public-key",
        (WORLD.operator.public_key.der,),
        lambda data: data if data.startswith(b"-----BEGIN") else PublicKey.parse(data).der,
        (der,),
    ),
    Target(
        "signature",
        (TOLD.release.envelope.signature,),
        lambda data: encode_dss_signature(*parse_signature(data)),
        (der,),
    ),
)
"""Every decoder of statements."""
