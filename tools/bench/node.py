"""A node for benchmarks: it has a model that a registry knows, and times two ways to use it."""

import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from registry.api.v1 import access_pb2
from registry.core.tlog.note import VerifierKey
from registry.signing.file import StatementSigner
from tools.bench.world import Running, registry


@dataclass
class Pair:
    """The same thing without and with a shim, in milliseconds or per second."""

    straight: list[float] = field(default_factory=list)
    recorded: list[float] = field(default_factory=list)

    def line(self, title: str, quantile: int, promise: str) -> str:
        """One line of the table."""
        one, other = (_quantile(values, quantile) for values in (self.straight, self.recorded))
        return f"{title:32} {one:8.3f} {other:8.3f}  {other - one:+7.3f} ms  ({promise})\n"


def _quantile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def model_bytes() -> bytes:
    """A model that gives back what it gets: nothing but the overhead is measured."""
    kind = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])
    back = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [kind], [back])
    opsets = [helper.make_opsetid("", 17)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    onnx.load_model_from_string(made)
    return made


@dataclass(frozen=True)
class World:
    """A registry with one version of a model, and a node that has it."""

    running: Running
    folder: Path
    token: str
    key: StatementSigner

    @property
    def log_key(self) -> VerifierKey:
        """The log's key."""
        return VerifierKey.parse((self.running.folder / "log.vkey").read_text().strip())

    def run(self, *words: object, token: str) -> None:
        """Run ``provreg``."""
        command = [sys.executable, "-m", "registry", "--server", self.running.address]
        command += ["--log-key", str(self.log_key), "--token-file", token, *map(str, words)]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)


@contextlib.contextmanager
def world() -> Iterator[World]:
    """A registry with a published model, and a node that fetched it."""
    with registry() as running, tempfile.TemporaryDirectory(prefix="provreg-bench-") as scratch:
        folder = Path(scratch)
        for name, role in (("acme", access_pb2.ROLE_PUBLISHER), ("node", access_pb2.ROLE_NODE)):
            token, key = running.add(name, role, "acme/*")
            (folder / f"{name}.token").write_text(token + "\n")
            key.save(folder / f"{name}.pem")
        made = World(running, folder, token, key)
        (folder / "model").mkdir()
        (folder / "model" / "model.onnx").write_bytes(model_bytes())
        words = ("model", "publish", "model", "--name", "acme/x", "--version", "1")
        made.run(*words, "--key", "acme.pem", token="acme.token")  # noqa: S106 - a file
        made.run("model", "fetch", "acme/x@1", "files", token="node.token")  # noqa: S106 - a file
        yield made
