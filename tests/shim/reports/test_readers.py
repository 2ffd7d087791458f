"""What model servers say of what they serve is read as they say it; anything else is refused."""

import contextlib
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from registry.core.digest import sha256
from registry.core.records.inference import Report
from registry.errors import MalformedError, NotFoundError, Reason, RegistryError
from registry.shim.reports.choice import Interface, reader_of
from registry.shim.reports.wanted import MAX_ANSWER_BYTES, Wanted
from registry.shim.serving import Upstream
from tests.shim.proxies.oip_server import field, fields
from tests.shim.reports import scripted
from tests.shim.reports.scripted import MANIFEST, TEMPLATE, WEIGHTS, Script, saying

REFERENCE = "acme/x@1.2.0"


SCRIPT = Script({})


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """One server for this file, that says what :data:`SCRIPT` says."""
    with saying(SCRIPT) as url:
        SCRIPT.url = url
        yield


def asked(interface: Interface, said: dict[str, Any], name: str = "", version: str = "") -> Report:
    """What is read of a server that says this."""
    SCRIPT.said = said
    return reader_of(interface, Upstream(SCRIPT.url), Wanted(name, version, REFERENCE))()


@pytest.mark.parametrize("name", ["tiny", "tiny:latest"])
def test_ollama_names_manifest_weights_adapters_template_and_quantisation(name: str) -> None:
    found = asked("ollama", scripted.ollama(), name)
    assert found == Report(
        interface="ollama",
        model="tiny:latest",
        digest=MANIFEST,
        weights=(WEIGHTS,),
        adapters=("c" * 64,),
        chat_template=sha256(TEMPLATE.encode()).hex(),
        quantization="Q4_K_M",
        engine="ollama",
        engine_version="0.5.7",
    )
    assert found.names_it


def test_vllm_names_a_version_only_if_it_was_started_with_the_registered_one() -> None:
    found = asked("openai", scripted.openai("tiny", "lora"), "tiny")
    assert (found.model, found.version, found.names_it) == ("tiny", "", False)
    assert (found.engine, found.engine_version) == ("vllm", "0.10.1")
    found = asked("openai", scripted.openai(REFERENCE))
    assert (found.version, found.names_it) == ("1.2.0", True)
    found = asked("openai", scripted.openai("acme/x@1.2.1"))
    assert (found.version, found.names_it) == ("", False)


def test_a_server_without_a_version_of_its_own_is_read_as_well() -> None:
    said = scripted.openai("tiny") | {"GET /version": None}
    assert not asked("openai", said).engine_version


def test_llama_cpp_names_its_build_and_the_digest_of_its_template() -> None:
    found = asked("llama.cpp", scripted.llama_cpp(REFERENCE))
    assert (found.engine, found.engine_version) == ("llama.cpp", "b6000-abcdef12")
    assert found.chat_template == sha256(TEMPLATE.encode()).hex()
    assert found.version == "1.2.0"


@pytest.mark.parametrize(
    ("said", "version", "expected"),
    [
        (scripted.triton("3"), "", "3"),
        (scripted.triton("1", "3"), "3", "3"),
        (scripted.triton(), "", ""),
        (
            scripted.triton() | {"GET /v2/models/tiny": {"name": "tiny", "versions": None}},
            "",
            "",
        ),
    ],
    ids=["the only one", "the one that is named", "none", "null"],
)
def test_triton_names_the_version_that_it_serves(
    said: dict[str, Any], version: str, expected: str
) -> None:
    found = asked("open-inference", said, "tiny", version)
    assert (found.model, found.version) == ("tiny", expected)
    assert (found.engine, found.engine_version) == ("triton", "2.60.0")


def but(said: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """What a server says, but for one path."""
    return said | {path: value}


def shown(**members: object) -> dict[str, Any]:
    """An Ollama that shows a model otherwise."""
    said = scripted.ollama()
    return but(said, "POST /api/show", said["POST /api/show"] | members)


@pytest.mark.parametrize(
    ("interface", "said", "reason"),
    [
        ("ollama", but(scripted.ollama(), "GET /api/tags", None), Reason.REMOTE_STATUS),
        ("ollama", but(scripted.ollama(), "GET /api/tags", b"no JSON"), Reason.MALFORMED_JSON),
        ("ollama", but(scripted.ollama(), "GET /api/tags", [1]), Reason.UNREPORTED),
        ("ollama", but(scripted.ollama(), "GET /api/tags", {"models": {}}), Reason.UNREPORTED),
        ("ollama", but(scripted.ollama(), "GET /api/tags", {"models": [1]}), Reason.UNREPORTED),
        ("ollama", but(scripted.ollama(), "GET /api/tags", {"models": []}), Reason.UNREPORTED),
        ("ollama", scripted.ollama(digest="short"), Reason.UNREPORTED),
        ("ollama", shown(modelfile=7), Reason.UNREPORTED),
        ("ollama", shown(template=7), Reason.UNREPORTED),
        ("ollama", shown(details=[]), Reason.UNREPORTED),
        ("ollama", shown(details={"quantization_level": "\0"}), Reason.UNREPORTED),
        ("ollama", shown(details={"quantization_level": 4}), Reason.UNREPORTED),
        ("ollama", shown(details={"quantization_level": "a" * 257}), Reason.UNREPORTED),
        (
            "ollama",
            shown(modelfile=f"FROM /blobs/sha256-{WEIGHTS}\n" * 17),
            Reason.UNREPORTED,
        ),
        (
            "ollama",
            but(scripted.ollama(), "GET /api/version", b" " * (MAX_ANSWER_BYTES + 1)),
            Reason.ANSWER_TOO_LARGE,
        ),
        ("open-inference", scripted.triton("1", "2"), Reason.UNREPORTED),
        ("open-inference", scripted.triton("1", name="other"), Reason.REMOTE_STATUS),
        (
            "open-inference",
            but(scripted.triton("1"), "GET /v2/models/tiny", {"name": "x", "versions": ["1"]}),
            Reason.UNREPORTED,
        ),
        (
            "open-inference",
            but(scripted.triton("1"), "GET /v2/models/tiny", {"name": "tiny", "versions": [1]}),
            Reason.UNREPORTED,
        ),
    ],
    ids=range(19),
)
def test_what_is_said_otherwise_is_no_report(
    interface: Interface, said: dict[str, Any], reason: Reason
) -> None:
    with pytest.raises(RegistryError) as caught:
        asked(interface, said, "tiny")
    assert caught.value.reason is reason


def test_files_that_ollama_names_otherwise_than_by_their_digest_are_no_digests() -> None:
    other = (
        f"FROM tiny:7b\nFROM /x/sha256-{'A' * 64}\nFROM sha256-{WEIGHTS}\n# FROM /sha256-{WEIGHTS}"
    )
    assert asked("ollama", shown(modelfile=other), "tiny").weights == ()


def test_of_several_models_one_must_be_named() -> None:
    with pytest.raises(NotFoundError) as caught:
        asked("ollama", scripted.ollama())
    assert caught.value.reason is Reason.UNREPORTED
    assert "--served-as" in caught.value.hint


@pytest.mark.parametrize("url", ["grpc://127.0.0.1:1", "http://127.0.0.1:1"])
def test_an_interface_that_wants_a_name_says_so(url: str) -> None:
    with pytest.raises(MalformedError) as caught:
        reader_of("open-inference", Upstream(url), Wanted("", "", REFERENCE))
    assert "--served-as" in caught.value.hint


def test_over_grpc_there_is_one_interface() -> None:
    with pytest.raises(MalformedError) as caught:
        reader_of("ollama", Upstream("grpc://127.0.0.1:1"), Wanted("", "", REFERENCE))
    assert caught.value.reason is Reason.BAD_SETTING


class Metadata(grpc.GenericRpcHandler):
    """Answers as Triton does over gRPC; written by hand, not with the code under test."""

    def __init__(self, *, broken: bool = False) -> None:
        self.asked: list[bytes] = []
        self._broken = broken

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        if method == "ModelMetadata":
            return grpc.unary_unary_rpc_method_handler(self._model)
        if method == "ServerMetadata":
            return grpc.unary_unary_rpc_method_handler(
                lambda _request, _context: field(1, b"triton") + field(2, b"2.60.0")
            )
        return None

    def _model(self, request: bytes, _context: Any) -> bytes:
        self.asked.append(request)
        if self._broken:
            return b"\xff"
        return field(1, b"tiny") + field(2, b"3") + field(3, b"onnxruntime_onnx")


@contextlib.contextmanager
def serving(handler: grpc.GenericRpcHandler) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_triton_names_the_version_over_grpc_as_well() -> None:
    handler = Metadata()
    with serving(handler) as url:
        found = reader_of("open-inference", Upstream(url), Wanted("tiny", "3", REFERENCE))()
    assert (found.model, found.version, found.engine) == ("tiny", "3", "triton")
    assert fields(handler.asked[0]) == {1: [b"tiny"], 2: [b"3"]}


def test_a_grpc_server_that_says_something_else_or_nothing_is_told() -> None:
    with serving(Metadata(broken=True)) as url:
        read = reader_of("open-inference", Upstream(url), Wanted("tiny", "", REFERENCE))
        with pytest.raises(RegistryError) as caught:
            read()
        assert caught.value.reason is Reason.UNREPORTED
    with serving(grpc.method_handlers_generic_handler("other", {})) as url:
        read = reader_of("open-inference", Upstream(url), Wanted("tiny", "", REFERENCE))
        with pytest.raises(RegistryError) as caught:
            read()
        assert "UNIMPLEMENTED" in caught.value.actual
