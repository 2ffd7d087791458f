"""The main job on real models, told in plain words: run by ``tools/demo``.

Everything happens in a scratch folder through the ``provreg`` command, as a user would do it; only
the inference itself is Python, because that is where a node has its model. The node is attested by
a fake vendor, since few machines have a real one: the story says so, and so does every trace.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from registry.client.channel import Connection, Target
from registry.client.evidence import EvidenceCalls
from registry.client.registry import RegistryClient
from registry.core.capsule.facts import NO_VENDOR, TEST_ROOT
from registry.core.evidence.claims import Family
from registry.core.tlog.note import VerifierKey
from registry.shim.app import keep_attested, open_shim
from registry.shim.attestation import Attested, Attesting, Device
from registry.shim.attester.choice import open_attester
from registry.shim.proxies.onnx import RecordedSession
from registry.shim.release import PinnedRelease
from registry.signing.file import StatementSigner
from tools.fake_vendor import amd
from tools.free_ports import free_port

PROVREG = str(Path(sys.executable).parent / "provreg")
START_SECONDS = 30
FAMILY = Family.AMD_SNP
POLICY = "demo/snp"
HERE = Path(__file__).parents[1]
INPUTS = ("README.md", "pyproject.toml", "LICENSE", "registry/errors.py", "tools/demo")


def say(text: str) -> None:
    """One line of the story."""
    sys.stdout.write(f"\n== {text}\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """A detail of the story."""
    sys.stdout.write("".join(f"   {line}\n" for line in text.rstrip().splitlines()))
    sys.stdout.flush()


class World:
    """A scratch folder, a registry that can be killed, and the ``provreg`` command."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.data = scratch / "registry-data"
        # The same one when it is started again; HTTP takes the next port.
        self.address = f"127.0.0.1:{free_port(2)}"
        self._registry: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the registry and wait until it says that it listens."""
        self._registry = subprocess.Popen(
            [PROVREG, "serve", "--data", str(self.data), "--listen", self.address],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._registry.stdout is not None  # noqa: S101 - it is a pipe
        if self.address not in self._registry.stdout.readline():
            # Whatever was in the way, it said on the standard error, which is ours as well.
            status = self._registry.wait(START_SECONDS)
            raise SystemExit(f"the registry did not start at {self.address}: exit status {status}")

    def stop(self, *, kill: bool = False) -> None:
        """Stop the registry, in good order or with ``kill -9``."""
        if self._registry is None:
            return
        if kill:
            self._registry.kill()
        else:
            self._registry.terminate()
        self._registry.wait(START_SECONDS)
        if self._registry.stdout is not None:
            self._registry.stdout.close()
        self._registry = None

    def run(
        self, *arguments: str | Path, token: str = "", expect: int = 0, quiet: bool = False
    ) -> str:
        """Run one ``provreg`` command, show it and, unless it is ``quiet``, what it says."""
        words = [str(argument) for argument in arguments]
        shown = " ".join(word.replace(f"{self.scratch}/", "") for word in words)
        tell(f"$ provreg {shown}")
        done = subprocess.run(
            [PROVREG, *words],
            cwd=self.scratch,
            env={
                **os.environ,
                "PROVREG_SERVER": self.address,
                "PROVREG_LOG_KEY": f"@{self.data / 'log.vkey'}",
                "PROVREG_TOKEN_FILE": str(self.scratch / token) if token else "",
                "PROVREG_CONFIG_DIR": str(self.scratch / "config"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if not quiet:
            tell((done.stdout + done.stderr).replace(f"{self.scratch}/", ""))
        if done.returncode != expect:
            raise SystemExit(f"expected exit status {expect}, got {done.returncode}")
        return done.stdout


def package_folder(package: str) -> Path:
    """Where an installed package keeps its files, without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; run tools/demo")
    return Path(next(iter(found.submodule_search_locations)))


def collect_models(scratch: Path) -> tuple[Path, Path]:
    """Copy the real model files out of the two packages that ship them."""
    magika, silero = scratch / "magika", scratch / "silero-vad"
    shutil.copytree(package_folder("magika") / "models" / "standard_v3_3", magika)
    silero.mkdir()
    for name in ("silero_vad.onnx", "silero_vad_16k.safetensors"):
        shutil.copy(package_folder("silero_vad") / "data" / name, silero)
    return magika, silero


def features(
    path: Path, config: dict[str, int]
) -> "np.ndarray[tuple[int, ...], np.dtype[np.int32]]":
    """What this file-type model looks at: the first and the last bytes, white space stripped."""
    data = path.read_bytes()
    begin = data[: config["block_size"]].lstrip()[: config["beg_size"]]
    end = data[-config["block_size"] :].rstrip()[-config["end_size"] :]
    tokens = np.full(config["beg_size"] + config["end_size"], config["padding_token"], np.int32)
    tokens[: len(begin)] = np.frombuffer(begin, np.uint8)
    if end:
        tokens[-len(end) :] = np.frombuffer(end, np.uint8)
    return tokens[np.newaxis, :]


class FakeDevice:
    """A guest agent of the fake vendor, in a process of its own: it mints evidence when asked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tools.fake_vendor.guest_agent", str(FAMILY)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
        )
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self.address = self._process.stdout.readline().strip()

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(START_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()


def believe(world: World) -> None:
    """The operator registers by which policy nodes are attested."""
    say("The operator says what a node must run on, and by whose word")
    tell("THE VENDOR IS FAKE: ITS ROOT IS NAMED HERE, SO THAT THIS RUNS ON ANY MACHINE.")
    tell("ITS CRYPTOGRAPHY IS REAL. OF HARDWARE IT PROVES NOTHING, AND EVERY TRACE SAYS SO.")
    policy = json.loads(world.run("policy", "starter", FAMILY, quiet=True))
    policy["name"] = POLICY
    policy["skip"].remove("measurement")
    policy["reference_values"]["measurement"] = [amd.Spec().measurement.hex()]
    policy["roots"] = [
        {"vendor": vendor, "sha256": root} for vendor, root in sorted(amd.roots().named)
    ]
    (world.scratch / "policy.json").write_text(json.dumps(policy, indent=2))
    world.run("policy", "register", "policy.json", token="registry-data/admin.token")  # noqa: S106


def attested(found: Attested) -> None:
    """Tell of a result that admits the node's key."""
    tell(f"its key is attested by entry {found.index} until {found.expires_at:%Y-%m-%d %H:%M} UTC")
    tell(f"evidence {found.evidence_id.hex()}")
    if found.configured_roots:
        tell(f"{NO_VENDOR}: {TEST_ROOT}")


def infer(world: World, device: FakeDevice, model: Path, answers: Path) -> None:
    """An attested node answers five questions; the registry dies in between and comes back."""
    log_key = VerifierKey.parse((world.data / "log.vkey").read_text().strip())
    token = (world.scratch / "edge.token").read_text().strip()
    key = StatementSigner.load(world.scratch / "edge.pem")
    config = json.loads((model / "config.min.json").read_text())
    labels: Sequence[str] = config["target_labels_space"]
    connection = Connection(Target.parse(world.address), token=token)
    with RegistryClient(connection, log_key) as client:
        known = client.release("acme/magika", "3.3")
        release = PinnedRelease(
            known.logged.envelope.record_id, "acme/magika", "3.3", known.manifest
        )
        asked = Device(open_attester(device.address), POLICY)
        attesting = Attesting(EvidenceCalls(client), asked, required=True)
        journal = world.scratch / "journal"
        say("The node's device commits to its key and to the model; the registry judges that")
        with (
            keep_attested(attesting, key.public_key, release) as attestation,
            open_shim(journal, key, client, release, model, log_key=log_key) as shim,
        ):
            attestation.follow(attested)
            session = RecordedSession.open(
                model, "model.onnx", release, shim.recorder, attestation=attestation
            )
            say("It runs the model on real files; each answer is recorded before it is given")
            for number, name in enumerate(INPUTS):
                if number == len(INPUTS) - 2:
                    say("The registry is killed (kill -9) while the node goes on answering")
                    world.stop(kill=True)
                answer = session.run_recorded(None, {"bytes": features(HERE / name, config)})
                scores = answer.outputs[0][0]
                tell(f"{name:20} is {labels[int(scores.argmax())]:10} ({scores.max():.2f})")
                (answers / f"{Path(name).name}.json").write_bytes(answer.to_json())
            say("The registry is started again; the node delivers what it wrote down")
            world.start()
            shim.flush(START_SECONDS)
            tell("every inference receipt is registered, each with its proof")


def prove(world: World, answers: Path) -> None:
    """An auditor asks, the registry goes away, the proof stays."""
    say("An auditor holds one answer, and asks where it comes from")
    answer, capsule = answers / "README.md.json", world.scratch / "answer.capsule"
    demand = "--require-attestation"
    world.run("trace", answer, "--capsule", capsule, demand, token="vera.token")  # noqa: S106
    say("The registry is stopped for good. The capsule alone still proves it")
    log_key = (world.data / "log.vkey").read_text().strip()
    world.stop()
    world.run("verify", capsule, "--output", answer, "--log-key", log_key, demand)
    say("One byte of the capsule is flipped")
    damaged = bytearray(capsule.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    forged = world.scratch / "forged.capsule"
    forged.write_bytes(damaged)
    world.run("verify", forged, "--output", answer, "--log-key", log_key, expect=1)


def prepare(world: World) -> Path:
    """Everything up to a node that has the model."""
    say("A registry is started from nothing")
    world.start()
    tell(f"listening on {world.address}")
    say("A publisher, a node and an auditor are let in")
    admin = "registry-data/admin.token"
    for name, role, extra in (
        ("acme", "publisher", ("--namespace", "acme/*")),
        ("edge", "node", ()),
    ):
        world.run("key", "generate", f"{name}.pem")
        keys = ("--key", f"{name}.pem.pub", "--token-out", f"{name}.token")
        world.run("principal", "add", name, "--role", role, *extra, *keys, token=admin)
    world.run(
        "principal", "add", "vera", "--role", "auditor", "--token-out", "vera.token", token=admin
    )
    believe(world)
    say("The publisher registers data, publishes two real models, and says what they owe")
    magika, silero = collect_models(world.scratch)
    corpus = world.scratch / "corpus"
    corpus.mkdir()
    shutil.copy(HERE / "LICENSE", corpus / "sample.txt")
    signed = ("--key", "acme.pem")
    world.run(
        "dataset",
        "register",
        corpus,
        "--name",
        "acme/corpus",
        "--version",
        "1",
        "--licence",
        "Apache-2.0",
        "--contributor",
        "alice=3:Alice",
        "--contributor",
        "bob=1:Bob",
        *signed,
        token="acme.token",  # noqa: S106 - a file
    )
    world.run(
        "model",
        "publish",
        magika,
        "--name",
        "acme/magika",
        "--version",
        "3.3",
        "--licence",
        "Apache-2.0",
        "--trained-on",
        "acme/corpus@1",
        *signed,
        token="acme.token",  # noqa: S106
    )
    world.run(
        "model",
        "publish",
        silero,
        "--name",
        "acme/silero-vad",
        "--version",
        "6.2",
        "--licence",
        "MIT",
        *signed,
        token="acme.token",  # noqa: S106 - a file
    )
    world.run(
        "attribution",
        "register",
        "--model",
        "acme/magika@3.3",
        "--dataset",
        "acme/corpus@1=1",
        *signed,
        token="acme.token",  # noqa: S106 - a file
    )
    say("The node fetches both; every byte, signature and proof is checked on its side")
    world.run("model", "fetch", "acme/magika@3.3", "node/magika", token="edge.token")  # noqa: S106
    world.run("model", "fetch", "acme/silero-vad@6.2", "node/silero", token="edge.token")  # noqa: S106
    return world.scratch / "node" / "magika"


def main() -> None:
    """Tell the story."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="provreg-demo-") as folder:
        world = World(Path(folder))
        device = FakeDevice()
        (world.scratch / "node").mkdir()
        answers = world.scratch / "answers"
        answers.mkdir()
        try:
            model = prepare(world)
            infer(world, device, model, answers)
            prove(world, answers)
        finally:
            device.stop()
            world.stop()
    say(f"Done in {time.monotonic() - begun:.0f} s. What was shown is what tools/test checks.")


if __name__ == "__main__":
    main()
