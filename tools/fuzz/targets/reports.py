"""Targets of the shim's questions: what model servers say of themselves, and settings by digest."""

import json
from typing import Final

from registry.core.profiles.tensor import Tensor
from registry.errors import MalformedError, Reason, RegistryError
from registry.remote.http import Answer
from registry.shim.configuration import Configuration
from registry.shim.proxies.tensor_params import read_members, read_tensor
from registry.shim.reports import ollama, open_inference, openai
from registry.shim.reports.wanted import Asking, Wanted
from registry.wire import model_metadata
from tests.shim.reports import scripted
from tests.shim.test_configuration import PLAIN
from tools.fuzz.members import members, structured
from tools.fuzz.target import Again, Target
from tools.profile_vectors import forms

_READERS: Final = {
    "ollama": (ollama.read, scripted.ollama()),
    "openai": (openai.read, scripted.openai("tiny")),
    "llama-cpp": (openai.read_llama_cpp, scripted.llama_cpp("tiny")),
    "open-inference": (open_inference.read, scripted.triton("1")),
}


class _Said:
    """Answers what the input says, path by path, without a network."""

    def __init__(self, data: bytes) -> None:
        try:
            said = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise MalformedError(Reason.MALFORMED_JSON, "no script") from error
        self._said = said if isinstance(said, dict) else {}

    def get(self, url: str, *, max_bytes: int) -> Answer:
        return self._answer(f"GET {url}", max_bytes)

    def post(self, url: str, _body: bytes, *, max_bytes: int, **_named: str) -> Answer:
        return self._answer(f"POST {url}", max_bytes)

    def _answer(self, asked: str, max_bytes: int) -> Answer:
        said = self._said.get(asked)
        body = b"" if said is None else json.dumps(said).encode()[:max_bytes]
        return Answer("", 404 if said is None else 200, {}, body)


def _report(name: str) -> Again:
    read = _READERS[name][0]

    def again(data: bytes) -> None:
        asking = Asking("", _Said(data))  # type: ignore[arg-type]  # as much of a client as is used
        read(asking, Wanted("tiny", "", "acme/x@1.2.0"))

    return again


def _params(data: bytes) -> None:
    read_tensor(Tensor("sampling_parameters", "BYTES", (1,), data))
    read_tensor(Tensor("temperature", "FP32", (1,), data))
    read_members("sampling_parameters", "BYTES", [data.decode("utf-8", "replace")])


def _metadata(data: bytes) -> None:
    for read in (model_metadata.read_model, model_metadata.read_server):
        try:
            read(data)
        except RegistryError:
            continue


TARGETS: Final = (
    *(
        Target(f"report-{name}", (json.dumps(said).encode(),), _report(name), (members, structured))
        for name, (_, said) in _READERS.items()
    ),
    Target("model-metadata", (forms.field(1, b"tiny") + forms.field(2, b"3"),), _metadata),
    Target(
        "sampling-parameters",
        (b'\x13\x00\x00\x00{"temperature":0.7}',),
        _params,
    ),
    Target(
        "shim-configuration",
        (PLAIN.to_bytes(),),
        lambda data: Configuration.parse(data).to_bytes(),
        (members,),
    ),
)
"""Whatever the shim reads that is no call."""
