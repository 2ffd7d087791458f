"""Errors on their way through a real gRPC server, unary and streaming, and back."""

from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from registry import errors
from registry.errors import (
    LimitExceededError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
)
from registry.wire.status import (
    DETAILS_KEY,
    MAX_PART_BYTES,
    Metadata,
    from_rpc_error,
    internal,
    to_status,
)

TABLE = [
    (errors.MalformedError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.VerificationError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.RefusedError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.ConflictError, grpc.StatusCode.ALREADY_EXISTS),
    (errors.UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (errors.ForbiddenError, grpc.StatusCode.PERMISSION_DENIED),
    (errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
    (errors.LimitExceededError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (errors.UnsupportedError, grpc.StatusCode.UNIMPLEMENTED),
    (errors.DamagedError, grpc.StatusCode.DATA_LOSS),
]


class World:
    """A server whose every call ends in the error that the test wants."""

    def __init__(self) -> None:
        self.error: Exception = RegistryError(Reason.INTERNAL, "")
        self.abort_with: tuple[grpc.StatusCode, str] | None = None
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "Stream": grpc.unary_stream_rpc_method_handler(self._stream),
        }
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test", handlers),)
        )
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def _abort(self, context: grpc.ServicerContext) -> None:
        if self.abort_with is not None:
            context.abort(*self.abort_with)
        if isinstance(self.error, RegistryError):
            code, text, metadata = to_status(self.error)
        else:
            code, text, metadata = internal("r-17")
        context.set_trailing_metadata(metadata)
        context.abort(code, text)

    def _unary(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        self._abort(context)
        return b""

    def _stream(self, _request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"first"
        self._abort(context)

    def call(self, error: Exception) -> tuple[grpc.StatusCode, RegistryError]:
        self.error = error
        with pytest.raises(grpc.RpcError) as caught:
            _call(self.channel)
        return caught.value.code(), from_rpc_error(caught.value)


def _call(channel: grpc.Channel) -> None:
    unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test/Unary")
    unary(b"", timeout=10)


@pytest.fixture(scope="module")
def _server() -> Iterator[World]:
    world = World()
    yield world
    world.channel.close()
    world.server.stop(None)


@pytest.fixture
def world(_server: World) -> World:
    _server.abort_with = None
    return _server


def test_the_table_names_every_class_of_the_tree() -> None:
    assert {kind for kind, _ in TABLE} == set(RegistryError.__subclasses__())


@pytest.mark.parametrize(("kind", "code"), TABLE)
def test_a_class_has_its_status_code_and_comes_back(
    world: World, kind: type[RegistryError], code: grpc.StatusCode
) -> None:
    status, error = world.call(kind(Reason.STORED_BYTES, "it is so"))
    assert (status, type(error)) == (code, kind)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_comes_back(reason: Reason) -> None:
    assert _back(to_status(MalformedError(reason, "x"))).reason is reason


def test_every_part_of_an_error_comes_back(world: World) -> None:
    sent = MalformedError(
        Reason.UNSAFE_PATH, "this is bad", where="«ü»", expected="a", actual="b", hint="c"
    )
    _, error = world.call(sent)
    assert vars(error) == vars(sent)


def test_an_error_in_a_stream_comes_back_like_any_other(world: World) -> None:
    world.error = errors.DamagedError(Reason.STORED_BYTES, "rotten", where="blob")
    stream: grpc.UnaryStreamMultiCallable[bytes, bytes]
    stream = world.channel.unary_stream("/test/Stream")
    answers = stream(b"", timeout=10)
    next(answers)
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert str(from_rpc_error(caught.value)) == str(world.error)


def test_an_error_outside_the_table_tells_its_request_id_and_nothing_else(world: World) -> None:
    status, error = world.call(ValueError("the password is swordfish"))
    assert status is grpc.StatusCode.INTERNAL
    assert error.reason is Reason.INTERNAL
    assert "r-17" in error.what
    assert "swordfish" not in str(error)


def test_the_root_of_the_tree_is_outside_the_table(world: World) -> None:
    _, error = world.call(RegistryError(Reason.LOG_BUSY, "swordfish"))
    assert "swordfish" not in str(error)


def test_long_parts_are_cut_so_that_the_whole_fits_into_metadata(world: World) -> None:
    long = "ü€😀" * 10_000
    _, error = world.call(
        MalformedError(Reason.UNSAFE_PATH, long, where=long, expected=long, actual=long, hint=long)
    )
    assert error.what.endswith("…")
    assert len(error.hint.encode()) <= MAX_PART_BYTES


def test_text_that_is_no_unicode_is_told_in_escapes(world: World) -> None:
    _, error = world.call(MalformedError(Reason.UNSAFE_PATH, "x", where="a\udcffb"))
    assert error.where == "a\\udcffb"


def test_control_characters_from_a_server_do_not_reach_a_terminal(world: World) -> None:
    _, error = world.call(MalformedError(Reason.UNSAFE_PATH, "x", where="\x1b[2J\n\u202e"))
    assert error.where.isprintable()


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError) as caught:
        _call(channel)
    error = from_rpc_error(caught.value)
    assert (type(error), error.reason) == (UnavailableError, Reason.UNREACHABLE)


@pytest.mark.parametrize(
    ("code", "text", "kind", "reason"),
    [
        ("DEADLINE_EXCEEDED", "", UnavailableError, Reason.DEADLINE),
        ("CANCELLED", "", UnavailableError, Reason.UNREACHABLE),
        (
            "RESOURCE_EXHAUSTED",
            "Received message larger than max (9 vs. 8)",
            LimitExceededError,
            Reason.MESSAGE_TOO_LARGE,
        ),
        ("RESOURCE_EXHAUSTED", "Concurrent RPC limit", UnavailableError, Reason.UNREACHABLE),
        ("UNIMPLEMENTED", "", RegistryError, Reason.INTERNAL),
        ("INVALID_ARGUMENT", "by a proxy", RegistryError, Reason.INTERNAL),
    ],
)
def test_what_grpc_itself_says_becomes_one_of_our_errors(
    world: World, code: str, text: str, kind: type[RegistryError], reason: Reason
) -> None:
    world.abort_with = (grpc.StatusCode[code], text)
    _, error = world.call(ValueError())
    assert (type(error), error.reason) == (kind, reason)


def test_details_that_contradict_the_status_code_are_not_believed() -> None:
    _, text, metadata = to_status(errors.NotFoundError(Reason.UNKNOWN_BLOB, "gone"))
    error = _back((grpc.StatusCode.UNAVAILABLE, text, metadata))
    assert error.reason is Reason.UNREACHABLE


def test_details_that_are_no_message_are_passed_over() -> None:
    error = _back((grpc.StatusCode.UNAVAILABLE, "", ((DETAILS_KEY, b"\xff\xff"),)))
    assert error.reason is Reason.UNREACHABLE


class _Answer(grpc.RpcError, grpc.Call):
    """What gRPC raises, made from the parts of a status."""

    def __init__(self, code: grpc.StatusCode, text: str, metadata: Metadata) -> None:
        self._code, self._text, self._metadata = code, text, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._text

    def trailing_metadata(self) -> Metadata:  # type: ignore[override]
        return self._metadata

    def initial_metadata(self) -> Metadata:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float:
        return 0.0

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: object) -> bool:
        return callback is None


def _back(status: tuple[grpc.StatusCode, str, Metadata]) -> RegistryError:
    return from_rpc_error(_Answer(*status))
