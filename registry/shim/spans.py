"""Spans: what OpenTelemetry learns of a call: its receipt id, digests and times, never its content.

A caller that sends ``traceparent`` (W3C Trace Context) finds the shim's span in its own trace. The
names of attributes stand here and nowhere else: those of ``gen_ai`` are still in development.

The libraries come with the extra ``provreg[otel]``. Their own environment variables hold, such as
``OTEL_EXPORTER_OTLP_HEADERS`` for a collector that wants a token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Protocol
from urllib.parse import urlsplit

from registry.core.records import inference
from registry.errors import MalformedError, Reason, UnavailableError

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    trace = None  # type: ignore[assignment]  # asked before use

MAX_WAITING_SPANS = 2048
"""Spans that wait for a collector; further ones are dropped, calls never wait."""

EXPORT_SECONDS = 5.0
"""How long a collector may take for one lot of spans."""

TRACES = "/v1/traces"
"""Where a collector takes traces, unless its address says otherwise."""

RECEIPT_ID = "attest.receipt.id"
OUTPUT_SHA256 = "attest.output.sha256"
OUTPUT_PROFILE = "attest.output.profile"
OUTPUT_COMPLETE = "attest.output.complete"
MODEL_SHA256 = "attest.model.sha256"
MODEL_RELEASE = "attest.model.release"
REQUEST_MODEL = "gen_ai.request.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
ERROR_TYPE = "error.type"

_NAME = "inference call"


class CallSpan(Protocol):
    """The span of one call; ended once, by its outcome."""

    def answered(
        self, receipt_id: str, response: inference.Response, finish_reasons: tuple[str, ...]
    ) -> None:
        """The call was answered."""

    def ended(self, receipt_id: str, error: str) -> None:
        """The call gave no whole answer; ``error`` is the kind of failure."""


class Spans(Protocol):
    """Makes the spans of calls."""

    def begin(self, traceparent: str, model: inference.Model, named: str) -> CallSpan:
        """A call to ``model`` begins.

        Args:
            traceparent: What its caller sent; empty if nothing.
            model: What answers.
            named: The model that the request names.
        """


class NoSpans:
    """Nobody wants to know."""

    def begin(self, traceparent: str, model: inference.Model, named: str) -> CallSpan:  # noqa: ARG002
        """A span that tells nobody."""
        return self

    def answered(self, *_: object) -> None:
        """Nothing."""

    def ended(self, *_: object) -> None:
        """Nothing."""


class CollectedSpans:
    """Spans for one provider of OpenTelemetry, whoever made it."""

    def __init__(self, provider: Any) -> None:
        self._tracer = provider.get_tracer("provreg", metadata.version("provreg"))
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, traceparent: str, model: inference.Model, named: str) -> CallSpan:
        """Begin a span in the caller's trace, or in a new one."""
        parent = self._propagator.extract({"traceparent": traceparent} if traceparent else {})
        attributes = {MODEL_SHA256: model.manifest, MODEL_RELEASE: model.release}
        if named:
            attributes[REQUEST_MODEL] = named
        span = self._tracer.start_span(
            _NAME, context=parent, kind=trace.SpanKind.SERVER, attributes=attributes
        )
        return _Recorded(span)


class _Recorded:
    """A span that its first outcome ends."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def answered(
        self, receipt_id: str, response: inference.Response, finish_reasons: tuple[str, ...]
    ) -> None:
        self._span.set_attributes(attributes_of(receipt_id, response))
        if finish_reasons:
            self._span.set_attribute(FINISH_REASONS, list(finish_reasons))
        self._span.end()

    def ended(self, receipt_id: str, error: str) -> None:
        self._span.set_attributes({RECEIPT_ID: receipt_id, ERROR_TYPE: error})
        self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


def attributes_of(receipt_id: str, response: inference.Response) -> dict[str, str | bool]:
    """What a span says of an answer."""
    return {
        RECEIPT_ID: receipt_id,
        OUTPUT_SHA256: response.content_digest,
        OUTPUT_PROFILE: response.profile,
        OUTPUT_COMPLETE: response.complete,
    }


def mark_current(receipt_id: str, response: inference.Response | None) -> None:
    """Tell of an answer in the span that the caller of a wrapper has open, if there is one.

    An answer without a record, which ``best_effort`` lets pass, has nothing to be told of.
    """
    if trace is not None:
        span = trace.get_current_span()
        # One that has ended says so aloud; of a stream the caller may read the rest much later.
        if response is not None and receipt_id and span.is_recording():
            span.set_attributes(attributes_of(receipt_id, response))


def traces_at(endpoint: str) -> str:
    """The URL that takes OTLP traces over HTTP.

    That of a collector alone, such as ``http://localhost:4318``, gets the path at which the
    protocol has them.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    try:
        parts = urlsplit(endpoint)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if not fine or "@" in endpoint:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this is no address of a collector",
            where="--otlp",
            expected="http://HOST:PORT/v1/traces or https://…, without user",
            # Somebody's password may stand before the host.
            actual=endpoint.rpartition("@")[2][:200],
            hint="what a collector wants to see goes into OTEL_EXPORTER_OTLP_HEADERS",
        )
    return parts._replace(path=TRACES).geturl() if parts.path in ("", "/") else endpoint


@contextmanager
def spans_to(endpoint: str | None) -> Iterator[Spans]:
    """Spans that go to a collector in the background; what waits at the end is sent.

    Args:
        endpoint: Where a collector takes OTLP over HTTP, see :func:`traces_at`; None for no spans.

    Raises:
        MalformedError: ``BAD_SETTING``.
        UnavailableError: ``MISSING_EXTRA``.
    """
    if endpoint is None:
        yield NoSpans()
        return
    address = traces_at(endpoint)
    if trace is None:
        raise UnavailableError(
            Reason.MISSING_EXTRA,
            "the libraries of OpenTelemetry are not installed",
            hint="run: pip install 'provreg[otel]'",
        )
    named = {"service.name": "provreg-shim", "service.version": metadata.version("provreg")}
    # Ended below, not by a hook of the process.
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=address, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=MAX_WAITING_SPANS))
    try:
        yield CollectedSpans(provider)
    finally:
        provider.shutdown()
