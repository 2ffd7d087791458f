"""Inference records: what a shim writes down, one leaf each, before and after every call.

A record is an in-toto statement in RFC 8785 JSON. ``n`` counts all records of one shim from 0,
without gaps, across restarts; ``prev_digest`` is the leaf hash of record n - 1, so that a missing
record shows. The kinds follow the life of a call: a durable *intent* before it, one outcome after.

Longer than 400 lines because all kinds of record are one format, and are read as one type.
"""

from typing import Annotated, Literal, cast, get_args

import msgspec

from registry.core import encoding
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.digest import sha256
from registry.core.encoding import AsciiKey, Count, Text, Time, Value
from registry.core.records import NAMESPACE
from registry.core.records.names import Name, Version
from registry.core.records.release import RecordId
from registry.errors import LimitExceededError, MalformedError, Reason

PREDICATE_TYPE = NAMESPACE + "inference-receipt/v1"
"""The predicate type of every journal record."""

MAX_RECORD_BYTES = 16 * 1024
"""Bytes of one record."""

MAX_OPEN_INTENTS = 1024
"""Calls that may be under way at once on one shim, and so be open at its next start."""

FIRST_PREVIOUS = "00" * 32
"""``prev_digest`` of record 0."""

# Sixteen and thirty-two bytes in hexadecimal. The digits are checked once for a whole record, in
# `parse`: a pattern for each of the nine fields of a completion costs more than all other reading.
Hex16 = Annotated[str, msgspec.Meta(min_length=32, max_length=32)]
Hex32 = Annotated[str, msgspec.Meta(min_length=64, max_length=64)]

_REQUEST_PREFIX = b"request-commitment/v1\0"

Profile = Literal["output/bytes/v1", "output/tensor/v1", "output/chat/v1", "output/text/v1"]
"""The named rule from an output to the bytes whose digest names its content."""


class Sequence(Value, frozen=True):
    """Where a record stands in its shim's journal."""

    shim_id: Hex16
    boot_id: Hex16
    n: Count
    prev_digest: Hex32


class Model(Value, frozen=True):
    """Which release answered: the statement's record id, and the manifest digest it is bound to."""

    release: RecordId
    manifest: Hex32
    name: Name
    version: Version


class Response(Value, frozen=True):
    """What was answered.

    Attributes:
        wire_digest: SHA-256 of the bytes that left the shim.
        complete: Whether the protocol's own end was seen; the end of a connection is none.
    """

    profile: Profile
    content_digest: Hex32
    wire_digest: Hex32
    complete: bool


class Runtime(Value, frozen=True):
    """What ran the model, as the shim saw it.

    Attributes:
        opt_level: How far the engine rewrote the graph.
        threads: For one call; 0 if the engine chose.
        isa: The instructions by which numerical kernels are chosen, as the processor lists them.
    """

    engine: Text
    version: Text
    provider: Text = ""
    opt_level: Text = ""
    threads: Count = 0
    isa: Text = ""


class Course(Value, frozen=True):
    """How an answer went out.

    Attributes:
        mode: What was durable before the answer went out; see the shim's recorder.
        first_us: From the request's arrival to the first byte of the answer, in microseconds.
        total_us: To its last byte.
        added_us: How much of that was the shim's own doing.
        chunks: Messages or events of a stream.
        finish_reasons: Why each choice ended, by index.
        params: Sampling parameters as the request spelled them: numbers are texts.
        trace: The ``traceparent`` that the request came with (W3C Trace Context).
        profile_error: Why the answer has no richer profile than its bytes.
        unrecorded: Calls that went out before this one and were never written down.
    """

    transport: Literal["in_process", "unary", "sse", "grpc_stream"]
    mode: Literal["strict", "stream", "best_effort"]
    first_us: Count = 0
    total_us: Count = 0
    added_us: Count = 0
    chunks: Count = 0
    finish_reasons: Annotated[tuple[Text, ...], msgspec.Meta(max_length=128)] = ()
    params: Annotated[dict[AsciiKey, Text], msgspec.Meta(max_length=64)] = msgspec.field(
        default_factory=dict
    )
    trace: Annotated[str, msgspec.Meta(max_length=256)] = ""
    profile_error: Text = ""
    unrecorded: Count = 0


class Private(Value, frozen=True):
    """What a record says of content that it does not show.

    Attributes:
        retention_class: Whose key wraps what is kept; destroying it erases all of the class.
        fields: How many fields ``root`` commits to.
        root: See :mod:`registry.core.records.field_commitments`.
        sealed: SHA-256 of the sealed payload, which stays with whoever runs the shim.
        payload: A salted commitment to the payload in clear: the cipher does not commit to its key.
        output: Whether the digests of the response are what they are called, or salted
            commitments to them, see :func:`registry.core.records.disclosure.commit_output`.
        missed: Why something that the policy asks for could not be had.
    """

    retention_class: Text
    output: Literal["plain", "committed"] = "plain"
    fields: Count = 0
    root: Hex32 | msgspec.UnsetType = msgspec.UNSET
    sealed: Hex32 | msgspec.UnsetType = msgspec.UNSET
    payload: Hex32 | msgspec.UnsetType = msgspec.UNSET
    missed: Text = ""


class Clock(Value, frozen=True):
    """What the host's clocks said beside ``at``, which is the wall clock's claim.

    Attributes:
        monotonic_us: A clock that no one sets, in microseconds; comparable within one boot.
        error_us: How wrong ``at`` may be, says the kernel; absent if nothing keeps it right.
    """

    monotonic_us: Count
    error_us: Count | msgspec.UnsetType = msgspec.UNSET


Level = Literal["logged", "signed", "attested", "recomputed"]
"""How strongly a caller wants an answer proven: header ``x-provreg-level``."""


def level(text: str) -> Level:
    """Read what a caller asks for.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    for known in get_args(Level):
        if text == known:
            return cast("Level", known)
    raise MalformedError(
        Reason.MALFORMED_FIELD,
        "this is no level of proof",
        expected=" or ".join(get_args(Level)),
        actual=text[:80],
    )


class Report(Value, frozen=True):
    """What a model server says of the model that it serves; its word, as the shim read it.

    Attributes:
        interface: By which of its interfaces it was asked.
        model: What it calls the model.
        version: What it calls the model's version; empty if it names none.
        digest: SHA-256 by which it names the model as a whole.
        weights: SHA-256 of the files of weights that it names.
        adapters: SHA-256 of files on top of these.
        chat_template: SHA-256 of the template that it shows.
        engine: What it says that it is.
    """

    interface: Literal["ollama", "llama.cpp", "openai", "open-inference"]
    model: Text
    version: Text = ""
    digest: Hex32 | msgspec.UnsetType = msgspec.UNSET
    weights: Annotated[tuple[Hex32, ...], msgspec.Meta(max_length=16)] = ()
    adapters: Annotated[tuple[Hex32, ...], msgspec.Meta(max_length=16)] = ()
    chat_template: Hex32 | msgspec.UnsetType = msgspec.UNSET
    quantization: Text = ""
    engine: Text = ""
    engine_version: Text = ""

    @property
    def names_it(self) -> bool:
        """Whether it names more than a model: a version, or bytes."""
        return bool(self.version or self.digest or self.weights)

    @property
    def digests(self) -> tuple[str | msgspec.UnsetType, ...]:
        """Every digest in it."""
        return (self.digest, *self.weights, *self.adapters, self.chat_template)


Binding = Literal["artifact_verified", "runtime_reported", "provider_attested", "name_only"]
"""How the node knows which model answers: it compared the version's files; the model server names a
version or bytes; a provider whose code is attested does; or there is a name and no more."""


class Setup(Value, frozen=True, tag_field="kind", tag="setup"):
    """What runs from here on, as far as it is known; completions name it by its number.

    Attributes:
        level: How the model's identity is known: step 0 to 5 of the binding ladder.
        files_verified: Files of the release that were compared on this host.
        adapters: SHA-256 of adapters on top of the model.
        tokenizer: SHA-256 of the tokenizer.
        chat_template: SHA-256 of the template that makes a prompt of messages.
        quantization: What the engine says of it.
        evidence: Evidence id of this host, if it is attested.
        report: What the model server says that it serves; absent if it was not asked, or silent.
    """

    sequence: Sequence
    at: Time
    model: Model
    binding: Binding
    level: Annotated[int, msgspec.Meta(ge=0, le=5)]
    runtime: Runtime
    upstream: Text = ""
    files_verified: Count = 0
    adapters: Annotated[tuple[Hex32, ...], msgspec.Meta(max_length=64)] = ()
    tokenizer: Hex32 | msgspec.UnsetType = msgspec.UNSET
    chat_template: Hex32 | msgspec.UnsetType = msgspec.UNSET
    quantization: Text = ""
    evidence: Hex32 | msgspec.UnsetType = msgspec.UNSET
    report: Report | msgspec.UnsetType = msgspec.UNSET


class SeenHead(Value, frozen=True):
    """A head of the log: ``root`` is that of its first ``size`` entries."""

    origin: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    size: Count
    root: Hex32


class Boot(Value, frozen=True, tag_field="kind", tag="boot"):
    """The shim started.

    Attributes:
        open_intents: Calls of the last run that have no outcome.
        torn_bytes: What a crash left of a record that nobody was told was durable.
        unrecorded: Calls of earlier runs that went out and were never written down.
        config: SHA-256 of what decides what is recorded, as canonical JSON; the shim keeps that.
        seen: The newest head of the log under which earlier batches of this shim were proven.
        release: The version that answers, pinned.
        evidence: Evidence id of this host, if a result that attests it is in force.
    """

    sequence: Sequence
    at: Time
    prev_stop: Literal["first", "clean", "unclean"]
    software: Text
    previous_boot_id: Hex16 | msgspec.UnsetType = msgspec.UNSET
    open_intents: Annotated[tuple[Count, ...], msgspec.Meta(max_length=MAX_OPEN_INTENTS)] = ()
    torn_bytes: Count = 0
    unrecorded: Count = 0
    clock: Clock | msgspec.UnsetType = msgspec.UNSET
    config: Hex32 | msgspec.UnsetType = msgspec.UNSET
    seen: SeenHead | msgspec.UnsetType = msgspec.UNSET
    release: RecordId | msgspec.UnsetType = msgspec.UNSET
    evidence: Hex32 | msgspec.UnsetType = msgspec.UNSET


class Intent(Value, frozen=True, tag_field="kind", tag="intent"):
    """A call is about to be made; durable before it is."""

    sequence: Sequence
    at: Time
    release: RecordId
    request: Hex32
    salt: Hex32


class Completion(Value, frozen=True, tag_field="kind", tag="completion"):
    """The call was answered. ``request`` repeats the intent's salted commitment.

    Attributes:
        asked: How strongly its caller wants the answer proven.
        deadline_ms: How long after its request the caller wants that by, in milliseconds.
    """

    sequence: Sequence
    at: Time
    intent_n: Count
    model: Model
    binding: Binding
    request: Hex32
    response: Response
    runtime: Runtime
    uncovered: tuple[Text, ...]
    salt: Hex32
    setup_n: Count | msgspec.UnsetType = msgspec.UNSET
    asked: Level | msgspec.UnsetType = msgspec.UNSET
    deadline_ms: Count = 0
    course: Course | msgspec.UnsetType = msgspec.UNSET
    private: Private | msgspec.UnsetType = msgspec.UNSET


class Failure(Value, frozen=True, tag_field="kind", tag="upstream_error"):
    """The call failed before an answer was complete.

    Attributes:
        sent_bytes: How much of an answer went out before.
        sent_digest: SHA-256 of that.
    """

    sequence: Sequence
    at: Time
    intent_n: Count
    error: Text
    sent_bytes: Count = 0
    sent_digest: Hex32 | msgspec.UnsetType = msgspec.UNSET


class ClientGone(Value, frozen=True, tag_field="kind", tag="client_gone"):
    """Whoever asked left before the answer was delivered; see :class:`Failure`."""

    sequence: Sequence
    at: Time
    intent_n: Count
    sent_bytes: Count = 0
    sent_digest: Hex32 | msgspec.UnsetType = msgspec.UNSET


class NotForwarded(Value, frozen=True, tag_field="kind", tag="not_forwarded"):
    """The call was refused here; the model server never saw it."""

    sequence: Sequence
    at: Time
    intent_n: Count
    reason: Text


class Attached(Value, frozen=True, tag_field="kind", tag="attached"):
    """What became of it that a caller asked for more than a logged record; one for each such call.

    Attributes:
        intent_n: The call.
        late_us: How long after the caller's deadline it was had, or given up.
        evidence_us: How long after its outcome was written; 0 if that is not known.
        proof: SHA-256 of what proves the level: the record id of the batch, the evidence id of an
            attestation in force, the record id of a replay.
        proof_bytes: Bytes of its statement and receipt; evidence of a node is not counted.
        missed: Why it could not be had; empty if it was.
    """

    sequence: Sequence
    at: Time
    intent_n: Count
    level: Level
    late_us: Count = 0
    evidence_us: Count = 0
    proof: Hex32 | msgspec.UnsetType = msgspec.UNSET
    proof_bytes: Count = 0
    missed: Text = ""


class Interrupted(Value, frozen=True, tag_field="kind", tag="interrupted"):
    """The shim died during the call; written at its next start."""

    sequence: Sequence
    at: Time
    intent_n: Count


class Heartbeat(Value, frozen=True, tag_field="kind", tag="heartbeat"):
    """The shim was alive, whether or not anybody called it; all records before it are its own.

    Attributes:
        unrecorded: Calls since the last record that told, which were never written down.
    """

    sequence: Sequence
    at: Time
    clock: Clock | msgspec.UnsetType = msgspec.UNSET
    unrecorded: Count = 0


class Stop(Value, frozen=True, tag_field="kind", tag="stop"):
    """The shim stopped in good order; nothing is open."""

    sequence: Sequence
    at: Time
    clock: Clock | msgspec.UnsetType = msgspec.UNSET


Outcome = Completion | Failure | ClientGone | NotForwarded | Interrupted
"""Exactly one follows each intent."""

Record = (
    Boot
    | Setup
    | Intent
    | Completion
    | Failure
    | ClientGone
    | NotForwarded
    | Interrupted
    | Attached
    | Heartbeat
    | Stop
)
"""Any journal record."""

RecordStatement = Statement[Record]
"""A journal record with its subject."""

_NO_DIGITS = str.maketrans("", "", "0123456789abcdef")
_decode = msgspec.json.Decoder(RecordStatement).decode
_encode = msgspec.json.Encoder(order="sorted").encode


def commit_request(salt: bytes, request_digest: bytes) -> bytes:
    """The commitment to a request that an intent makes public.

    ``H("request-commitment/v1" ‖ 0x00 ‖ salt ‖ request digest)``, where the salt is 32 bytes that
    stay with whoever ran the shim. With them, an auditor who holds the request can check it;
    without them nobody can try requests until one fits. The ``salt`` in a record is another one,
    and public.
    """
    return sha256(_REQUEST_PREFIX + salt + request_digest)


def shim_subject(shim_id: str) -> Subject:
    """The subject of records that are about the shim itself."""
    return Subject.named("shim", sha256(bytes.fromhex(shim_id)))


def subject_of(record: Record) -> Subject:
    """The one subject that a record must have: output, request or shim."""
    if isinstance(record, Completion):
        return Subject.named("output", bytes.fromhex(record.response.content_digest))
    if isinstance(record, Intent):
        return Subject.named("request", bytes.fromhex(record.request))
    return shim_subject(record.sequence.shim_id)


def write(record: Record) -> bytes:
    """The leaf data of ``record``."""
    return encoding.write_json(
        RecordStatement(
            type_=STATEMENT_TYPE,
            predicate=record,
            predicate_type=PREDICATE_TYPE,
            subject=(subject_of(record),),
        )
    )


def _digits(record: Record) -> str:
    """Every field of a record that must hold lowercase hexadecimal, joined."""
    sequence = record.sequence
    digits = sequence.shim_id + sequence.boot_id + sequence.prev_digest
    # Nearly all records are of these two kinds, and a match would ask for each kind in turn.
    if type(record) is Completion:
        response = record.response
        digits += record.request + record.salt + record.model.manifest
        digits += response.content_digest + response.wire_digest
        if (private := record.private) is not msgspec.UNSET:
            digits += "".join(
                item for item in (private.root, private.sealed, private.payload) if item
            )
        return digits
    if type(record) is Intent:
        return digits + record.request + record.salt
    said: tuple[object, ...] = ()
    match record:
        case Boot():
            said = (record.previous_boot_id, record.config, record.evidence)
            if record.seen is not msgspec.UNSET:
                said = (*said, record.seen.root)
        case Failure() | ClientGone():
            said = (record.sent_digest,)
        case Attached():
            said = (record.proof,)
        case Setup(model=model):
            optional = (record.tokenizer, record.chat_template, record.evidence)
            reported = () if record.report is msgspec.UNSET else record.report.digests
            said = (model.manifest, *record.adapters, *optional, *reported)
        case _:
            pass
    return digits + "".join(item for item in said if isinstance(item, str))


def _check_digits(record: Record) -> None:
    """Refuse a field of a record that should hold lowercase hexadecimal and does not."""
    # Removing all digits must leave nothing; bytes.fromhex would let white space pass.
    if _digits(record).translate(_NO_DIGITS):
        raise MalformedError(
            Reason.MALFORMED_STATEMENT,
            "a field of this record is not lowercase hexadecimal",
            where=f"n={record.sequence.n}",
        )


def parse(data: bytes) -> Record:
    """Read leaf data exactly.

    Written out instead of calling :func:`registry.core.encoding.read_json`: this runs for every
    record of every batch, and half its time would go into the calls.

    Raises:
        LimitExceededError: ``BATCH_TOO_LARGE``.
        MalformedError: ``MALFORMED_STATEMENT``, ``NOT_CANONICAL``, ``FOREIGN_PREDICATE`` or
            ``SUBJECT_MISMATCH``.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise LimitExceededError(
            Reason.BATCH_TOO_LARGE,
            "this record is too large",
            expected=f"at most {MAX_RECORD_BYTES} bytes",
            actual=f"{len(data)} bytes",
        )
    try:
        statement = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(
            Reason.MALFORMED_STATEMENT, "this is not an inference record", actual=str(error)
        ) from error
    if _encode(statement) != data:
        raise MalformedError(
            Reason.NOT_CANONICAL, "this record is not spelled as RFC 8785 spells it"
        )
    record: Record = statement.predicate
    _check_digits(record)
    if statement.predicate_type != PREDICATE_TYPE:
        raise MalformedError(
            Reason.FOREIGN_PREDICATE,
            "this is another kind of statement",
            expected=PREDICATE_TYPE,
            actual=statement.predicate_type[:200],
        )
    subject = statement.subject
    if type(record) is Completion:
        digest = record.response.content_digest
        name = "output"
    elif type(record) is Intent:
        digest = record.request
        name = "request"
    else:
        wanted = shim_subject(record.sequence.shim_id)
        digest, name = wanted.digest.sha256, wanted.name
    only = subject[0]
    if (
        len(subject) != 1
        or only.name != name
        or only.digest.sha256 != digest
        or only.digest.sha512 is not msgspec.UNSET
    ):
        raise MalformedError(
            Reason.SUBJECT_MISMATCH, "the subject is not what the record speaks of", expected=name
        )
    return record
