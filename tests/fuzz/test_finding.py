"""The fuzzer finds what is planted, shrinks it, and survives what it finds."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.core.digest import sha256
from registry.errors import MalformedError, Reason
from tools.fuzz import __main__ as runner
from tools.fuzz import watching
from tools.fuzz.edits import Edit, Shape, confusables, lines, numbers, raw
from tools.fuzz.elements import cbor, der
from tools.fuzz.engine import one_round
from tools.fuzz.members import members
from tools.fuzz.target import MAX_CPU_SECONDS, FuzzFailure, Target
from tools.fuzz.targets import TARGETS


def found(target: Target, inputs: int = 20_000) -> FuzzFailure:
    # Hypothesis also draws on constants of whatever is imported, so how soon it is found differs.
    with pytest.raises(FuzzFailure) as caught:
        one_round(target, inputs, 1)
    return caught.value


def refused() -> MalformedError:
    return MalformedError(Reason.MALFORMED_FIELD, "no")


def lenient(data: bytes) -> bytes:
    """Reads a number as int() does."""
    try:
        return str(int(data)).encode()
    except ValueError as error:
        raise refused() from error


def test_a_second_spelling_is_found_and_shrunk() -> None:
    failure = found(Target("planted", (b"12345",), lenient))
    assert "written back" in failure.what
    assert len(failure.data) <= 3


def crashing(data: bytes) -> bytes:
    """Trusts a length that comes with the data."""
    if data[:1] != b"\x01":
        raise refused()
    if data[1] > len(data):
        raise refused()
    return data


def test_an_error_that_is_not_ours_is_found_and_shrunk() -> None:
    failure = found(Target("planted", (b"\x01\x04abcd",), crashing))
    assert "IndexError left the decoder" in failure.what
    assert failure.data == b"\x01"


def slow(data: bytes) -> bytes:
    end = time.thread_time() + MAX_CPU_SECONDS * 1.1
    while time.thread_time() < end:
        pass
    return data


def test_what_takes_too_long_is_found() -> None:
    with pytest.raises(FuzzFailure) as caught:
        Target("planted", (b"x",), slow).examine(b"x")
    assert "seconds" in caught.value.what


def test_a_round_is_the_same_every_time() -> None:
    seen: list[list[bytes]] = []
    for _ in range(2):
        tried: list[bytes] = []

        def watch(data: bytes, tried: list[bytes] = tried) -> bytes:
            tried.append(data)
            raise refused()

        one_round(Target("planted", TARGETS["bundle"].examples, watch, (members,)), 100, 7)
        seen.append(tried)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 50


NAMES = """
from registry.core.digest import sha256
from tools.fuzz.targets import TARGETS
for target in TARGETS.values():
    print(target.name, *(sha256(example).hex() for example in target.examples))
"""


def test_the_examples_are_the_same_in_every_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NAMES], capture_output=True, text=True, check=True, timeout=120
    )
    here = [
        " ".join((target.name, *(sha256(example).hex() for example in target.examples)))
        for target in TARGETS.values()
    ]
    assert done.stdout.splitlines() == here


@pytest.mark.parametrize("shape", [raw, numbers, confusables, lines, members, der, cbor])
@pytest.mark.parametrize("data", [b"", b"\x00", b"{}", b"0", b"\xff" * 9, b"a\nb\n", b"[[]]"])
def test_an_edit_takes_whatever_it_is_given(shape: Shape, data: bytes) -> None:
    for how in range(16):
        for place in (0, 40_000, 65_535):
            assert isinstance(shape(data, Edit(how, place, 65_535 - place, b"new"), b""), bytes)


@pytest.mark.parametrize("name", ["timestamp-token", "certificate", "cose-receipt", "bundle"])
def test_edits_along_the_structure_are_undone_by_writing(name: str) -> None:
    # What nothing is done to comes out as it went in: lengths, heads and nesting are kept.
    target = TARGETS[name]
    untouched = Edit(2, 65_535, 0, b"")
    for example in target.examples:
        for shape in target.shapes:
            if shape in {der, cbor}:
                # Swapping the last element with nothing behind it changes nothing.
                assert shape(example, untouched, b"") == example


def test_a_decoder_that_takes_much_memory_is_found() -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is bounded where /proc tells how much a process has")

    def greedy(data: bytes) -> None:
        bytes(1024 * 1024 * len(data))

    planted = Target("planted", (b"1",), greedy)
    assert planted.examine(b"x" * 10)
    with pytest.raises(FuzzFailure) as caught:
        planted.examine(b"x" * 200)
    assert caught.value.what.startswith("MemoryError")
    assert planted.examine(b"x" * 10)
    assert len(bytes(150 * 1024 * 1024)) > 0  # afterwards there is no such limit


# --- The process that watches ---


def test_nothing_found_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status = runner.main(
        ["tile-path", "--seconds", "0.3", "--seed", "1", "--findings", str(tmp_path / "found")]
    )
    said = capsys.readouterr().out
    assert (status, "accepted" in said) == (0, True)
    assert not (tmp_path / "found").exists()


def test_a_kept_input_is_tried_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TARGETS", {"planted": Target("planted", (b"1",), lenient)})
    (tmp_path / "input").write_bytes(b" 1")
    assert runner.main(["planted", "--input", str(tmp_path / "input")]) == 1
    assert "written back" in capsys.readouterr().out


PLANTED = """
import os, sys, time
from pathlib import Path
from tools.fuzz.watching import Slate, limit_memory

slate = Slate(Path(sys.argv[sys.argv.index("--slate") + 1]))
limit_memory()
slate.write(b"the input")
what = sys.argv[-1]
if what == "crash":
    os.abort()
if what == "hang":
    time.sleep(60)
if what == "memory":
    b"x" * (4 * 1024**3)
"""


@pytest.mark.parametrize("what", ["crash", "hang", "memory"])
def test_whatever_happens_to_the_process_the_input_is_known(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "memory" and not Path("/proc/self/statm").exists():
        pytest.skip("memory is bounded where /proc tells how much a process has")
    script = tmp_path / "planted.py"
    script.write_text(PLANTED)
    monkeypatch.setattr(watching, "PROGRAM", (sys.executable, str(script)))
    ended = watching.watched([what], max_silence_seconds=3.0)
    assert ended.last == b"the input"
    assert ended.hung == (what == "hang")
    assert ended.status != 0
