"""Pieces of blobs: the same messages as those of the generated classes, read without copies."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from registry.api.v1 import artifact_pb2
from registry.api.v1 import artifact_service_pb2 as pb
from registry.wire import chunk
from registry.wire.chunk import Piece

OFFSETS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 127, 128, 2**18, 2**63 - 1, 2**63])
DATA = st.binary(max_size=300) | st.sampled_from([b"x" * 127, b"x" * 128, b"x" * 20_000])


def generated(offset: int, data: bytes) -> artifact_pb2.Chunk:
    return artifact_pb2.Chunk(offset=offset, data=data)


@given(OFFSETS, DATA)
def test_a_piece_of_a_download_is_written_as_the_generated_classes_do(
    offset: int, data: bytes
) -> None:
    expected = pb.DownloadResponse(chunk=generated(offset, data)).SerializeToString()
    assert chunk.write_download(Piece(offset, data)) == expected


@given(OFFSETS, DATA)
def test_a_piece_of_an_upload_is_written_as_the_generated_classes_do(
    offset: int, data: bytes
) -> None:
    expected = pb.UploadRequest(chunk=generated(offset, data)).SerializeToString()
    assert chunk.write_upload(Piece(offset, data)) == expected


@given(OFFSETS, DATA)
def test_what_was_written_is_read_back(offset: int, data: bytes) -> None:
    piece = Piece(offset, data)
    assert chunk.read_download(chunk.write_download(piece)) == piece
    assert chunk.read_upload(chunk.write_upload(piece)) == piece


def test_data_is_not_copied() -> None:
    assert isinstance(chunk.read_download(chunk.write_download(Piece(7, b"abc"))).data, memoryview)


def test_the_header_of_an_upload_passes_as_it_is() -> None:
    header = pb.UploadRequest(header=artifact_pb2.UploadHeader(sha256=b"x" * 32, size=5))
    assert chunk.read_upload(chunk.write_upload(header)) == header


OTHER_SPELLINGS = {
    "fields in another order": b"\x0a\x07\x12\x03abc\x08\x05",
    "an offset of zero": b"\x0a\x07\x08\x00\x12\x03abc",
    "a long varint": b"\x0a\x08\x08\x85\x00\x12\x03abc",
    "an unknown field": b"\x0a\x09\x08\x05\x18\x01\x12\x03abc",
    "a field that comes twice": b"\x0a\x0a\x08\x05\x12\x01z\x12\x03abc",
    "two chunks, which are merged": b"\x0a\x02\x08\x05\x0a\x05\x12\x03abc",
    "something after the chunk": b"\x0a\x07\x08\x05\x12\x03abc\x10\x01",
}


@pytest.mark.parametrize("raw", OTHER_SPELLINGS.values(), ids=OTHER_SPELLINGS.keys())
def test_other_spellings_mean_what_they_mean_to_the_generated_classes(raw: bytes) -> None:
    expected = pb.DownloadResponse.FromString(raw).chunk
    assert chunk.read_download(raw) == Piece(expected.offset, expected.data)
    assert expected.data == b"abc"


@given(st.binary(max_size=40))
def test_any_bytes_are_read_as_the_generated_classes_do(raw: bytes) -> None:
    def theirs() -> Piece | str:
        try:
            read = pb.DownloadResponse.FromString(raw).chunk
        except DecodeError:
            return "not protobuf"
        return Piece(read.offset, read.data)

    def ours() -> Piece | str:
        try:
            return chunk.read_download(raw)
        except DecodeError:
            return "not protobuf"

    assert ours() == theirs()
