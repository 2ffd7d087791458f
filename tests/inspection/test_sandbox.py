"""The confined process: what it answers, and that nothing it does can harm who asks."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import onnx
import pytest

from registry.core.formats.structure import SafetensorsStructure, parse_structure, structure_bytes
from registry.errors import LimitExceededError, MalformedError, Reason
from registry.inspection import sandbox
from registry.inspection.exchange import MAX_ANSWER_BYTES
from registry.inspection.sandbox import inspect
from tests.core.formats.test_safetensors import FOUR, HONEST, file_of, parse
from tests.inspection.onnx_models import (
    FILES,
    add,
    changed,
    describe_bytes,
    external,
    model,
    varint,
)

SHORT = timedelta(seconds=0.2)
LONG = timedelta(seconds=30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a blob as the store does: without a suffix."""
    return tmp_path / "blob"


def inspected(path: Path, data: bytes, name: str, files: Mapping[str, int] = FILES) -> bytes | None:
    path.write_bytes(data)
    return inspect(path, name, files)


def test_a_safetensors_file_is_described(path: Path) -> None:
    data = file_of(HONEST, FOUR)
    assert inspected(path, data, "m/a.safetensors") == structure_bytes(parse(data))


def test_an_onnx_file_is_described(path: Path) -> None:
    data = changed(add(external(("location", "weights.bin"), ("length", "16"))))
    assert inspected(path, data, "m/model.onnx") == structure_bytes(describe_bytes(data))


def test_only_the_manifest_decides_what_a_model_may_use(path: Path) -> None:
    """Rows 36, 37 and 46: the file is there, but it is not opened and not in the manifest."""
    (path.parent / "weights.bin").write_bytes(bytes(16))
    data = changed(add(external(("location", "weights.bin"), ("length", "16"))))
    with pytest.raises(MalformedError) as refusal:
        inspected(path, data, "model.onnx", {"model.onnx": len(data)})
    assert refusal.value.reason is Reason.ONNX_EXTERNAL_DATA


@pytest.mark.parametrize("name", ["config.json", "model.bin", "onnx", "model.onnx.txt", "a.gguf"])
def test_other_files_are_not_inspected(path: Path, name: str) -> None:
    assert inspected(path, model().SerializeToString(), name) is None


@pytest.mark.parametrize("name", ["model.ONNX", "a.Safetensors"])
def test_no_spelling_of_a_suffix_escapes_inspection(path: Path, name: str) -> None:
    with pytest.raises(MalformedError):
        inspected(path, b"neither", name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("m.onnx", Reason.MALFORMED_ONNX),
        ("m.safetensors", Reason.SAFETENSORS_HEADER_SIZE),
    ],
)
def test_the_name_decides_and_not_the_content(path: Path, name: str, reason: Reason) -> None:
    """Row 80: each format under the name of the other."""
    other = file_of(HONEST, FOUR) if name == "m.onnx" else model().SerializeToString()
    with pytest.raises(MalformedError) as refusal:
        inspected(path, other, name)
    assert refusal.value.reason is reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [("m.onnx", Reason.MALFORMED_ONNX), ("m.safetensors", Reason.MALFORMED_SAFETENSORS)],
)
def test_an_empty_file_is_refused(path: Path, name: str, reason: Reason) -> None:
    """Rows 1 and 50."""
    with pytest.raises(MalformedError) as refusal:
        inspected(path, b"", name)
    assert refusal.value.reason is reason


def test_a_refusal_says_what_where_expected_and_actual(path: Path) -> None:
    with pytest.raises(MalformedError) as refusal:
        inspected(path, file_of(HONEST, FOUR + FOUR), "m.safetensors")
    error = refusal.value
    assert (error.reason, error.expected, error.actual) == (
        Reason.SAFETENSORS_LAYOUT,
        "8 bytes of data",
        "4 bytes of tensors",
    )


def test_a_huge_file_is_measured_and_not_read(path: Path) -> None:
    """A hole of 1 TiB takes no space, and its header no time."""
    size = 2**40
    header = f'{{"a":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}}}'
    with path.open("wb") as file:
        file.write(file_of(header))
        file.truncate(file.tell() + size)
    structure = parse_structure(inspect(path, "a.safetensors", {}) or b"")
    assert isinstance(structure, SafetensorsStructure)
    assert structure.tensors[0].end == size


def test_a_model_of_three_gib_is_refused_by_its_size(path: Path) -> None:
    """Row 58."""
    with path.open("wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(LimitExceededError) as refusal:
        inspect(path, "m.onnx", {})
    assert refusal.value.reason is Reason.INSPECTION_LIMIT


def test_a_model_with_nearly_two_gib_of_weights_is_described(path: Path) -> None:
    """The weights are a hole in the file; described within a fraction of its size in memory."""
    weights = 2_000_000_000
    graph = onnx.GraphProto(name="g").SerializeToString()
    tensor = b"\x08" + varint(weights) + b"\x10\x02\x4a" + varint(weights)
    graph += b"\x2a" + varint(len(tensor) + weights) + tensor
    start = model()
    start.ClearField("graph")
    head = start.SerializeToString() + b"\x3a" + varint(len(graph) + weights) + graph
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + weights)
    assert inspect(path, "m.onnx", {}) is not None


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_only_regular_files_are_opened(path: Path, kind: str) -> None:
    match kind:
        case "link":
            (path.parent / "target").write_bytes(model().SerializeToString())
            path.symlink_to(path.parent / "target")
        case "folder":
            path.mkdir()
        case _:
            os.mkfifo(path)
    with pytest.raises(MalformedError) as refusal:
        inspect(path, "m.onnx", {})
    assert refusal.value.reason is Reason.NOT_A_REGULAR_FILE


def test_a_file_that_is_not_there_is_the_callers_mistake(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect(path, "m.onnx", {})


def test_an_inspection_that_takes_too_long_is_ended(path: Path) -> None:
    path.write_bytes(model().SerializeToString())
    with pytest.raises(LimitExceededError) as refusal:
        inspect(path, "m.onnx", {}, time_limit=timedelta(milliseconds=1))
    assert refusal.value.reason is Reason.INSPECTION_LIMIT


def test_a_header_of_half_a_million_members_is_refused(path: Path) -> None:
    """Row 5: within the size that a header may have."""
    members = b",".join(b'"%x":0' % number for number in range(500_000))
    with pytest.raises(MalformedError) as refusal:
        inspected(path, file_of(b"{" + members + b"}"), "m.safetensors")
    assert refusal.value.reason is Reason.SAFETENSORS_HEADER


@pytest.mark.parametrize("limit", ["MEMORY_BYTES = 100 * 2**20", "CPU_SECONDS = 1"])
def test_a_header_that_takes_too_much_memory_or_time_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Rows 5 and 29, with smaller limits."""
    code = f"from registry.inspection import worker; worker.{limit}; worker.main()"
    monkeypatch.setattr(sandbox, "WORKER", python(code))
    with pytest.raises(LimitExceededError) as refusal:
        inspected(path, file_of(b'{"a":[' + b"[]," * 5_000_000 + b"[]]}"), "m.safetensors")
    assert refusal.value.reason is Reason.INSPECTION_LIMIT


def python(code: str) -> Sequence[str]:
    """Make a worker that does something else."""
    return [sys.executable, "-I", "-c", code]


def ask(code: str, *, request: bytes = b"{}", time_limit: timedelta = LONG) -> bytes:
    with Path(__file__).open("rb") as file:
        return sandbox.ask(
            python(code),
            request,
            file_name="m.onnx",
            descriptor=file.fileno(),
            time_limit=time_limit,
        )


@pytest.mark.parametrize(
    ("code", "time_limit"),
    [
        pytest.param("import time; time.sleep(60)", SHORT, id="hangs"),
        pytest.param("while True: pass", SHORT, id="spins"),
        pytest.param("import os; os.abort()", LONG, id="crashes"),
        pytest.param("import os; os.kill(os.getpid(), 9)", LONG, id="is killed"),
        pytest.param("raise SystemExit(3)", LONG, id="fails"),
        pytest.param("while True: print('x' * 65536)", SHORT, id="floods"),
        pytest.param(
            "import os\nos.close(1)\nimport time\ntime.sleep(60)", SHORT, id="closes and hangs"
        ),
    ],
)
@pytest.mark.parametrize("request_size", [2, 10_000_000])
def test_a_worker_that_misbehaves_is_one_refusal(
    code: str, time_limit: timedelta, request_size: int
) -> None:
    with pytest.raises(LimitExceededError) as refusal:
        ask(code, request=b"x" * request_size, time_limit=time_limit)
    assert refusal.value.reason is Reason.INSPECTION_LIMIT


def test_a_flood_is_ended_as_soon_as_it_is_one() -> None:
    with pytest.raises(LimitExceededError) as refusal:
        ask("while True: print('x' * 65536)")
    assert refusal.value.actual == f"more than {MAX_ANSWER_BYTES} bytes of answer"


@pytest.mark.parametrize(
    "answer",
    ["", "{}", "not JSON", '{"structure":{"format":"gguf"}}', '{"refusal":{"reason":"NEW"}}'],
)
def test_an_answer_that_makes_no_sense_is_a_refusal(
    path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    path.write_bytes(model().SerializeToString())
    monkeypatch.setattr(sandbox, "WORKER", python(f"print({answer!r}, end='')"))
    with pytest.raises(LimitExceededError) as refusal:
        inspect(path, "m.onnx", {})
    assert refusal.value.reason is Reason.INSPECTION_LIMIT


def test_a_whole_answer_of_the_largest_size_arrives() -> None:
    answer = ask(f"print('x' * {MAX_ANSWER_BYTES}, end='')")
    assert len(answer) == MAX_ANSWER_BYTES


SEAL = "from registry.inspection import worker; worker._seal()\n"


@pytest.mark.parametrize(
    "act",
    [
        pytest.param("open('/etc/passwd')", id="open a file"),
        pytest.param("import socket; socket.socket()", id="open a socket"),
        pytest.param("import os; os.pipe()", id="open a pipe"),
        pytest.param("import subprocess; subprocess.run(['/bin/true'])", id="start a process"),
    ],
)
def test_a_sealed_worker_can_do_nothing_but_compute(act: str) -> None:
    code = f"import os, socket, subprocess\n{SEAL}try:\n {act}\nexcept OSError: print('no')"
    assert ask(code) == b"no\n"


def test_a_worker_has_no_environment_and_no_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVREG_TEST_SECRET", "secret")
    with socket.socket() as other:
        os.set_inheritable(other.fileno(), True)
        code = (
            "import os\n"
            "print('PROVREG_TEST_SECRET' in os.environ)\n"
            f"try: os.fstat({other.fileno()})\n"
            "except OSError: print('closed')"
        )
        assert ask(code) == b"False\nclosed\n"


def test_asking_about_safetensors_does_not_load_onnx() -> None:
    code = (
        "import sys\n"
        "from registry.inspection import sandbox, worker\n"
        "print('onnx' in sys.modules, 'google.protobuf' in sys.modules)"
    )
    assert ask(code) == b"False False\n"
