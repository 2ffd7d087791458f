"""COSE receipts: the proof that one entry is in the log, for readers of CBOR (RFC 9942, RFC 9943).

::

    18([                                          / COSE_Sign1 /
        << {1: -8,                                / EdDSA, by the log's key /
            4: h'<RFC 9679 thumbprint of it>',
            15: {1: "log.example",                / iss: the log's origin /
                 2: "sha256:<digest in entry>"},  / sub: what the entry is about /
            395: 1} >>,                           / RFC9162_SHA256 /
        {396: {-1: [<< [size, index, [hash, …]] >>]}},
        null,                                     / detached: the root, rebuilt from the proof /
        h'<signature>'
    ])

The encoding is deterministic (RFC 8949 §4.2.1): a receipt that would not be written back byte for
byte is refused, and so is whatever else COSE could say. The hashes are those of a tlog-proof, over
the same leaf and the same tree.

The signature covers the root and the protected header, *not* size and index: RFC 9942 keeps those
beside it, and two positions may share a path. A receipt proves that the entry is in the tree with
this root. Who needs the position asks for a tlog-proof, whose checkpoint has the size signed.

A signed root cannot be taken for a signed checkpoint: what is signed here begins with the byte
0x84, which no text begins with.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Self, TypeVar

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from registry.core import digest
from registry.core.digest import SHA256_SIZE, sha256
from registry.core.tlog import entry
from registry.core.tlog.merkle import MAX_PROOF_HASHES, leaf_hash, root_from_inclusion
from registry.core.tlog.note import VerifierKey, check_name
from registry.errors import MalformedError, Reason, VerificationError

T = TypeVar("T")

MAX_COSE_RECEIPT_BYTES: Final = 4096
"""Bytes of a receipt: 63 hashes take 2,142, the rest below 500 with an origin of common length."""

MAX_DEPTH: Final = 4
"""Containers within each other: message, unprotected header, proofs by kind, list of proofs."""

SIGNATURE_SIZE: Final = 64
"""Bytes of an Ed25519 signature."""

COSE_SIGN1: Final = 18
"""The CBOR tag of a message with one signature (RFC 9052 §4.2)."""

# Header parameters (RFC 9052 §3.1, RFC 9597 §2, RFC 9942 §2), and the values that we write.
_ALG, _KID, _CLAIMS, _VDS, _VDP = 1, 4, 15, 395, 396
_EDDSA, _RFC9162_SHA256 = -8, 1
_ISSUER, _SUBJECT = 1, 2
_INCLUSION = -1

# COSE_Key (RFC 9053 §7.2): kty OKP, crv Ed25519, x.
_KTY, _CRV, _X = 1, -1, -2
_OKP, _ED25519 = 1, 6


@dataclass(frozen=True, slots=True)
class CoseReceipt:
    """The entry about ``subject`` is in a tree that the log ``origin`` signed for.

    Attributes:
        origin: The log's name.
        subject: What the entry is about: the 32-byte digest that it records.
        key_id: RFC 9679 thumbprint of the log's key.
        size: Entries in the tree, as claimed: it fits the proof, but is not signed.
        index: The entry's index, as claimed: as ``size``.
        proof: Hashes from the leaf's sibling to the root's child.
        signature: Ed25519, over :meth:`signed_bytes`.
    """

    origin: str
    subject: bytes
    key_id: bytes
    size: int
    index: int
    proof: tuple[bytes, ...]
    signature: bytes = b""

    @property
    def _protected(self) -> bytes:
        claims = {_ISSUER: self.origin, _SUBJECT: digest.text(self.subject)}
        return _write({_ALG: _EDDSA, _KID: self.key_id, _CLAIMS: claims, _VDS: _RFC9162_SHA256})

    def signed_bytes(self, root: bytes) -> bytes:
        """What the log signs: the Sig_structure over the detached ``root`` (RFC 9052 §4.4)."""
        return _write(["Signature1", self._protected, b"", root])

    def to_bytes(self) -> bytes:
        """The one spelling."""
        proof = _write([self.size, self.index, list(self.proof)])
        unprotected = {_VDP: {_INCLUSION: [proof]}}
        message = [self._protected, unprotected, None, self.signature]
        return _write(cbor2.CBORTag(COSE_SIGN1, message))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a receipt exactly, without judging it.

        Raises:
            MalformedError: ``MALFORMED_COSE``.
        """
        if len(data) > MAX_COSE_RECEIPT_BYTES:
            raise MalformedError(
                Reason.MALFORMED_COSE,
                "this COSE receipt is too long",
                expected=f"at most {MAX_COSE_RECEIPT_BYTES} bytes",
                actual=f"{len(data)} bytes",
            )
        try:
            receipt = cls._read(data)
        except MalformedError as error:
            raise MalformedError(
                Reason.MALFORMED_COSE,
                "this is not a COSE receipt of a provreg log",
                where=error.where,
                actual=error.what,
            ) from error
        if receipt.to_bytes() != data:
            raise MalformedError(
                Reason.MALFORMED_COSE,
                "this COSE receipt is not in deterministic encoding",
                hint="nothing may be left out, added, reordered or spelled longer",
            )
        return receipt

    @classmethod
    def _read(cls, data: bytes) -> Self:
        # The one tag stands first; every further one is refused before it means anything.
        if data[:1] != bytes([0xC0 + COSE_SIGN1]):
            raise _malformed("the message is not tagged as COSE_Sign1")
        message = _list(_load(data[1:]), 4, "message")
        protected = _map(_load(_kind(message[0], bytes, "protected header")), "protected header")
        claims = _map(protected.get(_CLAIMS), "claims")
        proofs = _map(_map(message[1], "unprotected header").get(_VDP), "proofs")
        blob = _list(proofs.get(_INCLUSION), 1, "inclusion proofs")[0]
        size, index, path = _list(_load(_kind(blob, bytes, "inclusion proof")), 3, "proof")
        hashes = _kind(path, list, "inclusion path")
        origin = _kind(claims.get(_ISSUER), str, "issuer")
        check_name(origin)
        receipt = cls(
            origin,
            digest.parse(_kind(claims.get(_SUBJECT), str, "subject")),
            _bytes(protected.get(_KID), SHA256_SIZE, "key id"),
            _kind(size, int, "tree size"),
            _kind(index, int, "leaf index"),
            tuple(_bytes(item, SHA256_SIZE, "inclusion path") for item in hashes),
            _bytes(message[3], SIGNATURE_SIZE, "signature"),
        )
        if not 0 <= receipt.index < receipt.size < 2**63 or len(hashes) > MAX_PROOF_HASHES:
            raise _malformed("index, size and path do not make a proof", "inclusion proof")
        return receipt

    def root(self, body: bytes) -> bytes:
        """The root that the proof leads to from the entry with bytes ``body``.

        Raises:
            VerificationError: ``INCLUSION_PROOF`` if index or number of hashes do not fit the size.
        """
        return root_from_inclusion(leaf_hash(body), self.index, self.size, self.proof)

    def verify(self, body: bytes, log_key: VerifierKey) -> None:
        """Check that the entry with bytes ``body`` is in a tree that ``log_key`` signed for.

        Raises:
            MalformedError: ``MALFORMED_ENTRY``: ``body`` is no entry.
            VerificationError: ``WRONG_LOG``, ``SUBJECT_MISMATCH``, ``INCLUSION_PROOF``, or
                ``LOG_SIGNATURE``, which is also what another entry than the proven one leads to.
        """
        if (self.origin, self.key_id) != (log_key.name, thumbprint(log_key)):
            raise VerificationError(
                Reason.WRONG_LOG,
                "this receipt is by another log, or by another key of it",
                expected=f"{log_key.name}, key {thumbprint(log_key).hex()}",
                actual=f"{self.origin}, key {self.key_id.hex()}",
            )
        about = entry.parse(body).digest
        if about != self.subject:
            raise VerificationError(
                Reason.SUBJECT_MISMATCH,
                "this receipt is about another entry",
                expected=digest.text(about),
                actual=digest.text(self.subject),
            )
        # RFC 9942 §5.2.1: first the proof, then the signature over what it leads to.
        message = self.signed_bytes(self.root(body))
        try:
            Ed25519PublicKey.from_public_bytes(log_key.public_key).verify(self.signature, message)
        except InvalidSignature as error:
            raise VerificationError(
                Reason.LOG_SIGNATURE,
                "the log did not sign the root that this proof leads to",
                where=self.origin,
            ) from error


def thumbprint(key: VerifierKey) -> bytes:
    """How COSE names the log's key: SHA-256 of its COSE_Key (RFC 9679 §3, §4.1)."""
    return sha256(_write({_KTY: _OKP, _CRV: _ED25519, _X: key.public_key}))


def _write(value: object) -> bytes:
    # For our keys, RFC 7049's length-first order and RFC 8949's bytewise one are the same.
    return cbor2.dumps(value, canonical=True)


def _refuse_tag(*_: object) -> NoReturn:
    message = "a tag"
    raise ValueError(message)


def _load(data: bytes) -> Any:
    try:
        return cbor2.loads(
            data,
            # A tag may mean a date, a regular expression, a message or a circle: none belongs here.
            semantic_decoders=defaultdict(lambda: _refuse_tag),
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise _malformed(f"this is not CBOR that a receipt may hold: {error}"[:200]) from error


def _malformed(what: str, where: str = "") -> MalformedError:
    return MalformedError(Reason.MALFORMED_COSE, what, where=where)


def _kind(value: object, kind: type[T], where: str) -> T:
    # Exactly that type: true is no 1.
    if type(value) is not kind:
        raise _malformed(f"a {kind.__name__} is missing", where)
    return value


def _bytes(value: object, size: int, where: str) -> bytes:
    found = _kind(value, bytes, where)
    if len(found) != size:
        raise _malformed(f"{size} bytes are missing", where)
    return found


def _list(value: object, length: int, where: str) -> Sequence[Any]:
    found = _kind(value, list, where)
    if len(found) != length:
        raise _malformed(f"it has {len(found)} items, not {length}", where)
    return found


def _map(value: object, where: str) -> Mapping[object, Any]:
    return _kind(value, dict, where)
