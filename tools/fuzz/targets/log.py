"""Targets of the log: notes, checkpoints, proofs, tiles, entries, and what witnesses are sent."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry.core.digest import sha256
from registry.core.tlog import cosignature, entry, entry_bundle, witnessing
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.cose import CoseReceipt
from registry.core.tlog.note import COSIGNER_KEYS, LOG_KEYS, Note, VerifierKey
from registry.core.tlog.policy import Policy
from registry.core.tlog.receipt import Receipt
from registry.core.tlog.tile import ExpandedTile, TilePath
from registry.core.tlog.witnessing import AddCheckpoint
from registry.errors import MalformedError, Reason, RegistryError
from registry.signing.cosigner import Cosigner
from tests.authorities import NOON
from tools.fuzz.edits import lines
from tools.fuzz.elements import cbor
from tools.fuzz.examples import HEAD, TOLD, WORLD, body, receipt
from tools.fuzz.members import members
from tools.fuzz.target import Target, stable

_LOG: Final = WORLD.log
_ENTRIES: Final = (body(TOLD.release, "acme"), body(TOLD.batch, "node-1"))
_WITNESS: Final = Cosigner(
    "witness.example", Ed25519PrivateKey.from_private_bytes(sha256(b"witness.example"))
)
_COSIGNATURE: Final = str(_WITNESS.cosign(HEAD.checkpoint, NOON)).encode()
_COSIGNED: Final = HEAD.note + _COSIGNATURE
_stable_policy: Final = stable(
    Policy.parse, lambda policy: str(policy).encode("utf-8", "surrogateescape")
)
_POLICY: Final = f"""# who is believed
log {_LOG.key} https://log.example/

witness w1 {_WITNESS.key} https://w1.example/
group any-of-them any w1
quorum any-of-them
"""


def text(read: Callable[[str], object]) -> Callable[[bytes], bytes]:
    """A reader of text; bytes that are no text never reach it."""

    def again(data: bytes) -> bytes:
        try:
            decoded = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedError(Reason.MALFORMED_FIELD, "this is not UTF-8") from error
        return str(read(decoded)).encode("utf-8")

    return again


def _signed_checkpoint(data: bytes) -> bytes:
    head = SignedCheckpoint.parse(data)
    with suppress(RegistryError):
        SignedCheckpoint.open(data, _LOG.key)
    return str(Note(str(head.checkpoint), Note.parse(head.note).signatures)).encode()


def _receipt(data: bytes) -> bytes:
    read = Receipt.parse(data)
    with suppress(RegistryError):
        read.verify(_ENTRIES[0], _LOG.key)
    return read.to_bytes()


def _cose(data: bytes) -> bytes:
    read = CoseReceipt.parse(data)
    with suppress(RegistryError):
        read.verify(_ENTRIES[0], _LOG.key)
    return read.to_bytes()


def _bundle(data: bytes) -> bytes:
    # The width comes with the address, so every width is tried that the length allows.
    width = max(data[0] if data else 0, 1)
    return data[:1] + entry_bundle.join(entry_bundle.split(data[1:], width))


def _request(data: bytes) -> bytes:
    asked = AddCheckpoint.parse(data)
    with suppress(RegistryError):
        request = witnessing.open_request(data, {_LOG.key.name: (_LOG.key,)})
        for last in (None, Checkpoint(_LOG.key.name, 1, WORLD.leaves[0])):
            with suppress(RegistryError):
                witnessing.advance(request, last)
    return asked.to_bytes()


def _answer(data: bytes) -> None:
    witnessing.read_answer(data, HEAD, (_WITNESS.key,))


def _policy(data: bytes) -> None:
    _stable_policy(data)
    with suppress(RegistryError):
        Policy.parse(data).verify(_COSIGNED)


TARGETS: Final = (
    Target(
        "note",
        (_COSIGNED, HEAD.note.replace(b"\n\n", b"\nextension\n\nmore\n\n")),
        lambda data: str(Note.parse(data)).encode(),
        (lines,),
    ),
    Target(
        "verifier-key",
        (str(_LOG.key).encode(), str(_WITNESS.key).encode()),
        text(lambda given: VerifierKey.parse(given, LOG_KEYS | COSIGNER_KEYS)),
    ),
    Target("checkpoint", (str(HEAD.checkpoint).encode(),), text(Checkpoint.parse), (lines,)),
    Target("signed-checkpoint", (HEAD.note, _COSIGNED), _signed_checkpoint, (lines,)),
    Target(
        "tlog-proof",
        (receipt(TOLD.release).to_bytes(), receipt(TOLD.batch).to_bytes()),
        _receipt,
        (lines,),
    ),
    Target(
        "cose-receipt",
        tuple(
            _LOG.sign_receipt(receipt(logged), entry_body).to_bytes()
            for logged, entry_body in zip((TOLD.release, TOLD.batch), _ENTRIES, strict=True)
        ),
        _cose,
        (cbor,),
    ),
    Target(
        "tile-path",
        (b"tile/0/000", b"tile/1/x001/234.p/17", b"tile/63/x999/x999/999"),
        text(TilePath.parse),
        words=(b"tile/", b"x", b"/x001/", b".p/", b".p/255", b"000"),
    ),
    Target(
        "tile",
        (b"".join(WORLD.leaves[:5]), WORLD.leaves[0] * 256),
        lambda data: ExpandedTile.from_bytes(data).to_bytes(),
    ),
    Target("entry", _ENTRIES, lambda data: entry.parse(data).to_bytes(), (members,)),
    Target(
        "entry-bundle",
        (b"\x02" + entry_bundle.join(_ENTRIES), b"\x01" + entry_bundle.join([b""])),
        _bundle,
        words=(b"\x00\x00", b"\x00\x01", b"\xff\xff"),
    ),
    Target(
        "cosignature",
        (cosignature.join(1_790_000_000, b"s" * 64),),
        lambda data: cosignature.join(*cosignature.split(data)),
    ),
    Target(
        "witness-request",
        (
            AddCheckpoint(0, (), HEAD.note).to_bytes(),
            AddCheckpoint(1, tuple(WORLD.leaves[1:4]), HEAD.note).to_bytes(),
        ),
        _request,
        (lines,),
    ),
    Target(
        "witness-answer",
        (_COSIGNATURE, _COSIGNED.partition(b"\n\n")[2]),
        _answer,
        (lines,),
    ),
    Target(
        "witness-size",
        (b"0\n", b"9223372036854775807\n"),
        lambda data: f"{witnessing.read_size(data)}\n".encode(),
    ),
    Target(
        "tlog-policy",
        (_POLICY.encode(), b"quorum none\n"),
        _policy,
        (lines,),
        (b"log ", b"witness ", b"group ", b"quorum ", b"any", b"all", b"none", b"#", b"\t"),
    ),
)
"""Every decoder of the log."""
