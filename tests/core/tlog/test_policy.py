"""Trust policies: the cases of transparency-dev/formats ``tlog_policy_test.go``, and more."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.encoding import base64_text
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.cosignature import ed25519_message, join
from registry.core.tlog.note import (
    ED25519_COSIGNATURE,
    Note,
    SignatureLine,
    VerifierKey,
    key_id,
)
from registry.core.tlog.policy import MAX_OF_A_KIND, MAX_POLICY_BYTES, Group, Log, Policy, Witness
from registry.errors import MalformedError, Reason, VerificationError
from registry.signing.cosigner import Cosigner
from registry.signing.file import LogSigner

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
LOG = LogSigner.generate("example.com/log")
W = [Cosigner.generate(f"witness.example/{n}") for n in range(6)]
PQ = Cosigner.generate("pq.example", post_quantum=True)
LOG_PQ = Cosigner.generate("example.com/log", post_quantum=True)
HEAD = Checkpoint("example.com/log", 42, bytes(32))
DEFINITIONS = "".join(f"witness w{n} {W[n].key}\n" for n in range(6))


def policy(text: str) -> Policy:
    return Policy.parse(text.encode("utf-8", "surrogateescape"))


def cosigned(*signers: Cosigner, log: LogSigner = LOG) -> bytes:
    note = Note.parse(log.sign(HEAD).note)
    lines = tuple(signer.cosign(HEAD, AT) for signer in signers)
    return str(Note(note.text, (*note.signatures, *lines))).encode()


def refusal(text: str) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        policy(text)
    return caught.value


def test_the_example_of_the_specification() -> None:
    x1, x2, x3, y1, y2, y3 = (signer.key for signer in W)
    parsed = policy(
        f"log {LOG.key}\n\nwitness X1 {x1}\nwitness X2 {x2}\nwitness X3 {x3}\n"
        f"group X-witnesses 2 X1 X2 X3\n\nwitness Y1 {y1}\nwitness Y2 {y2}\nwitness Y3 {y3}\n"
        "group Y-witnesses any Y1 Y2 Y3\n\ngroup X-and-Y all X-witnesses Y-witnesses\n"
        "quorum X-and-Y\n"
    )
    assert parsed.logs == (Log(LOG.key),)
    assert parsed.witnesses[3] == Witness("Y1", y1)
    assert parsed.groups == (
        Group("X-witnesses", 2, ("X1", "X2", "X3")),
        Group("Y-witnesses", 1, ("Y1", "Y2", "Y3")),
        Group("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
    )
    assert parsed.quorum == "X-and-Y"
    parsed.verify(cosigned(W[0], W[2], W[4]))
    with pytest.raises(VerificationError) as caught:
        parsed.verify(cosigned(W[0], W[1], W[2]))
    assert caught.value.reason is Reason.QUORUM
    assert "missing Y1, Y2, Y3" in caught.value.actual


def test_the_smallest_policy() -> None:
    assert policy("quorum none\n") == Policy((), (), (), "none")
    policy("quorum none").verify(cosigned())


def test_blanks_and_comments_are_free() -> None:
    parsed = policy(
        f"\n# comment\n\t # another\n\twitness \t w1  {W[0].key}   https://w1.example.com/  \n\n"
        "  quorum\tw1"
    )
    assert parsed.witnesses == (Witness("w1", W[0].key, "https://w1.example.com/"),)


def test_names_are_opaque_bytes() -> None:
    text = f"witness \u212aelvin-w\udc80 {W[0].key}\nquorum \u212aelvin-w\udc80\n"
    assert policy(text).quorum == "\u212aelvin-w\udc80"
    refusal(text.replace("quorum \u212a", "quorum K"))
    with pytest.raises(VerificationError) as caught:
        policy(text).verify(cosigned())
    # It can be printed, whatever it is.
    assert str(caught.value).encode()


def test_keywords_other_than_none_are_names() -> None:
    parsed = policy(
        f"witness all {W[0].key}\nwitness any {W[1].key}\ngroup group 2 all any\nquorum group\n"
    )
    parsed.verify(cosigned(W[0], W[1]))


def test_a_witness_may_be_post_quantum() -> None:
    parsed = policy(f"witness w1 {PQ.key}\nquorum w1\n")
    parsed.verify(cosigned(PQ))
    with pytest.raises(VerificationError):
        parsed.verify(cosigned(W[0]))


@pytest.mark.parametrize("line", ["log {key}\nquorum none", "witness pq {key}\nquorum pq"])
def test_a_policy_can_demand_the_logs_own_post_quantum_signature(line: str) -> None:
    demanding = policy(line.format(key=LOG_PQ.key))
    demanding.verify(cosigned(LOG_PQ))
    with pytest.raises(VerificationError) as caught:
        demanding.verify(cosigned())
    assert caught.value.reason in (Reason.QUORUM, Reason.WRONG_LOG)


UNKNOWN = b"\x63" + bytes(32)
ECDSA = f"ecdsa.example+00000000+{base64_text(bytes([2, 1, 2, 3]))}"
UNKNOWN_VKEY = f"u.example+{key_id('u.example', 0x63, bytes(32)).hex()}+{base64_text(UNKNOWN)}"
IMPOSTOR = VerifierKey("impostor.example", W[0].key.public_key, ED25519_COSIGNATURE)


NOT_POLICIES = [
    "quorum none\n\x01",
    "quorum none\r\n",
    "quorum none\x7f\n",
    "quibble w1\nquorum none\n",
    f"witness w1 {W[0].key} https://w1.example.com/ # comment\nquorum w1\n",
    "log\nquorum none\n",
    "log garbage\nquorum none\n",
    f"log {UNKNOWN_VKEY}\nquorum none\n",
    f"log {W[0].key}\nquorum none\n",
    f"log {LOG.key}\nlog {LOG.key} https://log.example/\nquorum none\n",
    "witness w1\nquorum none\n",
    f"witness w1 {ECDSA}\nquorum w1\n",
    f"witness w1 {LOG.key}\nquorum w1\n",
    f"witness none {W[0].key}\nquorum none\n",
    f"witness w1 {W[0].key}\nwitness w1 {W[1].key}\nquorum w1\n",
    f"witness w1 {W[0].key}\nwitness w2 {IMPOSTOR}\nquorum w1\n",
    f"witness w1 {W[0].key}\ngroup w1 any w1\nquorum w1\n",
    f"witness w1 {W[0].key}\ngroup g1 1\nquorum w1\n",
    f"witness w1 {W[0].key}\ngroup none any w1\nquorum none\n",
    f"witness w1 {W[0].key}\ngroup g1 0 w1\nquorum g1\n",
    f"witness w1 {W[0].key}\ngroup g1 -1 w1\nquorum g1\n",
    f"witness w1 {W[0].key}\ngroup g1 01 w1\nquorum g1\n",
    f"witness w1 {W[0].key}\ngroup g1 2 w1\nquorum g1\n",
    f"witness w1 {W[0].key}\ngroup g1 any w2\nquorum g1\n",
    f"group g1 any w1\nwitness w1 {W[0].key}\nquorum g1\n",
    f"witness w1 {W[0].key}\ngroup g1 any none w1\nquorum g1\n",
    f"witness w1 {W[0].key}\ngroup g1 any g1 w1\nquorum g1\n",
    f"witness w1 {W[0].key}\ngroup g1 all w1 w1\nquorum g1\n",
    f"{DEFINITIONS}group g1 any w1 w2\ngroup g2 any w1\nquorum g1\n",
    f"witness w1 {W[0].key}\n",
    f"witness w1 {W[0].key}\nquorum w1\nquorum w1\n",
    "quorum unknown\n",
    f"quorum w1\nwitness w1 {W[0].key}\n",
    "quorum\n",
    f"log \udcff{LOG.key}\nquorum none\n",
    "#" * (MAX_POLICY_BYTES + 1),
    f"{DEFINITIONS}" + "".join(f"group g{n} 1 g{n - 1}\n" for n in range(1, 3)),
]


# Keys are made anew by every worker; the names of cases must not hold them.
@pytest.mark.parametrize("text", NOT_POLICIES, ids=map(str, range(len(NOT_POLICIES))))
def test_what_is_not_a_policy_is_refused(text: str) -> None:
    assert refusal(text).reason in {
        Reason.MALFORMED_POLICY,
        Reason.MALFORMED_KEY,
        Reason.MALFORMED_NAME,
        Reason.KEY_ALGORITHM,
    }


def test_a_policy_has_a_limit_and_room_enough() -> None:
    def groups(count: int) -> str:
        chain = "".join(f"group g{n} any g{n - 1}\n" for n in range(1, count))
        return f"witness w {W[0].key}\ngroup g0 any w\n{chain}quorum g{count - 1}\n"

    policy(groups(MAX_OF_A_KIND)).verify(cosigned(W[0]))
    assert refusal(groups(MAX_OF_A_KIND + 1)).reason is Reason.MALFORMED_POLICY


NESTED = f"{DEFINITIONS}group inner any w2 w3\ngroup outer all w1 inner\nquorum outer\n"


@pytest.mark.parametrize(
    ("signers", "met"),
    [((1, 2, 3), True), ((1, 3), True), ((1,), False), ((2, 3), False), ((), False)],
)
def test_groups_count_their_members(signers: tuple[int, ...], met: bool) -> None:
    data = cosigned(*(W[n] for n in signers))
    standing = policy(NESTED).standing(Note.parse(data))
    assert standing.met is met
    assert set(standing.cosigned) == {f"w{n}" for n in signers}
    assert set(standing.missing) == {"w1", "w2", "w3"} - set(standing.cosigned)
    assert set(standing.cosigned.values()) <= {int(AT.timestamp())}


def test_one_witness_that_signs_twice_counts_once() -> None:
    with pytest.raises(VerificationError) as caught:
        policy(f"{DEFINITIONS}group g 2 w1 w2\nquorum g\n").verify(cosigned(W[1], W[1]))
    assert caught.value.reason is Reason.QUORUM


def test_a_wrong_line_of_a_known_witness_refuses_the_checkpoint() -> None:
    wrong = W[1].cosign(Checkpoint("example.com/log", 43, bytes(32)), AT)
    data = cosigned(W[0]) + str(wrong).encode()
    with pytest.raises(VerificationError) as caught:
        policy(f"{DEFINITIONS}quorum w0\n").verify(data)
    assert caught.value.reason is Reason.COSIGNATURE
    # To whom the witness is unknown, its line says nothing.
    policy(f"witness w0 {W[0].key}\nquorum w0\n").verify(data)


def test_a_log_that_the_policy_does_not_name_is_refused() -> None:
    named = policy(f"log {LOG.key}\n{DEFINITIONS}quorum w1\n")
    named.verify(cosigned(W[1]))
    for stranger in (LogSigner.generate("example.com/log"),):
        with pytest.raises(VerificationError) as caught:
            named.verify(cosigned(W[1], log=stranger))
        assert caught.value.reason is Reason.WRONG_LOG


@given(st.text(alphabet="wg01 \n\t#noeqrumitslagp+", max_size=200))
def test_no_text_makes_the_reader_crash(text: str) -> None:
    with suppress(MalformedError):
        parsed = policy(text)
        assert policy(str(parsed)) == parsed


@given(st.permutations(range(6)), st.integers(1, 6))
def test_every_policy_is_read_back(order: list[int], threshold: int) -> None:
    text = (
        f"log {LOG.key} https://log.example/\n{DEFINITIONS}"
        f"group g {threshold} {' '.join(f'w{n}' for n in order)}\nquorum g\n"
    )
    assert str(policy(text)) == text


@pytest.mark.parametrize(
    ("quorum", "times", "seen_at"),
    [
        ("w0", {0: 5}, 5),
        ("w0", {1: 5}, None),
        ("none", {0: 5}, None),
        ("any", {0: 5, 1: 9, 2: 7}, 9),
        ("two", {0: 5, 1: 9, 2: 7}, 7),
        ("two", {0: 5, 1: 9}, 5),
        ("all", {0: 5, 1: 9, 2: 7}, 5),
        ("two", {0: 2**62, 1: 9}, 9),
    ],
)
def test_a_quorum_has_seen_what_enough_of_it_saw(
    quorum: str, times: dict[int, int], seen_at: int | None
) -> None:
    lines = tuple(
        SignatureLine(
            W[n].key.name,
            W[n].key.key_id,
            join(at, W[n]._key.sign(ed25519_message(at, str(HEAD).encode()))),
        )
        for n, at in times.items()
    )
    groups = {"any": "any", "two": "2", "all": "all"}
    group = f"group {quorum} {groups[quorum]} w0 w1 w2\n" if quorum in groups else ""
    parsed = policy(f"{DEFINITIONS}{group}quorum {quorum}\n")
    note = Note.parse(LOG.sign(HEAD).note)
    standing = parsed.standing(Note(note.text, (*note.signatures, *lines)))
    assert standing.seen_at == seen_at
    assert standing.met is (seen_at is not None or quorum == "none")
