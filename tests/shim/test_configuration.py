"""The configuration of a shim: one spelling, one digest, and nothing that is secret."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.digest import sha256
from registry.errors import MalformedError
from registry.shim.configuration import FOLDER, SCHEMA, Attestation, Configuration, Serving
from registry.shim.privacy.policy import PrivacyPolicy

PLAIN = Configuration(
    schema=SCHEMA,
    software="provreg-shim/1",
    name="acme/x",
    version="1.2.0",
    release=f"sha256:{'a' * 64}",
    key="b" * 64,
    log="log.example+00000000+AQ==",
    heartbeat_ms=60_000,
    batch_records=256,
    batch_ms=1000,
    max_journal_bytes=1 << 30,
)

servings = st.builds(
    Serving,
    mode=st.sampled_from(["strict", "stream", "best_effort"]),
    upstream=st.text(max_size=20).filter(str.isascii),
    served_as=st.lists(st.text("ab", max_size=3), max_size=3).map(tuple),
    engine_settings=st.dictionaries(st.sampled_from(["isa", "threads"]), st.text("ab", max_size=3)),
    files_verified=st.integers(0, 9),
)
configurations = st.builds(
    lambda serving, policy, required: msgspec.structs.replace(
        PLAIN,
        serving=serving,
        privacy=policy,
        attestation=Attestation(required=required, policy="p"),
    ),
    servings,
    st.just(msgspec.UNSET)
    | st.just(PrivacyPolicy(schema="privacy-policy/v1", retention_class="chats", keep=True)),
    st.booleans(),
)


@given(configurations)
def test_a_configuration_is_read_as_it_was_written(said: Configuration) -> None:
    again = Configuration.parse(said.to_bytes())
    assert again == said
    assert again.digest == sha256(said.to_bytes()).hex()


def test_settings_in_another_order_have_the_same_digest() -> None:
    def of(settings: dict[str, str]) -> str:
        serving = Serving(mode="stream", upstream="http://a", engine_settings=settings)
        return msgspec.structs.replace(PLAIN, serving=serving).digest

    assert of({"isa": "avx2", "threads": "4"}) == of({"threads": "4", "isa": "avx2"})


@pytest.mark.parametrize(
    "change",
    [
        {"heartbeat_ms": 1},
        {"log": "log.other+00000000+AQ=="},
        {"serving": Serving(mode="strict", upstream="http://a")},
        {"attestation": Attestation(required=False, policy="p")},
        {
            "privacy": PrivacyPolicy(
                schema="privacy-policy/v1", retention_class="chats", output="committed"
            )
        },
    ],
    ids=["heartbeat", "log", "serving", "attestation", "privacy"],
)
def test_each_setting_changes_the_digest(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(PLAIN, **change).digest != PLAIN.digest


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data + b" ",
        lambda data: data.replace(b":60000", b":6e4"),
        lambda data: data[:-1] + b',"token":"x"}',
        lambda data: data.replace(b"configuration/v1", b"configuration/v2"),
    ],
    ids=["white space", "another number", "unknown member", "another schema"],
)
def test_anything_else_is_no_configuration(spoil: object) -> None:
    with pytest.raises(MalformedError):
        Configuration.parse(spoil(PLAIN.to_bytes()))  # type: ignore[operator]


def test_what_was_kept_is_found_under_its_digest_and_not_written_again(tmp_path: Path) -> None:
    assert PLAIN.keep(tmp_path) == PLAIN.digest
    [kept] = (tmp_path / FOLDER).iterdir()
    before = kept.stat()
    assert PLAIN.keep(tmp_path) == PLAIN.digest
    assert (kept.stat().st_ino, kept.name) == (before.st_ino, f"{PLAIN.digest}.json")
    assert Configuration.parse(kept.read_bytes()) == PLAIN
