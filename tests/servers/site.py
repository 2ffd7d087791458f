"""A registry, a published model, and ``provreg shim`` in front of a server that runs it.

::

    with site(folder) as place:
        model = place.publish("acme/tiny", {"model.gguf": gguf()})
        with llama(model.file("model.gguf")) as url:
            with place.shims(model, (url, ("--files", model.folder))) as [proxy]:
                ...
        place.believe(receipt_id, content_digest, model)
"""

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.client.channel import Connection, Target
from registry.client.journals import JournalCalls, ProvenRecord
from registry.client.registry import RegistryClient
from registry.core.capsule.container import Capsule
from registry.core.capsule.walk import appraise
from registry.core.records import inference
from registry.core.records.names import split_reference
from registry.core.tlog.note import VerifierKey
from registry.core.verdict import Verdict, overall
from registry.errors import NotFoundError
from registry.shim.app import open_shim
from registry.shim.deployment import Description, Engine, Standing
from registry.shim.model_watch import ModelWatch
from registry.shim.recorder.calls import Calls
from registry.shim.release import PinnedRelease
from tests.forking import Process, provreg
from tests.running import Caller, Running, running_registry
from tests.servers import environment
from tools.free_ports import free_port

SOON = 30.0
"""Seconds within which anything happens here."""

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Model:
    """A published version, and its files as the registry handed them out."""

    name: str
    folder: Path

    def file(self, path: str) -> Path:
        return self.folder / path


@dataclass(frozen=True)
class Proxy:
    """A running ``provreg shim``."""

    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@dataclass(frozen=True)
class Site:
    """One registry with a publisher and a node."""

    folder: Path
    running: Running
    publisher: Caller
    node: Caller
    client: RegistryClient

    def publish(self, name: str, files: Mapping[str, bytes]) -> Model:
        """Publish version 1, and fetch it as the node."""
        source = self.folder / "source" / name.replace("/", "-")
        source.mkdir(parents=True)
        for path, data in files.items():
            (source / path).write_bytes(data)
        key = self.folder / f"{self.publisher.name}.pem"
        self._run(
            self.publisher,
            *("model", "publish", source, "--name", name, "--version", "1", "--key", key),
        )
        target = self.folder / "models" / name.replace("/", "-")
        target.parent.mkdir(exist_ok=True)
        self._run(self.node, "model", "fetch", f"{name}@1", target)
        return Model(f"{name}@1", target)

    @contextlib.contextmanager
    def shims(
        self, model: Model, *upstreams: tuple[str, Sequence[object]]
    ) -> Iterator[list[Proxy]]:
        """Run a shim in front of each upstream, with further arguments, while the block runs."""
        with contextlib.ExitStack() as stack:
            # All are started before any is waited for.
            started = [
                stack.enter_context(self._shim(model, upstream, more))
                for upstream, more in upstreams
            ]
            yield [_listening(process) for process in started]

    @contextlib.contextmanager
    def _shim(self, model: Model, upstream: str, more: Sequence[object]) -> Iterator[Process]:
        data = self.folder / "shims" / str(len(list(self.folder.glob("shims/*"))))
        data.mkdir(parents=True)
        words = self._words(
            self.node,
            *("shim", "--model", model.name, "--upstream", upstream, "--listen", "127.0.0.1:0"),
            *("--folder", data, "--key", self.folder / f"{self.node.name}.pem", *more),
        )
        with provreg(*words, stderr=True, env=self._environment()) as process:
            assert process.stderr is not None
            try:
                yield process
            finally:
                process.terminate()
                said = process.stderr.read()
                assert process.wait(SOON) == 0, said

    @contextlib.contextmanager
    def recorder(self, model: Model, data: Path, upstream: str) -> Iterator[Calls]:
        """Run a shim within this process while the block runs; gives where calls go."""
        name, version = split_reference(model.name)
        known = self.client.release(name, version)
        release = PinnedRelease(known.logged.envelope.record_id, name, version, known.manifest)
        watch = ModelWatch(release, model.folder)
        with open_shim(
            data, self.node.signer, self.client, release, None, log_key=self.client.log_key
        ) as shim:
            described = Description.of(
                release, Engine("llama.cpp"), upstream=upstream, files_verified=watch.count
            )
            standing = Standing(shim.recorder, described, None)
            yield Calls(shim.recorder, shim.unrecorded, standing, allowed=watch.check)

    def outcome(self, receipt_id: str) -> ProvenRecord:
        """The registered outcome of the call that this receipt id names, with its proof."""
        shim_id, _, n = receipt_id.partition("/")
        end = time.monotonic() + SOON
        while time.monotonic() < end:
            # A record that is being registered is not there, or is beyond the newest checkpoint.
            with contextlib.suppress(NotFoundError):
                for found in JournalCalls(self.client).about(bytes.fromhex(shim_id), int(n)):
                    return found
            time.sleep(0.1)
        raise AssertionError(receipt_id)

    def records(self, receipt_id: str) -> list[inference.Record]:
        """The records of a shim before the one that this receipt id names, all registered."""
        shim_id, _, n = receipt_id.partition("/")
        journals = JournalCalls(self.client)
        return [journals.record(bytes.fromhex(shim_id), place).record for place in range(int(n))]

    def setup_of(self, completion: inference.Completion) -> inference.Setup:
        """What was written down of what ran."""
        assert isinstance(completion.setup_n, int)
        shim_id = bytes.fromhex(completion.sequence.shim_id)
        found = JournalCalls(self.client).record(shim_id, completion.setup_n).record
        assert isinstance(found, inference.Setup)
        return found

    def believe(self, receipt_id: str, content_digest: str, model: Model) -> inference.Completion:
        """Find an answer by both of its names, and trace it to the model version that made it."""
        found = self.outcome(receipt_id).record
        assert isinstance(found, inference.Completion)
        assert found.response.content_digest == content_digest
        assert f"{found.model.name}@{found.model.version}" == model.name
        # And the proof that somebody without this registry would be given.
        digest = bytes.fromhex(content_digest)
        traced = self.client.trace([digest])
        report = appraise(Capsule.parse(traced.capsule), self.client.log_key, [digest])
        assert overall((*report.checks_then, *report.checks_now)) is Verdict.VALID, report.to_text()
        assert model.name in report.to_text()
        return found

    def _run(self, caller: Caller, *arguments: object) -> None:
        words = self._words(caller, *arguments)
        with provreg(*words, stderr=True, env=self._environment()) as process:
            assert process.stderr is not None
            said = process.stderr.read()
            assert process.wait(SOON) == 0, said

    def _words(self, caller: Caller, *arguments: object) -> tuple[object, ...]:
        token = self.folder / f"{caller.name}.token"
        where = ("--server", self.running.address, "--log-key", self.client.log_key)
        return (*where, "--token-file", token, *arguments)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PROVREG_CONFIG_DIR": str(self.folder / "config")}


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Run a registry while the block runs."""
    with running_registry(folder / "data") as running:
        publisher = running.admit("acme", "publisher", namespaces=["acme/*"])
        node = running.admit("node-1", "node")
        for caller in (publisher, node):
            (folder / f"{caller.name}.token").write_text(caller.token + "\n")
            caller.signer.save(folder / f"{caller.name}.pem")
        log_key = VerifierKey.parse((running.data / "log.vkey").read_text().strip())
        connection = Connection(Target.parse(running.address), token=node.token)
        with RegistryClient(connection, log_key) as client:
            yield Site(folder, running, publisher, node, client)


@contextlib.contextmanager
def llama(model: Path) -> Iterator[str]:
    """Run the server of llama.cpp with a model; gives its address."""
    words = [environment.python(), str(HERE / "llama_server.py"), str(model)]
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "llama.cpp did not start"
            yield url
        finally:
            process.kill()


@contextlib.contextmanager
def kserve(model: Path) -> Iterator[tuple[str, str]]:
    """Run KServe's server with a model named m; gives its addresses for HTTP and gRPC."""
    ports = [str(free_port()) for _ in range(2)]
    words = [environment.python(), str(HERE / "kserve_server.py"), str(model), *ports]
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for port in ports:
                _wait_for(int(port), process)
            yield f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
        finally:
            process.kill()


def _listening(process: Process) -> Proxy:
    """The shim that a process becomes."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search(r"listening on (\S+:\d+)", line):
            return Proxy(found[1])
    raise AssertionError(said)


def _wait_for(port: int, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        assert process.poll() is None, process.stderr and process.stderr.read()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    message = f"nobody listens on port {port}"
    raise AssertionError(message)
