"""A language model of half a megabyte that says one sentence, as a GGUF file.

Attention and feed-forward weights are zero, so that what follows a token depends on that token
alone, and the output matrix makes a chain of the tokens of :data:`ANSWER`. Its last two characters
are spelled byte by byte, so that a server must wait for the rest of each. If the end is forbidden,
as it is while a tool call is demanded, the tokens of :data:`TOOL_CALL` follow.

The file is written by its specification,
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import itertools
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

WORDS: Final = ("Loan", " denied", ":", " debt", " 0.61", " exceeds", " 0.45", ".", " ")
LAST: Final = "🙂é"

ANSWER: Final = "".join(WORDS) + LAST
"""What the model says."""

ARGUMENTS: Final = '{"city": "Oslo"}'
"""The arguments of the call of ``look_up``."""

TOOL_CALL: Final = (
    *("<tool_call>", "\n", '{"name": "', "look", "_up", '", "arguments": '),
    *('{"city": "', "Os", "lo", '"}', "}", "</tool_call>"),
)
"""The call, in the form that the template teaches."""

TEMPLATE: Final = (
    "{% if tools %}<|system|>{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
    "{% for message in messages %}<|{{ message.role }}|>"
    "{% if message.content %}{{ message.content }}{% endif %}"
    "{% if message.tool_calls %}{% for call in message.tool_calls %}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n'
    "</tool_call>{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""From messages to a prompt, whose last token is where the sentence begins."""

_SPECIAL = ("<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>")
_UNKNOWN_ID, _BEGIN_ID, _END_ID, _ASSISTANT_ID = 0, 1, 2, 4
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_WIDTH, _HIDDEN, _HEADS, _CONTEXT = 128, 8, 2, 65536
_ALIGNMENT = 32
_SPACE = "\u2581"

Matrix = NDArray[np.float32]


def gguf() -> bytes:
    """The model; the same bytes every time."""
    tensors = _tensors()
    members = _members()
    infos, data = b"", b""
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        infos += _text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        infos += struct.pack("<IQ", 0, len(data))  # 0 is 32-bit floating point
        data += tensor.astype("<f4").tobytes()
        data += bytes(-len(data) % _ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(members)) + b"".join(members) + infos
    return head + bytes(-len(head) % _ALIGNMENT) + data


def _vocabulary() -> tuple[list[str], list[int]]:
    """The tokens, and what kind each is."""
    tokens = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [_UNKNOWN, *[_CONTROL] * (len(_SPECIAL) - 1), *[_BYTE] * 256]
    words = [word.replace(" ", _SPACE) for word in WORDS] + list(TOOL_CALL)
    return tokens + words, kinds + [_NORMAL] * len(words)


def _tensors() -> dict[str, Matrix]:
    tokens, _ = _vocabulary()
    first_word = len(_SPECIAL) + 256
    words = list(range(first_word, first_word + len(WORDS)))
    last = [len(_SPECIAL) + byte for byte in LAST.encode()]
    call = list(range(first_word + len(WORDS), len(tokens)))
    random = np.random.default_rng(7)
    embedding = random.standard_normal((len(tokens), _WIDTH)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    output = np.zeros_like(embedding)
    for chain in ([_ASSISTANT_ID, *words, *last, _END_ID], [*call, _END_ID]):
        for token, following in itertools.pairwise(chain):
            output[following] += 4 * embedding[token]
    # After the sentence, second best to its end.
    output[call[0]] += 2 * embedding[last[-1]]

    def zeros(*shape: int) -> Matrix:
        return np.zeros(shape, np.float32)

    square = {f"blk.0.attn_{name}.weight": zeros(_WIDTH, _WIDTH) for name in ("q", "k", "v")}
    ones = np.ones(_WIDTH, np.float32)
    return {
        "token_embd.weight": embedding,
        "output_norm.weight": ones,
        "output.weight": output,
        "blk.0.attn_norm.weight": ones,
        "blk.0.ffn_norm.weight": ones,
        **square,
        "blk.0.attn_output.weight": zeros(_WIDTH, _WIDTH),
        "blk.0.ffn_gate.weight": zeros(_HIDDEN, _WIDTH),
        "blk.0.ffn_up.weight": zeros(_HIDDEN, _WIDTH),
        "blk.0.ffn_down.weight": zeros(_WIDTH, _HIDDEN),
    }


def _members() -> list[bytes]:
    tokens, kinds = _vocabulary()
    return [
        _string("general.architecture", "llama"),
        _string("general.name", "tiny"),
        _number("llama.context_length", _CONTEXT),
        _number("llama.embedding_length", _WIDTH),
        _number("llama.block_count", 1),
        _number("llama.feed_forward_length", _HIDDEN),
        _number("llama.attention.head_count", _HEADS),
        _number("llama.rope.dimension_count", _WIDTH // _HEADS),
        _text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5),
        _string("tokenizer.ggml.model", "llama"),
        _array("tokenizer.ggml.tokens", 8, [_text(token) for token in tokens]),
        _array(
            "tokenizer.ggml.scores", 6, [struct.pack("<f", -place) for place in range(len(tokens))]
        ),
        _array("tokenizer.ggml.token_type", 5, [struct.pack("<i", kind) for kind in kinds]),
        _number("tokenizer.ggml.bos_token_id", _BEGIN_ID),
        _number("tokenizer.ggml.eos_token_id", _END_ID),
        _number("tokenizer.ggml.unknown_token_id", _UNKNOWN_ID),
        _string("tokenizer.chat_template", TEMPLATE),
    ]


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _number(name: str, value: int) -> bytes:
    return _text(name) + struct.pack("<II", 4, value)


def _string(name: str, value: str) -> bytes:
    return _text(name) + struct.pack("<I", 8) + _text(value)


def _array(name: str, kind: int, items: Sequence[bytes]) -> bytes:
    return _text(name) + struct.pack("<IIQ", 9, kind, len(items)) + b"".join(items)
