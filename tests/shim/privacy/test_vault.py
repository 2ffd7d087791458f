"""Sealed payloads: opened with their class's key alone, erased one by one or by class."""

import contextlib
import secrets
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from hypothesis import given
from hypothesis import strategies as st

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.records import inference
from registry.core.records.disclosure import DisclosedOutput, Disclosure, verify_disclosure
from registry.errors import (
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.shim.privacy import sealed_payload
from registry.shim.privacy import vault as vault_module
from registry.shim.privacy.keeping import MAX_FIELDS_BYTES, Content, Keeping
from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.privacy.sealed_payload import Opened, Payload, open_payload, read_head
from registry.shim.privacy.vault import Vault

SHIM = "ab" * 16
RECEIPT = f"{SHIM}/7"
PAYLOAD = Payload(
    RECEIPT,
    "loans",
    {"/request/user": "u-77"},
    sha256(b"content"),
    sha256(b"wire"),
    b'{"user":"u-77"}',
    b"denied",
)
RESPONSE = inference.Response(
    profile="output/bytes/v1",
    content_digest=sha256(b"content").hex(),
    wire_digest=sha256(b"wire").hex(),
    complete=True,
)
CONTENT = Content(
    b'{"user":"u-77"}', b"denied", {"request": {"user": "u-77", "ä": "x"}, "response": "denied"}
)
KEY = bytes(range(32))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "private")


def policy(**members: object) -> PrivacyPolicy:
    said = {"schema": "privacy-policy/v1", "retention_class": "loans", **members}
    made = msgspec.convert(said, PrivacyPolicy)
    made.check()
    return made


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.sealed"))


def test_what_is_sealed_can_be_opened(vault: Vault) -> None:
    opened = Opened.new(PAYLOAD)
    vault.put(7, opened)
    assert vault.open(7) == opened


def test_nothing_of_a_call_lies_in_clear(vault: Vault, tmp_path: Path) -> None:
    vault.put(7, Opened.new(PAYLOAD))
    data = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"u-77" not in data
    assert b"denied" not in data
    assert sha256(b"content").hex().encode() not in data


def test_files_and_keys_are_for_the_owner_alone(vault: Vault, tmp_path: Path) -> None:
    vault.put(7, Opened.new(PAYLOAD))
    for path in tmp_path.rglob("*"):
        if path != tmp_path:
            assert path.stat().st_mode & 0o077 == 0, path


@given(data=st.data())
def test_a_changed_byte_opens_nothing(data: st.DataObject) -> None:
    sealed = bytearray(Opened.new(PAYLOAD).seal(KEY))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RegistryError) as caught:
        open_payload(bytes(sealed), KEY)
    assert caught.value.reason in {Reason.SEALED_PAYLOAD_KEY, Reason.MALFORMED_SEALED_PAYLOAD}


@given(data=st.binary(max_size=500))
def test_anything_else_is_no_sealed_payload(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        open_payload(data, KEY)
    assert caught.value.reason is Reason.MALFORMED_SEALED_PAYLOAD


def test_another_classs_key_opens_nothing() -> None:
    with pytest.raises(VerificationError) as caught:
        open_payload(Opened.new(PAYLOAD).seal(KEY), bytes(32))
    assert caught.value.reason is Reason.SEALED_PAYLOAD_KEY


def test_two_payloads_with_the_same_words_have_nothing_in_common() -> None:
    one, other = Opened.new(PAYLOAD), Opened.new(PAYLOAD)
    assert one.key != other.key
    assert one.commitment != other.commitment
    assert one.tree is not None
    assert other.tree is not None
    assert one.tree.root != other.tree.root
    assert one.seal(KEY)[-40:] != other.seal(KEY)[-40:]


def test_an_erased_payload_is_gone_and_says_so(vault: Vault, tmp_path: Path) -> None:
    vault.put(7, Opened.new(PAYLOAD))
    other = replace(PAYLOAD, receipt=f"{SHIM}/8")
    vault.put(8, Opened.new(other))
    vault.erase(7)
    for act in (vault.open, vault.erase):
        with pytest.raises(NotFoundError) as caught:
            act(7)
        assert caught.value.reason is Reason.ERASED
    assert vault.open(8).payload == other
    assert b"wrapped_key" not in files(tmp_path)[0].read_bytes()


def test_without_its_classs_key_a_payload_is_shut(vault: Vault) -> None:
    vault.put(7, Opened.new(PAYLOAD))
    other = f"{SHIM}/8"
    vault.put(8, Opened.new(replace(PAYLOAD, receipt=other, retention_class="chats")))
    vault.destroy("loans")
    with pytest.raises(NotFoundError) as caught:
        vault.open(7)
    assert caught.value.reason is Reason.ERASED
    assert vault.open(8).payload.receipt == other
    with pytest.raises(NotFoundError):
        vault.destroy("loans")


def test_erasing_that_was_cut_short_is_no_payload_any_more(vault: Vault, tmp_path: Path) -> None:
    vault.put(7, Opened.new(PAYLOAD))
    [path] = files(tmp_path)
    path.write_bytes(bytes(path.stat().st_size))
    for act in (vault.open, vault.erase, vault.receipt):
        with pytest.raises(NotFoundError) as caught:
            act(7)
        assert caught.value.reason is Reason.ERASED


def test_the_payload_of_another_call_is_none_of_this_one(vault: Vault, tmp_path: Path) -> None:
    vault.put(7, Opened.new(PAYLOAD))
    vault.put(8, Opened.new(replace(PAYLOAD, receipt=f"{SHIM}/8")))
    seven, eight = files(tmp_path)
    shutil.copy(eight, seven)
    for act in (vault.open, vault.erase, vault.receipt):
        with pytest.raises(MalformedError) as caught:
            act(7)
        assert caught.value.reason is Reason.MALFORMED_SEALED_PAYLOAD
    assert vault.open(8).payload.receipt == f"{SHIM}/8"


@pytest.mark.parametrize("member", ["receipt", "retention_class", "nonce", "wrapped_key"])
def test_head_and_cipher_belong_together(member: str) -> None:
    one = Opened.new(PAYLOAD).seal(KEY)
    other = Opened.new(replace(PAYLOAD, receipt=f"{SHIM}/8", retention_class="chats")).seal(KEY)
    head, start = read_head(one)
    swapped = msgspec.structs.replace(head, **{member: getattr(read_head(other)[0], member)})
    with pytest.raises(VerificationError) as caught:
        open_payload(encoding.write_json(swapped) + b"\n" + one[start:], KEY)
    assert caught.value.reason is Reason.SEALED_PAYLOAD_KEY


def test_no_two_payloads_share_a_key_or_a_nonce() -> None:
    sealed = [Opened.new(PAYLOAD).seal(KEY) for _ in range(500)]
    heads = [read_head(item)[0] for item in sealed]
    assert len({item.nonce for item in heads}) == len(sealed)
    keys = {aes_key_unwrap(KEY, bytes.fromhex(item.wrapped_key)) for item in heads}
    assert len(keys) == len(sealed)


def test_two_first_calls_at_once_make_one_key(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)
    make = secrets.token_bytes

    def together(size: int) -> bytes:
        # Whoever is about to make a key waits for another that is, or for nobody.
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.2)
        return make(size)

    monkeypatch.setattr(secrets, "token_bytes", together)
    opened = {n: Opened(replace(PAYLOAD, receipt=f"{SHIM}/{n}"), make(32)) for n in (7, 8)}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: vault.put(n, opened[n]), opened))
    assert {n: vault.open(n) for n in opened} == opened


def test_what_a_crash_left_unfinished_is_wiped_before_anything_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Power(BaseException):
        """It went out."""

    def fails(self: Path, target: Path) -> None:
        raise Power(self, target)

    folder = tmp_path / "private"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fails)
        crashed = Vault(folder)
        (folder / "keys").mkdir(parents=True)
        (folder / "keys" / "loans.key").touch(0o600)
        (folder / "keys" / "loans.key").write_bytes(KEY)
        with pytest.raises(Power):
            crashed.put(7, Opened.new(PAYLOAD))
    [left] = files(tmp_path)
    assert open_payload(left.read_bytes(), KEY).payload == PAYLOAD
    blocks = tmp_path / "a second name of its blocks"
    blocks.hardlink_to(left)
    Vault(folder).put(8, Opened.new(replace(PAYLOAD, receipt=f"{SHIM}/8")))
    assert not left.exists()
    assert not any(blocks.read_bytes())


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", "-a", "a" * 65])
def test_what_names_no_class_is_refused(vault: Vault, name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        vault.destroy(name)
    assert caught.value.reason is Reason.MALFORMED_FIELD


def test_nothing_is_known_of_a_call_that_was_not_kept(vault: Vault) -> None:
    with pytest.raises(NotFoundError) as caught:
        vault.open(7)
    assert caught.value.reason is Reason.NO_SEALED_PAYLOAD


def completion(response: inference.Response, private: inference.Private) -> inference.Completion:
    place = inference.Sequence(shim_id=SHIM, boot_id=SHIM, n=8, prev_digest="00" * 32)
    made = inference.Completion(
        sequence=place,
        at="2026-01-01T00:00:00Z",
        intent_n=7,
        model=inference.Model(
            release="sha256:" + "00" * 32, manifest="00" * 32, name="acme/x", version="1"
        ),
        binding="name_only",
        request="00" * 32,
        response=response,
        runtime=inference.Runtime(engine="e", version="1"),
        uncovered=(),
        salt="00" * 32,
        private=private,
    )
    assert inference.parse(inference.write(made)) == made
    return made


def test_what_was_committed_to_can_be_disclosed_and_nothing_else(vault: Vault) -> None:
    keeping = Keeping(policy(fields=["/request/user", "/request/age"], output="committed"), vault)
    response, private = keeping.keep(RECEIPT, 7, RESPONSE, CONTENT, strict=True)
    record = completion(response, private)
    assert private.fields == 1
    assert response.content_digest != RESPONSE.content_digest
    opened = vault.open(7)
    assert opened.tree is not None
    assert not opened.payload.request
    output = DisclosedOutput(
        content_digest=RESPONSE.content_digest,
        wire_digest=RESPONSE.wire_digest,
        salt=opened.output_salt.hex(),
    )
    shown = Disclosure(
        schema="disclosure/v1",
        receipt=RECEIPT,
        fields=opened.tree.disclose(["/request/user"]),
        output=output,
    )
    verify_disclosure(shown, record)
    others = [
        msgspec.structs.replace(shown, receipt=f"{SHIM}/8"),
        msgspec.structs.replace(
            shown, output=msgspec.structs.replace(output, content_digest="00" * 32)
        ),
        msgspec.structs.replace(
            shown, fields=(msgspec.structs.replace(shown.fields[0], value="u-78"),)
        ),
    ]
    for other in others:
        with pytest.raises(VerificationError) as caught:
            verify_disclosure(other, record)
        assert caught.value.reason is Reason.FIELD_COMMITMENT
    plain = completion(RESPONSE, msgspec.structs.replace(private, output="plain"))
    with pytest.raises(VerificationError):
        verify_disclosure(shown, plain)


def test_a_record_that_commits_to_nothing_proves_nothing(vault: Vault) -> None:
    keeping = Keeping(policy(fields=["/request/user"], output="committed"), vault)
    response, private = keeping.keep(RECEIPT, 7, RESPONSE, CONTENT, strict=True)
    opened = vault.open(7)
    assert opened.tree is not None
    fields = Disclosure(
        schema="disclosure/v1", receipt=RECEIPT, fields=opened.tree.disclose(["/request/user"])
    )
    output = Disclosure(
        schema="disclosure/v1",
        receipt=RECEIPT,
        output=DisclosedOutput(
            content_digest=RESPONSE.content_digest,
            wire_digest=RESPONSE.wire_digest,
            salt=opened.output_salt.hex(),
        ),
    )
    bare = msgspec.structs.replace(completion(response, private), private=msgspec.UNSET)
    no_root = msgspec.structs.replace(private, root=msgspec.UNSET, fields=0)
    # Digests that happen to be commitments count as nothing else where the record says so.
    plain = msgspec.structs.replace(private, output="plain")
    for shown, record in (
        (Disclosure(schema="disclosure/v1", receipt=RECEIPT), bare),
        (fields, completion(response, no_root)),
        (output, completion(response, plain)),
    ):
        with pytest.raises(VerificationError) as caught:
            verify_disclosure(shown, record)
        assert caught.value.reason is Reason.FIELD_COMMITMENT


def test_a_payload_beyond_the_limit_is_refused(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put(7, Opened.new(PAYLOAD))
    size = len(PAYLOAD.request) + len(PAYLOAD.answer)
    monkeypatch.setattr(sealed_payload, "MAX_PAYLOAD_BYTES", size)
    Opened.new(PAYLOAD)
    monkeypatch.setattr(sealed_payload, "MAX_PAYLOAD_BYTES", size - 1)
    with pytest.raises(LimitExceededError) as caught:
        Opened.new(PAYLOAD)
    assert caught.value.reason is Reason.PAYLOAD_TOO_LARGE
    monkeypatch.setattr(vault_module, "_MAX_FILE_BYTES", files(tmp_path)[0].stat().st_size - 1)
    with pytest.raises(LimitExceededError):
        vault.open(7)


@pytest.mark.parametrize("clear", [b"", bytes(8), bytes(16), bytes(32), bytes(7) + b"\x09"])
def test_what_is_sealed_otherwise_is_refused(clear: bytes) -> None:
    sealed = Opened.new(PAYLOAD).seal(KEY)
    head, start = read_head(sealed)
    key = aes_key_unwrap(KEY, bytes.fromhex(head.wrapped_key))
    other = AESGCM(key).encrypt(bytes.fromhex(head.nonce), clear, sealed[: start - 1])
    with pytest.raises(MalformedError) as caught:
        open_payload(sealed[:start] + other, KEY)
    assert caught.value.reason is Reason.MALFORMED_SEALED_PAYLOAD


def test_a_head_without_an_end_is_refused() -> None:
    sealed = Opened.new(PAYLOAD).seal(KEY)
    _, start = read_head(sealed)
    with pytest.raises(MalformedError) as caught:
        read_head(sealed[: start - 1] + b"x")
    assert caught.value.reason is Reason.MALFORMED_SEALED_PAYLOAD


def test_a_field_that_cannot_be_committed_to_is_told_of(vault: Vault) -> None:
    keeping = Keeping(policy(fields=["/request/user", "/response/x"]), vault)
    content = Content(b"", b"", {"response": {"x": {"ä": "y"}}})
    _, private = keeping.keep(RECEIPT, 7, RESPONSE, content, strict=True)
    assert private.fields == 0
    assert private.missed == "/response/x cannot be committed to"


def test_fields_that_overlap_cannot_make_a_payload_without_bound(vault: Vault) -> None:
    text = "x" * (MAX_FIELDS_BYTES // 2)
    paths = ["/request/a", "/request/a/b", "/request/c"]
    content = Content(b"", b"", {"request": {"a": {"b": text}, "c": "y"}})
    _, private = Keeping(policy(fields=paths), vault).keep(
        RECEIPT, 7, RESPONSE, content, strict=True
    )
    assert private.missed == "/request/a/b is too large"
    assert set(vault.open(7).payload.fields) == {"/request/a", "/request/c"}


def test_whole_calls_are_kept_if_the_policy_says_so(vault: Vault) -> None:
    _, private = Keeping(policy(keep=True), vault).keep(RECEIPT, 7, RESPONSE, CONTENT, strict=True)
    kept = vault.open(7)
    assert (kept.payload.request, kept.payload.answer) == (CONTENT.request, CONTENT.answer)
    assert kept.commitment.hex() == private.payload


def test_a_disk_that_takes_nothing_stops_strict_and_is_noted_else(
    vault: Vault, tmp_path: Path
) -> None:
    (tmp_path / "private").write_bytes(b"no folder")
    keeping = Keeping(policy(keep=True, output="committed"), vault)
    with pytest.raises(UnavailableError) as caught:
        keeping.keep(RECEIPT, 7, RESPONSE, CONTENT, strict=True)
    assert caught.value.reason is Reason.STORAGE_FAILED
    response, private = keeping.keep(RECEIPT, 7, RESPONSE, CONTENT, strict=False)
    assert private.missed.startswith("nothing could be kept: E")
    assert private.sealed is msgspec.UNSET
    assert response.content_digest != RESPONSE.content_digest


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"fields": ["/other/x"]},
        {"fields": ["/request/x", "/request/x"]},
        {"fields": ["/request"]},
        {"retention_class": "../x", "keep": True},
        {"keep": True, "schema": "privacy-policy/v2"},
    ],
    ids=["nothing", "side", "twice", "whole", "class", "version"],
)
def test_a_policy_that_makes_no_sense_is_refused(members: dict[str, object]) -> None:
    with pytest.raises((MalformedError, msgspec.ValidationError)):
        policy(**members)
