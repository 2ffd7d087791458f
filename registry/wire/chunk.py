"""One piece of a blob ↔ protobuf, without the copies that the generated classes make.

A message of an upload or a download with a chunk in it is a dozen bytes, and then the data::

    tag  length  08 offset  12 length  data
    └ DownloadResponse.chunk 0a, or UploadRequest.chunk 12

What is written is what the generated classes write. Only that one spelling is read here; any other,
such as fields in another order, goes the ordinary way and means the same.
"""

from typing import Final, NamedTuple

from registry.api.v1 import artifact_service_pb2 as pb

_CHUNK_OF_DOWNLOAD: Final = 0x0A
_CHUNK_OF_UPLOAD: Final = 0x12
_OFFSET: Final = 0x08
_DATA: Final = 0x12
_CONTINUED: Final = 0x80
_VARINT_BITS: Final = 63
"""Bits of the largest varint that is read here; the field has 64."""


class Piece(NamedTuple):
    """Bytes of a blob, and the position of their first one."""

    offset: int
    data: bytes | memoryview


def write_upload(part: Piece | pb.UploadRequest) -> bytes:
    """Write one message of an upload."""
    return _write(_CHUNK_OF_UPLOAD, part) if isinstance(part, Piece) else part.SerializeToString()


def read_upload(raw: bytes) -> Piece | pb.UploadRequest:
    """Read one message of an upload: a chunk, or whatever else it is.

    Raises:
        DecodeError: It is not protobuf.
    """
    piece = _read(_CHUNK_OF_UPLOAD, raw)
    if piece is not None:
        return piece
    request = pb.UploadRequest.FromString(raw)
    if request.WhichOneof("part") == "chunk":
        return Piece(request.chunk.offset, request.chunk.data)
    return request


def write_download(piece: Piece) -> bytes:
    """Write one message of a download."""
    return _write(_CHUNK_OF_DOWNLOAD, piece)


def read_download(raw: bytes) -> Piece:
    """Read one message of a download.

    Raises:
        DecodeError: It is not protobuf.
    """
    piece = _read(_CHUNK_OF_DOWNLOAD, raw)
    if piece is not None:
        return piece
    chunk = pb.DownloadResponse.FromString(raw).chunk
    return Piece(chunk.offset, chunk.data)


def _write(tag: int, piece: Piece) -> bytes:
    size = len(piece.data)
    # proto3 does not write what is zero or empty.
    offset = bytes([_OFFSET]) + _varint(piece.offset) if piece.offset else b""
    data = bytes([_DATA]) + _varint(size) if size else b""
    length = len(offset) + len(data) + size
    return b"".join((bytes([tag]), _varint(length), offset, data, piece.data))


def _read(tag: int, raw: bytes) -> Piece | None:
    """A chunk with data, if it is written as :func:`_write` does."""
    try:
        if raw[0] != tag:
            return None
        length, at = _read_varint(raw, 1)
        if length != len(raw) - at:
            return None
        offset = 0
        if raw[at] == _OFFSET:
            offset, at = _read_varint(raw, at + 1)
        if raw[at] != _DATA:
            return None
        size, at = _read_varint(raw, at + 1)
    except IndexError:
        return None
    return Piece(offset, memoryview(raw)[at:]) if size == len(raw) - at else None


def _varint(value: int) -> bytes:
    written = bytearray()
    while value >= _CONTINUED:
        written.append(value & 0x7F | _CONTINUED)
        value >>= 7
    written.append(value)
    return bytes(written)


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, _VARINT_BITS, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _CONTINUED:
            return value, at
    # Of more than nine bytes: not ours.
    raise IndexError
