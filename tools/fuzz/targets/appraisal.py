"""Targets around appraisal: which family evidence is of, and what pool and workers exchange."""

import io
from datetime import UTC, datetime
from typing import Final

from registry.core.encoding import read_json, write_json
from registry.core.evidence.appraisal import Question
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, Selector
from registry.core.evidence.recognise import recognise, unwrap
from registry.core.evidence.result import Material, Verifier
from registry.core.evidence.starters import starter
from registry.errors import MalformedError, Reason
from registry.inspection.appraisal_exchange import Answer, Task, read_message, write_message
from registry.inspection.appraisal_worker import answer
from tools.fake_vendor import amd, azure, intel, nitro, nvidia, nvidia_token
from tools.fuzz.edits import Edit, raw
from tools.fuzz.elements import cbor
from tools.fuzz.members import members
from tools.fuzz.target import Target

_AT: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
_NITRO: Final = nitro.mint(nitro.Spec())
_ONE_OF_EACH: Final = (
    intel.mint().evidence,
    amd.mint().evidence,
    azure.mint().evidence,
    azure.mint(azure.Spec(hardware=intel.Spec())).evidence,
    _NITRO.evidence,
    nvidia.mint().evidence,
    nvidia.mint_set(nvidia.machine(gpus=1, switches=1)).evidence,
    nvidia_token.mint().evidence,
)
_ENTRY: Final = Entry(
    selector=Selector(family=Family.AWS_NITRO, claims={"module_id": "i-0"}),
    effective_from="2026-05-01T00:00:00Z",
    reason="it leaked",
)
_TASK: Final = Task(
    Family.AWS_NITRO,
    Material(_NITRO.evidence, _NITRO.endorsements, starter(Family.AWS_NITRO), (_ENTRY,)),
    Question(stated=Binding(nonce=bytes(32)), distrusted=(_ENTRY,)),
    _AT,
    Verifier(build="1", developer="provreg"),
)
_REQUEST: Final = write_message(_TASK.to_parts())


def _recognise(data: bytes) -> None:
    recognise(unwrap(data), _AT)


def _message(data: bytes) -> bytes:
    """Read one message; what is left behind it would be the next."""
    stream = io.BytesIO(data)
    parts = read_message(stream.read)
    if parts is None:
        raise MalformedError(Reason.APPRAISAL_LIMIT, "no whole message")
    return write_message(parts) + stream.read()


def _request(data: bytes) -> None:
    """Read a request, and let a worker answer it: nothing may leave it but an answer."""
    parts = read_message(io.BytesIO(data).read)
    if parts is None:
        raise MalformedError(Reason.APPRAISAL_LIMIT, "no whole message")
    said = answer(parts)
    if said.reason is Reason.INTERNAL:
        message = f"a worker failed: {said.actual}"
        raise AssertionError(message)
    Task.of_parts(parts)


def _answer(data: bytes) -> bytes:
    read = read_json(data, Answer, what="answer")
    if read.result is None:
        read.to_error()
    return write_json(read)


def _header(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Edits inside the first part, whose length stays right."""
    parts, others = (read_message(io.BytesIO(item).read) for item in (data, donor))
    if not parts or not others:
        return raw(data, edit, donor)
    return write_message([members(parts[0], edit, others[0]), *parts[1:]])


_RESULT: Final = write_json(answer(_TASK.to_parts()))
_REFUSAL: Final = write_json(Answer(reason=Reason.UNKNOWN_FAMILY, what="x", expected="y"))

TARGETS: Final = (
    Target("evidence-family", _ONE_OF_EACH, _recognise, (members, cbor)),
    Target("appraisal-message", (_REQUEST, write_message([])), _message),
    Target("appraisal-request", (_REQUEST,), _request, (_header, _header)),
    Target("appraisal-answer", (_RESULT, _REFUSAL), _answer, (members,)),
)
"""Whatever stands between evidence as it came and what was made of it."""
