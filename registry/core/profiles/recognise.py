"""Which content digests a file may have: as the outputs it spells, and as the bytes it is.

Whoever holds an output as a file need not know which profile its shim used.
"""

import contextlib

from registry.core.profiles import raw, tensor
from registry.core.profiles.answers import END, read
from registry.core.profiles.chat import Chat
from registry.core.profiles.open_inference import InferenceResponse
from registry.core.profiles.sse import EventReader
from registry.core.profiles.text import Completion
from registry.errors import LimitExceededError, MalformedError

_LOOK_BYTES = 4096


def candidates(data: bytes) -> tuple[bytes, ...]:
    """The content digests of the output in file ``data``, the most telling first.

    A complete response of the Open Inference Protocol has one under ``output/tensor/v1``, the body
    or the saved stream of an OpenAI-compatible server one under ``output/chat/v1`` or
    ``output/text/v1``; every file has one under ``output/bytes/v1``.
    """
    digests = [raw.content_digest(data)]
    # Most files are neither JSON nor a stream: do not decode them to find out.
    start = data[:_LOOK_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    # If it is no answer after all it is bytes, and nothing is guessed.
    if start[:1] == b"{":
        with contextlib.suppress(MalformedError):
            digests.insert(0, tensor.content_digest(InferenceResponse.parse(data).outputs))
        with contextlib.suppress(MalformedError):
            digests[:0] = _answer([data], ended=True, streamed=False)
    elif start.startswith((b"data:", b"event:", b":")):
        with contextlib.suppress(MalformedError, LimitExceededError):
            events = [event.data for event in EventReader().feed(data)]
            ended = END in events
            chunks = events[: events.index(END)] if ended else events
            digests[:0] = _answer(chunks, ended=ended, streamed=True)
    return tuple(digests)


def _answer(parts: list[bytes], *, ended: bool, streamed: bool) -> list[bytes]:
    members = [read(part, halves=streamed) for part in parts]
    choices = [item for part in members for item in part.get("choices") or []]
    if not choices or not isinstance(choices[0], dict):
        return []
    if "text" in choices[0]:
        completion = Completion()
        for part in members:
            completion.add(part)
        return [completion.digest(ended=ended).content]
    chat = Chat()
    for part in members:
        (chat.add_chunk if streamed else chat.add_body)(part)
    return [chat.digest(ended=ended).content]
