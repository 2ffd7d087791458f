"""Every parser refuses what it would not write back: one test over all of them.

Each case has valid bytes and a function that reads bytes and writes the value again. Whatever is
done to the bytes, either they are refused with one of our errors, or they come back as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry.core import digest, encoding
from registry.core.attestation.dsse import Envelope
from registry.core.capsule.container import Capsule
from registry.core.capsule.parts import Stamped, Token
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.digest import DigestSet
from registry.core.formats.structure import (
    OnnxStructure,
    OperatorSet,
    Port,
    parse_structure,
    structure_bytes,
)
from registry.core.keys import PublicKey, parse_signature
from registry.core.records import batch, inference, names, predicate
from registry.core.records.manifest import Manifest
from registry.core.tlog import entry
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import Note, VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.core.tlog.tile import ExpandedTile, TilePath
from registry.errors import RegistryError
from tests.mint import World, a_manifest, tell

WORLD = World()
TOLD = tell(WORLD)
HEAD = WORLD.head()
CAPSULE = WORLD.capsule(TOLD)
STAMPED = WORLD.capsule(
    TOLD,
    stamped=Stamped(HEAD.note, HEAD.checkpoint.size, (), (Token(bytes(32), b"a token"),)),
)
PROVED = WORLD.proved(TOLD.release)
STRUCTURE = OnnxStructure(
    schema="https://provreg.dev/model-structure/v1",
    ir_version=10,
    producer="mint",
    opsets=(OperatorSet(domain="", version=21),),
    inputs=(Port(name="x", dtype="FLOAT", shape=("?", "3")),),
    outputs=(),
)


@dataclass(frozen=True)
class Parser:
    """Valid bytes, and how they are read and written again."""

    valid: bytes
    again: Callable[[bytes], bytes]


def of_text(read: Callable[[str], object]) -> Callable[[bytes], bytes]:
    """Read text and write it again; bytes that are no text never reach such a parser."""

    def again(data: bytes) -> bytes:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return data
        return str(read(text)).encode("utf-8")

    return again


def checked(check: Callable[[str], None]) -> Callable[[str], str]:
    """A check of text that is used as it is."""

    def read(text: str) -> str:
        check(text)
        return text

    return read


def statement(data: bytes) -> bytes:
    return encoding.write_json(predicate.parse(data))


def signed_checkpoint(data: bytes) -> bytes:
    head = SignedCheckpoint.parse(data)
    return str(Note(str(head.checkpoint), Note.parse(head.note).signatures)).encode()


PARSERS = {
    "envelope": Parser(PROVED.envelope, lambda data: Envelope.parse(data).to_bytes()),
    "release": Parser(TOLD.release.envelope.payload, statement),
    "dataset": Parser(TOLD.datasets[0].envelope.payload, statement),
    "attribution": Parser(TOLD.attributions[0].envelope.payload, statement),
    "batch": Parser(TOLD.batch.envelope.payload, statement),
    "key event": Parser(WORLD.key_events[1].envelope.payload, statement),
    "boot": Parser(TOLD.records[0], lambda data: inference.write(inference.parse(data))),
    "intent": Parser(TOLD.records[1], lambda data: inference.write(inference.parse(data))),
    "completion": Parser(TOLD.records[2], lambda data: inference.write(inference.parse(data))),
    "leaves file": Parser(
        batch.join_leaves([b"one", b"", b"three"]),
        lambda data: batch.join_leaves(list(batch.split_leaves(data))),
    ),
    "hashes file": Parser(
        b"".join(WORLD.leaves[:3]), lambda data: b"".join(batch.split_hashes(data))
    ),
    "manifest": Parser(
        a_manifest({"a/b": b"1", "a/c": b"2", "d": b"3"}).to_bytes(),
        lambda data: Manifest.parse(data).to_bytes(),
    ),
    "structure": Parser(
        structure_bytes(STRUCTURE), lambda data: structure_bytes(parse_structure(data))
    ),
    "digest set": Parser(
        encoding.write_json(DigestSet.of(b"x")),
        lambda data: encoding.write_json(encoding.read_json(data, DigestSet)),
    ),
    "log entry": Parser(
        entry.write(
            TOLD.release.envelope.record_id,
            TOLD.release.envelope.signature,
            WORLD.keys["acme"].public_key.der,
        ),
        lambda data: entry.parse(data).to_bytes(),
    ),
    "public key": Parser(WORLD.operator.public_key.der, lambda data: PublicKey.parse(data).der),
    "signature": Parser(
        TOLD.release.envelope.signature, lambda data: encode_dss_signature(*parse_signature(data))
    ),
    "verifier key": Parser(str(WORLD.log.key).encode(), of_text(VerifierKey.parse)),
    "note": Parser(HEAD.note, lambda data: str(Note.parse(data)).encode()),
    "checkpoint": Parser(str(HEAD.checkpoint).encode(), of_text(Checkpoint.parse)),
    "signed checkpoint": Parser(
        HEAD.note,
        signed_checkpoint,
    ),
    "receipt": Parser(
        Receipt(PROVED.index, PROVED.proof, HEAD).to_bytes(),
        lambda data: Receipt.parse(data).to_bytes(),
    ),
    "tile": Parser(
        b"".join(WORLD.leaves[:5]), lambda data: ExpandedTile.from_bytes(data).to_bytes()
    ),
    "tile path": Parser(b"tile/1/x001/234.p/17", of_text(TilePath.parse)),
    "capsule": Parser(CAPSULE.to_bytes(), lambda data: Capsule.parse(data).to_bytes()),
    "stamped capsule": Parser(STAMPED.to_bytes(), lambda data: Capsule.parse(data).to_bytes()),
    "report": Parser(
        appraise(CAPSULE, WORLD.log.key).to_bytes(),
        lambda data: encoding.read_json(data, Report).to_bytes(),
    ),
    "digest": Parser(
        digest.text(digest.sha256(b"x")).encode(),
        of_text(lambda text: digest.text(digest.parse(text))),
    ),
    "base64": Parser(
        b"cHJvdmVuYW5jZQ==",
        of_text(lambda text: encoding.base64_text(encoding.base64_bytes(text))),
    ),
    "hexadecimal": Parser(
        b"00ff10ab", of_text(lambda text: encoding.hex_bytes(text, len(text) // 2).hex())
    ),
    "decimal": Parser(b"9223372036854775807", of_text(encoding.decimal)),
    "reference": Parser(
        b"acme/x@1.2.0", of_text(lambda text: "@".join(names.split_reference(text)))
    ),
    "principal": Parser(b"node-1", of_text(checked(names.check_principal))),
}

SPECIAL = st.sampled_from(
    [
        *(b"\x00", b"\n", b" ", b"+", b"-", b"0", b"/", b"\\", b'"', b",", b"{}", b"=", b"_"),
        *("\u0660".encode(), "\uff11".encode(), b"\xed\xa0\x80", b"\xef\xbb\xbf"),
        *(b"\\u0041", b"1e0"),
    ]
)


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[str, float, float, bytes]]:
    """Where to cut, repeat, insert, flip and replace; positions are fractions of the length."""
    place = st.floats(0, 1, exclude_max=True)
    kind = st.sampled_from(["cut", "repeat", "insert", "flip", "replace", "swap", "end"])
    return draw(
        st.lists(st.tuples(kind, place, place, SPECIAL | st.binary(max_size=3)), max_size=3)
    )


def mutate(data: bytes, changes: list[tuple[str, float, float, bytes]]) -> bytes:
    for kind, first, second, content in changes:
        start, end = sorted((int(first * len(data)), int(second * len(data))))
        # Small changes are the dangerous ones.
        end = min(end, start + 8)
        head, middle, tail = data[:start], data[start:end], data[end:]
        if kind == "cut":
            data = head + tail
        elif kind == "repeat":
            data = head + middle * 2 + tail
        elif kind == "insert":
            data = head + content + middle + tail
        elif kind == "flip" and data:
            bit = 1 << int(second * 8)
            data = data[:start] + bytes([data[start] ^ bit]) + data[start + 1 :]
        elif kind == "replace":
            data = head + content + data[start + len(content) :]
        elif kind == "swap":
            data = head + middle[::-1] + tail
        elif kind == "end":
            data += content
    return data


@pytest.mark.parametrize("name", PARSERS)
def test_valid_bytes_are_read_and_written_back(name: str) -> None:
    parser = PARSERS[name]
    assert parser.again(parser.valid) == parser.valid


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=150)
@given(changes=mutations())
@example(changes=[("end", 0.0, 0.0, b"\n")])
@example(changes=[("end", 0.0, 0.0, b" ")])
@example(changes=[("end", 0.0, 0.0, b"\x00")])
@example(changes=[("insert", 0.0, 0.0, b"\xef\xbb\xbf")])
@example(changes=[("insert", 0.0, 0.0, b" ")])
def test_what_would_not_be_written_back_is_refused(
    name: str, changes: list[tuple[str, float, float, bytes]]
) -> None:
    parser = PARSERS[name]
    data = mutate(parser.valid, changes)
    try:
        again = parser.again(data)
    except RegistryError:
        return
    assert again == data


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=50)
@given(data=st.binary(max_size=200))
def test_no_bytes_at_all_make_a_parser_fail_in_another_way(name: str, data: bytes) -> None:
    try:
        again = PARSERS[name].again(data)
    except RegistryError:
        return
    assert again == data
