"""What an auditor brings to a replay: the input, perhaps its salt, perhaps the recorded output.

None of it is in the log. The input is *proven* if, with the salt that whoever ran the shim reveals
for this one call, it opens the commitment of the intent. The output is proven by its digest.
"""

import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.profiles import tensor
from registry.core.profiles.open_inference import InferenceRequest, InferenceResponse, json_end
from registry.core.profiles.tensor import Tensor
from registry.core.records import inference
from registry.core.records.disclosure import Disclosure, commit_output, verify_disclosure
from registry.errors import (
    MalformedError,
    Reason,
    RegistryError,
    UnsupportedError,
    VerificationError,
)
from registry.inspection import npz
from registry.wire import open_inference

MAX_FILE_BYTES: Final = 256 * 1024 * 1024
"""Bytes of a file with an input or an output."""

SALT_BYTES: Final = 32
"""Bytes of the salt of a request commitment."""

_FRAME = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Input:
    """What is fed to the model, and the request digests that it may have had.

    Attributes:
        asked: The outputs that are wanted, in order; none means all.
        digests: One for each way in which a shim may have seen this request.
    """

    tensors: tuple[Tensor, ...]
    asked: tuple[str, ...]
    digests: tuple[bytes, ...]

    @classmethod
    def read(cls, data: bytes) -> "Input":
        """Read an input in any form that can be told apart by how it begins.

        JSON is a request of the Open Inference Protocol over HTTP, or what an in-process caller
        fed; an ``.npz`` archive is the latter; anything else is a ``ModelInferRequest`` message,
        as it was sent or framed as shims keep it.

        Raises:
            MalformedError: ``REPLAY_INPUT``, or ``UNSUPPORTED_TENSOR``.
        """
        if data.startswith(npz.MAGIC):
            return cls._in_process(npz.read_tensors(data), ())
        try:
            if data.lstrip()[:1] == b"{":
                said = InferenceRequest.parse(data, _json_bytes(data))
                fed = cls._in_process(said.inputs, said.asked)
                return cls(fed.tensors, fed.asked, (sha256(data), *fed.digests))
            message = _message(data)
            call = open_inference.read_request(message)
            for item in tensor.by_name(call.inputs):
                item.validate()
        except MalformedError as error:
            raise MalformedError(
                Reason.REPLAY_INPUT,
                "this is no input that a model can be run on",
                expected="JSON or ModelInferRequest of the Open Inference Protocol, or .npz",
                actual=str(error)[:300],
            ) from error
        framed = sha256(_FRAME.pack(len(message)) + message)
        fed = cls._in_process(call.inputs, call.asked)
        return cls(fed.tensors, fed.asked, (framed, *fed.digests))

    @classmethod
    def _in_process(cls, tensors: tuple[Tensor, ...], asked: tuple[str, ...]) -> "Input":
        return cls(tensors, asked, (tensor.request_digest(tensors, asked),))

    def verify(self, commitment: str, salt: bytes) -> None:
        """Check that this is the input that an intent commits to.

        Raises:
            MalformedError: ``MALFORMED_FIELD`` for a salt of another size.
            VerificationError: ``REPLAY_INPUT``.
        """
        if len(salt) != SALT_BYTES:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "this is no salt of a request",
                expected=f"{SALT_BYTES} bytes",
                actual=f"{len(salt)} bytes",
            )
        wanted = bytes.fromhex(commitment)
        opened = [inference.commit_request(salt, item) for item in self.digests]
        if not any(hmac.compare_digest(item, wanted) for item in opened):
            raise VerificationError(
                Reason.REPLAY_INPUT,
                "this input is not the one that was recorded, or the salt is another call's",
                expected=f"commitment {commitment}",
                hint="an input over HTTP or gRPC is the request's body or message, byte for byte",
            )


@dataclass(frozen=True, slots=True)
class RecordedOutput:
    """What is known of the digest of the recorded output.

    Attributes:
        content_digest: In clear, in hexadecimal.
        salt: With what the record commits to it; None if it shows it in clear.
    """

    content_digest: str
    salt: bytes | None = None

    @classmethod
    def of(cls, record: inference.Completion, disclosure: bytes | None) -> "RecordedOutput":
        """The digest of a record's output; if it only commits to it, as a disclosure shows it.

        Raises:
            UnsupportedError: ``NOT_REPLAYABLE`` if it only commits to it and nothing discloses it.
            VerificationError: ``FIELD_COMMITMENT`` for a disclosure of something else.
            MalformedError: What is wrong with the disclosure.
        """
        private = record.private
        if isinstance(private, msgspec.UnsetType) or private.output == "plain":
            return cls(record.response.content_digest)
        if disclosure is None:
            raise _hidden("the record does not show the digest of its output")
        said = encoding.read_json(disclosure, Disclosure, what="disclosure")
        verify_disclosure(said, record)
        if isinstance(said.output, msgspec.UnsetType):
            raise _hidden("this disclosure does not show the digest of the output")
        return cls(said.output.content_digest, bytes.fromhex(said.output.salt))

    def shown(self, content_digest: bytes) -> str:
        """A digest as the record shows its own: in clear, or as a commitment with its salt.

        A replay says no more of an output than the record does.
        """
        if self.salt is None:
            return content_digest.hex()
        return commit_output(self.salt, content_digest).hex()


def _hidden(what: str) -> UnsupportedError:
    return UnsupportedError(
        Reason.NOT_REPLAYABLE, what, hint="ask the node for: provreg payload disclose --output"
    )


def read_output(data: bytes, content_digest: str) -> tuple[Tensor, ...]:
    """The recorded output, if this is it.

    Raises:
        MalformedError: ``REPLAY_OUTPUT`` for what is no output of named tensors.
        VerificationError: ``REPLAY_OUTPUT`` for another output.
    """
    actual: list[str] = []
    fault: RegistryError | None = None
    for read in _readers(data):
        try:
            tensors = read(data)
            digest = tensor.content_digest(tensors).hex()
        except RegistryError as error:
            fault = fault or error
            continue
        if digest == content_digest:
            return tensors
        actual.append(f"sha256:{digest}")
    if not actual:
        raise MalformedError(
            Reason.REPLAY_OUTPUT,
            "this is no output of named tensors",
            expected="JSON or ModelInferResponse of the Open Inference Protocol, or .npz",
            actual=str(fault)[:300],
        ) from fault
    raise VerificationError(
        Reason.REPLAY_OUTPUT,
        "this output is not the one that was recorded",
        expected=f"sha256:{content_digest}",
        actual=" or ".join(actual),
    )


def _readers(data: bytes) -> tuple[Callable[[bytes], tuple[Tensor, ...]], ...]:
    """In which ways an output may be meant: a message does not say whether it is of a stream."""
    if data.startswith(npz.MAGIC):
        return (npz.read_tensors,)
    if data.lstrip()[:1] == b"{":
        return (lambda body: InferenceResponse.parse(body, _json_bytes(body)).outputs,)
    return (
        lambda kept: open_inference.read_response(_message(kept)).tensors,
        lambda kept: open_inference.read_stream_response(_message(kept)).tensors,
    )


def _message(data: bytes) -> bytes:
    """One gRPC message, as it was sent or framed as it is kept: no message begins with a zero."""
    if len(data) > _FRAME.size and _FRAME.unpack_from(data)[0] == len(data) - _FRAME.size:
        return data[_FRAME.size :]
    return data


def _json_bytes(data: bytes) -> int | None:
    """How much of a body is JSON, if raw bytes of tensors follow it."""
    end = json_end(data)
    return end if data[end:].strip() else None
