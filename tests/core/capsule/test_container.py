"""The capsule file: one spelling, and no byte that can be changed unnoticed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from registry.core import encoding
from registry.core.capsule import container
from registry.core.capsule.build import build
from registry.core.capsule.container import Capsule
from registry.core.digest import sha256
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    VerificationError,
)
from tests.mint import World, tell


@pytest.fixture(scope="module")
def capsule() -> Capsule:
    world = World()
    return world.capsule(tell(world))


@pytest.fixture(scope="module")
def data(capsule: Capsule) -> bytes:
    return capsule.to_bytes()


def refusal(data: bytes) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        Capsule.parse(data)
    return caught.value


def with_index(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change the index line, and let the first line name it as it is now."""
    _, index, parts = data.split(b"\n", 2)
    line = change(index) + b"\n"
    return b"provreg-capsule/v1 " + sha256(line).hex().encode() + b"\n" + line + parts


def test_a_capsule_is_read_back_as_it_was_written(capsule: Capsule, data: bytes) -> None:
    assert Capsule.parse(data) == capsule


def test_the_first_line_names_the_index_by_digest(data: bytes) -> None:
    header, index, _ = data.split(b"\n", 2)
    assert header == b"provreg-capsule/v1 " + sha256(index + b"\n").hex().encode()


def test_flipping_any_single_bit_of_any_byte_is_refused(data: bytes) -> None:
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        with pytest.raises(RegistryError):
            Capsule.parse(bytes(changed))


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_a_byte_counts(data: bytes, bit: int) -> None:
    for position in range(bit, len(data), 8):
        changed = bytearray(data)
        changed[position] ^= 1 << bit
        with pytest.raises(RegistryError):
            Capsule.parse(bytes(changed))


def test_a_changed_part_is_named_with_both_digests(capsule: Capsule, data: bytes) -> None:
    position = data.index(capsule.record)
    changed = data[:position] + b"[" + data[position + 1 :]
    error = refusal(changed)
    assert isinstance(error, VerificationError)
    assert error.reason is Reason.CAPSULE_PART
    assert error.where == "part 'record'"
    assert error.expected == sha256(capsule.record).hex()
    assert error.actual == sha256(b"[" + capsule.record[1:]).hex()


def test_a_changed_index_is_named(data: bytes) -> None:
    error = refusal(data.replace(b'"log":"log.', b'"log":"lug.', 1))
    assert (error.reason, error.where) == (Reason.CAPSULE_PART, "index")


@pytest.mark.parametrize("length", [0, 18, 83, 84, 400])
def test_a_capsule_that_ends_early_is_refused(data: bytes, length: int) -> None:
    assert refusal(data[:length]).reason in {Reason.MALFORMED_CAPSULE, Reason.CAPSULE_PART}


def test_a_cut_last_part_is_named(data: bytes) -> None:
    assert refusal(data[:-1]).where == "part 'dataset/0.proof'"


def test_bytes_after_the_last_part_are_refused(data: bytes) -> None:
    assert refusal(data + b"\n").reason is Reason.MALFORMED_CAPSULE


def test_another_version_of_the_format_is_refused(data: bytes) -> None:
    assert refusal(data.replace(b"/v1", b"/v2", 1)).reason is Reason.MALFORMED_CAPSULE


def test_an_index_in_another_spelling_is_refused(data: bytes) -> None:
    error = refusal(with_index(data, lambda index: index.replace(b'"parts":', b'"parts": ')))
    assert error.reason is Reason.MALFORMED_CAPSULE


def test_an_unknown_part_is_refused(data: bytes) -> None:
    error = refusal(
        with_index(data, lambda index: index.replace(b'"record.path"', b'"record.pith"'))
    )
    assert error.reason is Reason.MALFORMED_CAPSULE


@pytest.mark.parametrize("name", [b"checkpoint", b"record", b"operator", b"batch.proof"])
def test_a_capsule_without_a_part_that_it_needs_is_refused(data: bytes, name: bytes) -> None:
    error = refusal(
        with_index(data, lambda index: index.replace(b'"' + name + b'"', b'"dataset/9"'))
    )
    assert error.reason is Reason.MALFORMED_CAPSULE


def test_parts_in_another_order_are_refused(capsule: Capsule, data: bytes) -> None:
    _, index, _ = data.split(b"\n", 2)
    kind = container._Index
    read = encoding.read_json(index, kind)
    swapped = (read.parts[1], read.parts[0], *read.parts[2:])
    first, second = capsule.checkpoint, capsule.record
    changed = with_index(
        data,
        lambda _: encoding.write_json(kind(log=read.log, parts=swapped, schema=read.schema)),
    ).replace(first + second, second + first)
    assert "in their order" in refusal(changed).what


def test_a_part_that_is_listed_twice_is_refused(capsule: Capsule, data: bytes) -> None:
    _, index, _ = data.split(b"\n", 2)
    kind = container._Index
    read = encoding.read_json(index, kind)
    twice = (read.parts[0], *read.parts)
    changed = with_index(
        data, lambda _: encoding.write_json(kind(log=read.log, parts=twice, schema=read.schema))
    ).replace(capsule.checkpoint, capsule.checkpoint * 2, 1)
    assert refusal(changed).reason is Reason.MALFORMED_CAPSULE


def test_an_index_without_a_log_key_is_refused(data: bytes) -> None:
    error = refusal(with_index(data, lambda index: index.replace(b'"log":"log.', b'"log":"lug.')))
    assert error.reason is Reason.MALFORMED_CAPSULE


def test_a_manifest_without_its_release_is_refused(capsule: Capsule) -> None:
    alone = replace(capsule, release=None)
    assert refusal(alone.to_bytes()).reason is Reason.MALFORMED_CAPSULE


def test_key_events_out_of_log_order_are_refused(capsule: Capsule) -> None:
    backwards = replace(capsule, key_events=capsule.key_events[::-1])
    assert refusal(backwards.to_bytes()).where == "key-event/1"


@pytest.mark.parametrize("path", [(b"short",), (b"h" * 32,) * 64])
def test_a_path_that_is_none_is_refused(capsule: Capsule, path: tuple[bytes, ...]) -> None:
    error = refusal(replace(capsule, path=path).to_bytes())
    assert (error.reason, error.where) == (Reason.MALFORMED_CAPSULE, "record.path")


def test_a_file_larger_than_any_capsule_is_refused_unread(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "MAX_CAPSULE_BYTES", len(data) - 1)
    assert refusal(data).reason is Reason.MALFORMED_CAPSULE


def test_an_endless_index_is_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_INDEX_BYTES", 100)
    assert refusal(data).reason is Reason.MALFORMED_CAPSULE


def test_building_sorts_by_log_order_and_drops_what_is_there_twice() -> None:
    world = World()
    told = tell(world)
    events = [world.proved(item) for item in world.key_events]
    capsule = world.capsule(told, key_events=[*events[::-1], *events])
    assert [item.index for item in capsule.key_events] == [1, 2]


def test_more_than_a_capsule_takes_is_not_built(
    capsule: Capsule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.core.capsule.build.MAX_PARTS", 4)
    world = World()
    with pytest.raises(LimitExceededError):
        build(
            log=capsule.log,
            head=world.head(),
            record=capsule.record,
            position=0,
            path=(),
            operator=capsule.operator,
            batch=capsule.batch,
        )


def test_one_output_takes_at_most_10_kb_beside_the_model_statement() -> None:
    world = World()
    told = tell(world, calls=2000)
    world.fill(100_000)
    capsule = world.capsule(told)
    node_only = replace(
        capsule,
        release=None,
        manifest=None,
        attributions=(),
        datasets=(),
        key_events=capsule.key_events[1:],
    )
    assert len(node_only.to_bytes()) <= 10_000


def test_text_that_is_no_capsule_is_malformed() -> None:
    with pytest.raises(MalformedError):
        Capsule.parse(b"\x00" * 200)
