"""How many blobs move at once over gRPC: large ones wait for their turn, small ones never."""

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from registry.api.v1 import artifact_service_pb2 as pb
from registry.core.digest import sha256
from registry.disk import LARGE_BYTES
from registry.server import artifacts
from tests.server.served import SECONDS, Served, chunk, chunks, header, served

LARGE = bytes(8 * LARGE_BYTES)
SMALL = b"a small blob"
WAIT_SECONDS = 0.3


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(artifacts, "MAX_AT_ONCE", 1)
    with served(tmp_path / "data") as registry:
        yield registry


def download(
    registry: Served, data: bytes, seconds: float = SECONDS
) -> Iterator[pb.DownloadResponse]:
    request = pb.DownloadRequest(sha256=sha256(data))
    answers: Iterator[pb.DownloadResponse] = registry.artifacts.Download(
        request, metadata=registry.node.metadata, timeout=seconds
    )
    return answers


def whole(answers: Iterator[pb.DownloadResponse]) -> bytes:
    return b"".join(answer.chunk.data for answer in answers)


def must_wait(error: pytest.ExceptionInfo[grpc.RpcError]) -> bool:
    called = error.value
    assert isinstance(called, grpc.Call)
    return called.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_large_download_waits_for_the_one_before(registry: Served) -> None:
    registry.put(LARGE)
    registry.put(SMALL)
    first = download(registry, LARGE)
    next(first)
    with pytest.raises(grpc.RpcError) as waiting:
        whole(download(registry, LARGE, WAIT_SECONDS))
    assert must_wait(waiting)
    assert whole(download(registry, SMALL)) == SMALL
    first.cancel()  # type: ignore[attr-defined]  # it is also a call
    assert whole(download(registry, LARGE)) == LARGE


def test_a_large_upload_waits_for_the_one_before(registry: Served) -> None:
    go_on = threading.Event()

    def slow() -> Iterator[pb.UploadRequest]:
        yield header(sha256(LARGE), len(LARGE))
        yield chunk(0, LARGE[:1000])
        go_on.wait(SECONDS)

    call = registry.artifacts.Upload.future(slow(), metadata=registry.acme.metadata)
    incoming = registry.folder / "blobs" / "incoming"
    while not list(incoming.iterdir()):
        pass
    other = LARGE + b"!"
    with pytest.raises(grpc.RpcError) as waiting:
        registry.artifacts.Upload(
            iter((header(sha256(other), len(other)), *chunks(other))),
            metadata=registry.acme.metadata,
            timeout=WAIT_SECONDS,
        )
    assert must_wait(waiting)
    assert registry.put(SMALL) == sha256(SMALL)
    call.cancel()
    go_on.set()
    assert registry.put(other) == sha256(other)
