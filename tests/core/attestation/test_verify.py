"""The one order of checks: what is accepted, and everything that must be refused.

Bundles are minted by a private Sigstore with real keys, whole or with one part wrong.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from registry.core import encoding
from registry.core.attestation.bundle import Bundle, Message
from registry.core.attestation.dsse import Envelope, pae
from registry.core.attestation.identity import Expected, Identity
from registry.core.attestation.trusted_root import Trust, TrustedRoot
from registry.core.attestation.verify import Opened, open_bundle
from registry.core.digest import sha256
from registry.core.keys import PublicKey
from registry.core.tlog import entry
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import Note, SignatureLine
from registry.core.tlog.policy import Policy
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.errors import Reason, RegistryError, VerificationError
from registry.signing.cosigner import Cosigner
from tests.authorities import NOON, leaf, root
from tests.authorities import Authority as TimestampAuthority
from tests.private_certificates import CA, CTLog, Leaf, p256, spki
from tests.private_sigstore import ARTIFACT, ECDSA, HOST, SIGNER, STATEMENT, Log, Sigstore

OURS = Sigstore()
TRUST = Trust.of(OURS.root)
MESSAGE = OURS.sign()
ATTESTED = OURS.attest()
BARE = OURS.sign(certified=False)
DIGEST = sha256(ARTIFACT)
MINUTE = timedelta(minutes=1)
KEY = OURS.public_key
STRANGER = PublicKey.parse(spki(p256(99)))


def opened(
    bundle: Bundle = MESSAGE,
    trust: Trust = TRUST,
    expected: Expected = SIGNER,
    artifact: bytes | None = DIGEST,
) -> Opened:
    # What is verified is what was written, not what was built.
    return open_bundle(Bundle.parse(bundle.to_bytes()), trust, expected, artifact=artifact)


def refusal(
    bundle: Bundle = MESSAGE,
    trust: Trust = TRUST,
    expected: Expected = SIGNER,
    artifact: bytes | None = DIGEST,
) -> Reason:
    with pytest.raises(RegistryError) as caught:
        opened(bundle, trust, expected, artifact)
    return caught.value.reason


def trusting(**parts: object) -> Trust:
    """Our trusted root with parts of another instance."""
    world = replace(OURS, **parts)  # type: ignore[arg-type]  # parts are checked by who uses them
    return Trust.of(world.root)


def logged(bundle: Bundle, **parts: object) -> Bundle:
    """The bundle with another log entry."""
    return replace(bundle, entry=replace(bundle.entry, **parts))  # type: ignore[arg-type]  # as above


def noted(bundle: Bundle, edit: Callable[[Note], Note]) -> Bundle:
    """The bundle with another note around its checkpoint."""
    note = edit(Note.parse(bundle.entry.checkpoint))
    return logged(bundle, checkpoint=str(note).encode())


# Accepted.


def test_a_signature_over_bytes_says_who_and_when() -> None:
    result = opened()
    assert (result.signer, result.times, result.digest) == (SIGNER, (NOON,), DIGEST)
    assert (result.payload, result.log.host) == (None, HOST)


@pytest.mark.parametrize("artifact", [None, DIGEST], ids=["not asked", "its subject"])
def test_a_statement_is_accepted(artifact: bytes | None) -> None:
    result = opened(ATTESTED, artifact=artifact)
    assert result.payload == STATEMENT


def test_a_bare_key_is_accepted_with_and_without_a_timestamp() -> None:
    assert opened(BARE, expected=KEY).times == (NOON,)
    assert opened(replace(BARE, timestamps=()), expected=KEY).times == ()
    assert opened(OURS.attest(certified=False), expected=KEY).payload == STATEMENT


def test_a_promise_with_extensions_is_accepted() -> None:
    world = replace(OURS, ct=CTLog(extensions=bytes.fromhex("0000050000000007")))
    opened(world.sign())


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_lines_by_others_do_not_matter(before: bool) -> None:
    others = tuple(
        SignatureLine(name, b"\x01\x02\x03\x04", b"not ours")
        for name in ("witness.example", "other.example", HOST)
    )

    def edit(note: Note) -> Note:
        lines = (*others, *note.signatures) if before else (*note.signatures, *others)
        return Note(note.text, lines)

    opened(noted(MESSAGE, edit))


def test_an_extension_line_in_a_foreign_checkpoint_is_accepted() -> None:
    def edit(note: Note) -> Note:
        text = f"{note.text}Log frozen\n"
        signature = OURS.log.key.sign(text.encode())
        return Note(text, (replace(note.signatures[0], signature=signature),))

    opened(noted(MESSAGE, edit))


@pytest.mark.parametrize("embedded", [0, 1, 2])
def test_a_timestamp_may_carry_certificates(embedded: int) -> None:
    from tests.authorities import granted  # noqa: PLC0415 - reads beside its use

    token = OURS.tsa.token(MESSAGE.signature, embed=OURS.tsa.certificates[:embedded])
    opened(replace(MESSAGE, timestamps=(granted(token),)))


def test_authorities_that_have_expired_since_are_accepted() -> None:
    short = TimestampAuthority(
        recipes=(leaf(end=NOON + MINUTE, number=5), root(end=NOON + MINUTE, number=6))
    )
    world = replace(OURS, tsa=short)
    opened(world.sign(), trusting(tsa=short))


def test_the_last_second_of_each_window_counts() -> None:
    wire = OURS.root
    ends = encoding.time_text(NOON)
    text = wire.to_bytes().decode()
    closed = text.replace('"validFor":{"start"', f'"validFor":{{"end":"{ends}","start"')
    assert closed.count(ends) == 4
    assert opened(trust=Trust.parse(closed.encode())).times == (NOON,)


def test_one_of_several_instances_is_enough() -> None:
    other = Sigstore(
        ca=CA.root("other", key=p256(41)),
        ct=CTLog(key=p256(42)),
        tsa=TimestampAuthority(recipes=(leaf("else", number=7), root("else root", number=8))),
        log=Log("other.example", Ed25519PrivateKey.generate()),
    ).root
    ours = OURS.root
    both = TrustedRoot(
        media_type=ours.media_type,
        tlogs=other.tlogs + ours.tlogs,
        certificate_authorities=other.certificate_authorities + ours.certificate_authorities,
        ctlogs=other.ctlogs + ours.ctlogs,
        timestamp_authorities=other.timestamp_authorities + ours.timestamp_authorities,
    )
    opened(trust=Trust.of(both))


def cosigned(bundle: Bundle, *cosigners: Cosigner) -> Bundle:
    """The bundle with these cosignatures under its checkpoint."""
    head = SignedCheckpoint.parse(bundle.entry.checkpoint).checkpoint
    lines = "".join(str(cosigner.cosign(head, NOON)) for cosigner in cosigners)
    return logged(bundle, checkpoint=bundle.entry.checkpoint + lines.encode())


def test_a_policy_asks_for_cosignatures() -> None:
    first, second = Cosigner.generate("one.example"), Cosigner.generate("two.example")
    text = (
        f"log {OURS.log.verifier}\nwitness one {first.key}\nwitness two {second.key}\n"
        "group both all one two\nquorum both\n"
    )
    policy = Policy.parse(text.encode())
    for bundle, expected in ((MESSAGE, SIGNER), (BARE, KEY)):
        full = Bundle.parse(cosigned(bundle, first, second).to_bytes())
        open_bundle(full, TRUST, expected, artifact=DIGEST, policy=policy)
        with pytest.raises(VerificationError) as caught:
            half = cosigned(bundle, first)
            open_bundle(half, TRUST, expected, artifact=DIGEST, policy=policy)
        assert caught.value.reason is Reason.QUORUM


# Refused: what is signed.


def test_other_bytes_are_refused() -> None:
    assert refusal(artifact=sha256(b"other")) is Reason.ARTIFACT_MISMATCH
    assert refusal(artifact=None) is Reason.ARTIFACT_MISMATCH
    assert refusal(ATTESTED, artifact=sha256(b"other")) is Reason.ARTIFACT_MISMATCH


def test_other_bytes_are_refused_also_without_a_digest_in_the_bundle() -> None:
    silent = replace(MESSAGE, content=Message(MESSAGE.signature, b""))
    opened(silent)
    assert refusal(silent, artifact=sha256(b"other")) is Reason.ENTRY_MISMATCH


@pytest.mark.parametrize(
    "payload",
    [b"{}", b"[]", b"no", b'{"subject":[{"digest":{"sha256":[]}}]}', b'{"subject":{}}'],
)
def test_a_statement_without_subjects_is_about_nothing(payload: bytes) -> None:
    assert refusal(OURS.attest(payload)) is Reason.MALFORMED_STATEMENT


def test_a_statement_with_very_many_subjects_is_refused() -> None:
    payload = b'{"subject":[%s]}' % b",".join([b'{"digest":{}}'] * 1025)
    assert refusal(OURS.attest(payload)) is Reason.MALFORMED_STATEMENT


def resigned(bundle: Bundle, key_number: int) -> Bundle:
    """The bundle with another signature by key ``key_number``, freshly stamped."""
    content = bundle.content
    assert isinstance(content, Envelope)
    signature = p256(key_number).sign(content.signed_bytes, ECDSA)
    return replace(
        bundle, content=replace(content, signature=signature), timestamps=(OURS.stamp(signature),)
    )


def test_the_same_statement_signed_again_by_the_same_key_is_refused() -> None:
    assert refusal(resigned(ATTESTED, 21)) is Reason.ENTRY_MISMATCH


def test_a_signature_by_another_key_is_refused() -> None:
    assert refusal(resigned(ATTESTED, 22)) is Reason.ENTRY_MISMATCH


def test_a_signature_by_another_key_is_refused_also_if_it_was_logged() -> None:
    signature = p256(22).sign(ARTIFACT, ECDSA)
    forged = OURS.bundle(Message(signature, DIGEST), DIGEST)
    assert refusal(forged) is Reason.BAD_SIGNATURE
    bare = OURS.bundle(Message(signature, DIGEST), DIGEST, certified=False)
    assert refusal(bare, expected=KEY) is Reason.BAD_SIGNATURE


def test_the_twin_of_a_signature_is_another_signature() -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(MESSAGE.signature)
    twin = encode_dss_signature(r, order - s)
    KEY.verify(twin, ARTIFACT)
    swapped = replace(MESSAGE, content=Message(twin, DIGEST), timestamps=(OURS.stamp(twin),))
    assert refusal(swapped) is Reason.ENTRY_MISMATCH


def test_another_envelope_is_refused() -> None:
    other = OURS.attest(STATEMENT.replace(b"weights", b"Weights"))
    assert refusal(replace(ATTESTED, content=other.content)) is Reason.TIMESTAMP_IMPRINT
    stamped = replace(ATTESTED, content=other.content, timestamps=other.timestamps)
    assert refusal(stamped) is Reason.ENTRY_MISMATCH


# Refused: who signed.


@pytest.mark.parametrize(
    "expected",
    [
        Identity(SIGNER.issuer, SIGNER.name + "x"),
        Identity(SIGNER.issuer + "/", SIGNER.name),
        Identity(SIGNER.issuer, SIGNER.name.upper()),
        Identity("", ""),
        KEY,
    ],
    ids=["another name", "another issuer", "another case", "nobody", "the bare key"],
)
def test_somebody_else_is_refused(expected: Expected) -> None:
    assert refusal(expected=expected) is Reason.IDENTITY_MISMATCH


def test_a_bare_key_needs_to_be_known() -> None:
    assert refusal(BARE) is Reason.IDENTITY_MISMATCH
    assert refusal(BARE, expected=STRANGER) is Reason.ENTRY_MISMATCH


def test_another_certificate_for_the_same_key_is_refused() -> None:
    again = replace(OURS, leaf=Leaf(start=NOON - 2 * MINUTE)).sign()
    swapped = replace(MESSAGE, certificate=again.certificate)
    assert refusal(swapped) is Reason.ENTRY_MISMATCH


# Refused: certificates.


def test_an_unknown_authority_is_refused() -> None:
    other = CA.root("acme root", key=p256(51)).below("acme", key=p256(52))
    assert refusal(trust=trusting(ca=other)) is Reason.CERTIFICATE_CHAIN
    assert refusal(trust=trusting(ca=CA.root("other"))) is Reason.UNKNOWN_AUTHORITY


def test_another_ct_log_is_refused() -> None:
    assert refusal(trust=trusting(ct=CTLog(key=p256(53)))) is Reason.SCT
    without = replace(OURS.instance, ct_keys=()).trusted_root()
    assert refusal(trust=Trust.of(without)) is Reason.SCT


def test_a_certificate_without_a_promise_is_refused() -> None:
    class Silent(CTLog):
        def certify(self, ca: CA, leaf: Leaf) -> bytes:
            return leaf.plain(ca)

    assert refusal(replace(OURS, ct=Silent()).sign()) is Reason.SCT


@pytest.mark.parametrize(
    "leaf_of",
    [Leaf(start=NOON + MINUTE), Leaf(end=NOON - MINUTE)],
    ids=["not yet valid", "no longer valid"],
)
def test_a_certificate_used_outside_its_life_is_refused(leaf_of: Leaf) -> None:
    assert refusal(replace(OURS, leaf=leaf_of).sign()) is Reason.CERTIFICATE_TIME


def windowed(member: str, start: datetime, end: datetime) -> Trust:
    """Our trusted root, in which one list has another window."""
    text = OURS.root.to_bytes().decode()
    head, found, tail = text.partition(f'"{member}":[')
    cut = tail.index("]" if member in ("tlogs", "ctlogs") else '"validFor"')
    cut = tail.index('"validFor":{', 0) if cut else cut
    shut = tail.index("}", cut)
    window = f'"validFor":{{"end":"{encoding.time_text(end)}","start":"{encoding.time_text(start)}"'
    return Trust.parse(f"{head}{found}{tail[:cut]}{window}{tail[shut:]}".encode())


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("tlogs", Reason.LOG_TIME),
        ("certificateAuthorities", Reason.CERTIFICATE_TIME),
        ("ctlogs", Reason.SCT),
        ("timestampAuthorities", Reason.TIMESTAMP_VALIDITY),
    ],
)
@pytest.mark.parametrize("late", [True, False], ids=["later", "earlier"])
def test_what_was_not_trusted_at_the_time_is_refused(
    member: str, reason: Reason, late: bool
) -> None:
    day = timedelta(days=1)
    wide = windowed(member, NOON - day, NOON + day)
    opened(trust=wide)
    if late:
        narrow = windowed(member, NOON + MINUTE, NOON + day)
    else:
        narrow = windowed(member, NOON - day, NOON - 10 * MINUTE)
    assert refusal(trust=narrow) is reason


def test_a_certificate_issued_before_its_authority_was_trusted_is_refused() -> None:
    trust = windowed("certificateAuthorities", NOON - MINUTE, NOON + MINUTE)
    assert refusal(trust=trust) is Reason.CERTIFICATE_TIME


# Refused: time.


def test_a_certificate_without_a_time_is_refused() -> None:
    assert refusal(replace(MESSAGE, timestamps=())) is Reason.NO_TRUSTED_TIME


def test_a_bare_key_in_a_retired_log_needs_a_time() -> None:
    retired = windowed("tlogs", NOON - MINUTE, NOON + MINUTE)
    opened(BARE, retired, KEY)
    assert refusal(replace(BARE, timestamps=()), retired, KEY) is Reason.NO_TRUSTED_TIME


def test_a_time_that_nobody_signed_is_no_time() -> None:
    claimed = logged(replace(MESSAGE, timestamps=()), integrated_time=int(NOON.timestamp()))
    assert refusal(claimed) is Reason.NO_TRUSTED_TIME


def test_a_timestamp_over_another_signature_is_refused() -> None:
    other = replace(MESSAGE, timestamps=(OURS.stamp(b"another signature"),))
    assert refusal(other) is Reason.TIMESTAMP_IMPRINT


def test_one_wrong_timestamp_beside_a_right_one_is_refused() -> None:
    two = replace(MESSAGE, timestamps=(*MESSAGE.timestamps, OURS.stamp(b"another signature")))
    assert refusal(two) is Reason.TIMESTAMP_IMPRINT


def test_a_timestamp_without_a_trusted_authority_is_refused() -> None:
    without = replace(OURS.instance, timestamp_authorities=()).trusted_root()
    assert refusal(trust=Trust.of(without)) is Reason.NO_TRUSTED_TIME
    assert refusal(BARE, Trust.of(without), KEY) is Reason.NO_TRUSTED_TIME


def test_an_unknown_timestamp_authority_is_refused() -> None:
    other = TimestampAuthority(recipes=(leaf("else", number=7), root("else root", number=8)))
    assert refusal(trust=trusting(tsa=other)) is Reason.TIMESTAMP_SIGNER


def test_every_time_must_fit_the_certificate() -> None:
    late = OURS.stamp(MESSAGE.signature, NOON + 10 * MINUTE)
    both = replace(MESSAGE, timestamps=(*MESSAGE.timestamps, late))
    assert refusal(both) is Reason.CERTIFICATE_TIME


# Refused: the log.


def test_an_unknown_log_is_refused() -> None:
    other = Log("other.example", Ed25519PrivateKey.generate())
    assert refusal(trust=trusting(log=other)) is Reason.WRONG_LOG
    assert refusal(logged(MESSAGE, log_id=bytes(32))) is Reason.WRONG_LOG


def test_a_checkpoint_signed_under_another_name_is_refused() -> None:
    """By the right key, for another origin: a log is known by its host."""
    body = MESSAGE.entry.body
    receipt = Log("other.example", OURS.log.key).record(body)
    entry_ = TransparencyLogEntry.proved(body, receipt, OURS.log.verifier)
    assert refusal(replace(MESSAGE, entry=entry_)) is Reason.WRONG_LOG


def test_a_checkpoint_without_the_log_s_line_is_refused() -> None:
    def edit(note: Note) -> Note:
        return Note(note.text, (SignatureLine("witness.example", b"\x01\x02\x03\x04", b"x"),))

    assert refusal(noted(MESSAGE, edit)) is Reason.WRONG_LOG


@pytest.mark.parametrize("part", ["name", "key_id"])
def test_a_line_with_another_name_or_hint_is_not_the_log_s(part: str) -> None:
    def edit(note: Note) -> Note:
        line = note.signatures[0]
        wrong = (
            replace(line, name="other.example")
            if part == "name"
            else replace(line, key_id=b"\x01\x02\x03\x04")
        )
        return Note(note.text, (wrong,))

    assert refusal(noted(MESSAGE, edit)) is Reason.WRONG_LOG


def test_a_wrong_signature_by_the_log_is_refused_even_beside_a_right_one() -> None:
    def edit(note: Note) -> Note:
        line = note.signatures[0]
        wrong = replace(line, signature=bytes([line.signature[0] ^ 1]) + line.signature[1:])
        return Note(note.text, (line, wrong))

    assert refusal(noted(MESSAGE, edit)) is Reason.LOG_SIGNATURE


def test_an_empty_extension_line_is_refused() -> None:
    def edit(note: Note) -> Note:
        text = f"{note.text}\nx\n"
        signature = OURS.log.key.sign(text.encode())
        return Note(text, (replace(note.signatures[0], signature=signature),))

    assert refusal(noted(MESSAGE, edit)) is Reason.MALFORMED_CHECKPOINT


@pytest.mark.parametrize("line", [0, 1, 2], ids=["origin", "size", "root"])
def test_a_checkpoint_without_a_line_is_refused(line: int) -> None:
    def edit(note: Note) -> Note:
        lines = note.text.split("\n")
        del lines[line]
        text = "\n".join(lines)
        signature = OURS.log.key.sign(text.encode())
        return Note(text, (replace(note.signatures[0], signature=signature),))

    assert refusal(noted(MESSAGE, edit)) is Reason.MALFORMED_CHECKPOINT


PROOF = MESSAGE.entry.proof


WRONG_PROOFS: dict[str, dict[str, object]] = {
    "root": {"root": bytes(32)},
    "size": {"size": MESSAGE.entry.size + 1},
    "leaf index": {"leaf_index": MESSAGE.entry.index + 1},
    "both indices": {"index": MESSAGE.entry.index + 1, "leaf_index": MESSAGE.entry.index + 1},
    "index": {"index": MESSAGE.entry.index + 1},
    "no first hash": {"proof": PROOF[1:]},
    "no last hash": {"proof": PROOF[:-1]},
    "no hashes": {"proof": ()},
    "one more hash": {"proof": (*PROOF, bytes(32))},
    "one more in front": {"proof": (bytes(32), *PROOF)},
    "another order": {"proof": PROOF[::-1]},
    "a flipped bit": {"proof": (bytes([PROOF[0][0] ^ 1]) + PROOF[0][1:], *PROOF[1:])},
    "another body": {"body": MESSAGE.entry.body.replace(b"0.0.2", b"0.0.3")},
}


@pytest.mark.parametrize("parts", WRONG_PROOFS.values(), ids=WRONG_PROOFS)
def test_a_wrong_proof_is_refused(parts: dict[str, object]) -> None:
    assert refusal(logged(MESSAGE, **parts)) is Reason.INCLUSION_PROOF


def test_a_proof_from_an_older_checkpoint_is_refused() -> None:
    short = OURS.log.record(MESSAGE.entry.body, after=())
    head = short.head.checkpoint
    assert (
        refusal(logged(MESSAGE, checkpoint=short.head.note, size=head.size, root=head.root))
        is Reason.INCLUSION_PROOF
    )
    assert refusal(logged(MESSAGE, checkpoint=short.head.note)) is Reason.INCLUSION_PROOF


def entered(body: bytes, **parts: object) -> Bundle:
    """Our bundle around another entry, properly logged."""
    made = TransparencyLogEntry.proved(body, OURS.log.record(body), OURS.log.verifier)
    return logged(replace(MESSAGE, entry=made), **parts)


OTHER_CERTIFICATE = OURS.ct.certify(OURS.ca, Leaf(key=p256(23)))


@pytest.mark.parametrize(
    "body",
    [
        entry.write_certified(sha256(b"x"), MESSAGE.signature, MESSAGE.certificate),
        entry.write_certified(DIGEST, BARE.signature, MESSAGE.certificate),
        entry.write_certified(DIGEST, MESSAGE.signature, OTHER_CERTIFICATE),
        entry.write(DIGEST, MESSAGE.signature, KEY.der),
        MESSAGE.entry.body.replace(b'":', b'": '),
    ],
    ids=["artifact", "signature", "certificate", "bare key", "spelling"],
)
def test_an_entry_about_something_else_is_refused(body: bytes) -> None:
    assert refusal(entered(body)) is Reason.ENTRY_MISMATCH


@pytest.mark.parametrize(
    ("kind", "version"),
    [("hashedrekord", "0.0.3"), ("dsse", "0.0.2"), ("intoto", "0.0.1"), ("rpm", "0.0.1")],
)
def test_another_kind_of_entry_is_refused(kind: str, version: str) -> None:
    assert refusal(logged(MESSAGE, kind=kind, version=version)) is Reason.MALFORMED_LOG_ENTRY


def test_a_statement_s_entry_is_over_its_pae() -> None:
    content = ATTESTED.content
    assert isinstance(content, Envelope)
    body = entry.write_certified(sha256(content.payload), content.signature, ATTESTED.certificate)
    made = TransparencyLogEntry.proved(body, OURS.log.record(body), OURS.log.verifier)
    assert refusal(replace(ATTESTED, entry=made)) is Reason.ENTRY_MISMATCH
    assert pae("t", b"") == b"DSSEv1 1 t 0 "


def test_a_checkpoint_of_an_empty_tree_proves_nothing() -> None:
    note = OURS.log.note(Checkpoint(HOST, 0, sha256(b"")))
    empty = logged(MESSAGE, checkpoint=note, size=0, root=sha256(b""), proof=())
    assert refusal(empty) is Reason.INCLUSION_PROOF


def test_a_refusal_is_about_the_bundle_not_about_us() -> None:
    with pytest.raises(VerificationError) as caught:
        opened(expected=Identity("https://issuer.example", "mallory"))
    assert "mallory" in str(caught.value)
    assert SIGNER.name in str(caught.value)
    assert NOON.tzinfo is UTC
