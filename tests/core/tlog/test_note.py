"""Signed notes and verifier keys, with the specification's own example."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.encoding import base64_text
from registry.core.tlog import note
from registry.core.tlog.note import Note, SignatureLine, VerifierKey
from registry.errors import MalformedError, Reason, RegistryError, VerificationError
from registry.signing.file import LogSigner

VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
TEXT = "This is an example message.\n"
LINE = (
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYj"
    "OBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
NOTE = f"{TEXT}\n{LINE}".encode()


def refusal(data: bytes) -> RegistryError:
    with pytest.raises(MalformedError) as caught:
        Note.parse(data)
    return caught.value


def test_the_known_answer_verifies() -> None:
    key = VerifierKey.parse(VKEY)
    assert Note.parse(NOTE).verify([key]) == (key,)


def test_the_known_verifier_key_is_written_back() -> None:
    assert str(VerifierKey.parse(VKEY)) == VKEY


def test_the_known_note_is_written_back() -> None:
    assert str(Note.parse(NOTE)).encode() == NOTE


def test_another_text_under_the_same_signature_is_refused() -> None:
    with pytest.raises(VerificationError) as caught:
        Note.parse(NOTE.replace(b"an example", b"no example")).verify([VerifierKey.parse(VKEY)])
    assert caught.value.reason is Reason.LOG_SIGNATURE


def test_a_note_that_no_expected_key_signed_is_refused() -> None:
    with pytest.raises(VerificationError) as caught:
        Note.parse(NOTE).verify([LogSigner.generate("example.com/foo").key])
    assert caught.value.reason is Reason.WRONG_LOG


def signature(signer: LogSigner, text: str = TEXT) -> SignatureLine:
    private = signer._key
    return SignatureLine(signer.key.name, signer.key.key_id, private.sign(text.encode()))


def test_lines_by_unknown_keys_are_ignored_wherever_they_stand() -> None:
    stranger = signature(LogSigner.generate("witness.example"))
    for lines in (f"{stranger}{LINE}", f"{LINE}{stranger}"):
        signed = Note.parse(f"{TEXT}\n{lines}".encode())
        assert signed.verify([VerifierKey.parse(VKEY)]) == (VerifierKey.parse(VKEY),)


def test_a_line_under_a_known_name_with_another_key_is_ignored() -> None:
    stranger = signature(LogSigner.generate("example.com/foo"))
    signed = Note.parse(f"{TEXT}\n{stranger}{LINE}".encode())
    assert len(signed.verify([VerifierKey.parse(VKEY)])) == 1


def test_one_wrong_line_of_a_known_key_refuses_the_whole_note() -> None:
    signer = LogSigner.generate("witness.example")
    wrong = signature(signer, "something else\n")
    with pytest.raises(VerificationError) as caught:
        Note.parse(f"{TEXT}\n{LINE}{wrong}".encode()).verify([VerifierKey.parse(VKEY), signer.key])
    assert caught.value.reason is Reason.LOG_SIGNATURE


def test_a_text_may_hold_empty_lines() -> None:
    signer = LogSigner.generate("log.example")
    text = "first\n\n\nlast\n"
    signed = Note.parse(f"{text}\n{signature(signer, text)}".encode())
    assert signed.text == text
    assert signed.verify([signer.key])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE.replace(b"\xe2\x80\x94 ", b"- "),
        NOTE.replace(b"foo Uw2", b"foo  Uw2"),
        NOTE.replace(b"foo Uw2", b"foo\tUw2"),
        NOTE.replace(b"foo Uw2", b"fo+o Uw2"),
        NOTE.replace("— example.com/foo".encode(), "— ".encode()),
        NOTE.replace(b"message", b"mess\x00age"),
        NOTE.replace(b"message", b"mess\xffage"),
        NOTE.replace(b"aQM=", b"aQN="),
        f"{TEXT}\n— log.example {base64_text(b'only')}\n".encode(),
        NOTE.replace(TEXT.encode(), TEXT.encode().replace(b"\n", b"\r\n")),
    ],
)
def test_what_is_not_exactly_a_note_is_refused(data: bytes) -> None:
    assert refusal(data).reason in {
        Reason.MALFORMED_NOTE,
        Reason.MALFORMED_NAME,
        Reason.MALFORMED_BASE64,
    }


def test_a_note_with_too_many_signatures_is_refused() -> None:
    refusal(f"{TEXT}\n{LINE * (note.MAX_SIGNATURES + 1)}".encode())


def test_a_note_that_is_too_long_is_refused_unread() -> None:
    refusal(b"x" * note.MAX_NOTE_BYTES + NOTE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("530d903a", "530D903A"),
        VKEY.replace("example.com/foo", "example.com/bar"),
        VKEY.replace("example.com/foo", "example.com foo"),
        VKEY[:-1],
        VKEY + "\n",
        "log.example+00000000+AQ==",
    ],
)
def test_what_is_not_exactly_a_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        VerifierKey.parse(text)


def test_a_verifier_key_of_another_algorithm_is_refused() -> None:
    material = b"\x02" + b"k" * 32
    with pytest.raises(MalformedError) as caught:
        VerifierKey.parse(f"log.example+00000000+{base64_text(material)}")
    assert caught.value.reason is Reason.KEY_ALGORITHM


@given(st.binary(min_size=32, max_size=32))
def test_every_verifier_key_is_read_back(public_key: bytes) -> None:
    key = VerifierKey("log.example", public_key)
    assert VerifierKey.parse(str(key)) == key


@given(st.text(max_size=40))
def test_no_text_makes_the_reader_of_verifier_keys_crash(text: str) -> None:
    with suppress(MalformedError):
        assert str(VerifierKey.parse(text)) == text
