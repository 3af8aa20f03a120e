"""OpenTelemetry: a span of each request and of its stages, in the trace of the caller (W3C Trace Context).

The API is always there. The SDK and the OTLP exporter are the extra ``tracing``, and the standard variables
(``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER`` ...) turn them on and say what is sampled. Without them no
span is made, and ``traceparent`` is passed on as it came. No span holds a text.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import trace

from serving.sampling import TRACEPARENT, TRACESTATE, Sampling, TraceParent
from serving.settings import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_CLOSE_S = 3.0
_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_FAILED, _NO_STATUS = trace.Status(trace.StatusCode.ERROR), trace.Status()


class StageSpan:
    """The span of one stage, not made before its request ends."""

    __slots__ = ("ended_ns", "name", "span_id", "started_ns")

    def __init__(self, name: str, started_ns: int) -> None:
        """Begin at ``started_ns``, nanoseconds since 1970."""
        self.name = name
        self.span_id = random.getrandbits(64) | 1
        self.started_ns = started_ns
        self.ended_ns = 0

    def end(self) -> None:
        """The stage is over now."""
        self.ended_ns = time.time_ns()


class RequestTrace:
    """The trace of one request, which may be sampled or not.

    The SDK's own spans would cost a request with two stages 50 microseconds. So stages are noted, and what the
    exporter reads is made of all of them when the request ends.
    """

    __slots__ = (
        "_export",
        "_parent",
        "_span_id",
        "_stages",
        "_started_ns",
        "_state",
        "_trace_id",
        "is_recording",
    )

    def __init__(
        self, export: SpanExport | None, parent: TraceParent | None, headers: Mapping[str, str]
    ) -> None:
        """Begin now.

        Args:
            export: takes the spans; None if the request is not sampled.
            parent: of the caller.
            headers: of the request; ``tracestate`` among them goes with its spans.
        """
        self._export = export
        self._parent = parent
        self._trace_id = None if parent is None else parent.trace_id
        self.is_recording = export is not None
        """Whether the request is sampled."""
        if export is not None:
            self._span_id = random.getrandbits(64) | 1
            self._started_ns = time.time_ns()
            self._state = headers.get(TRACESTATE)
            self._stages: list[StageSpan] = []

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        if self._trace_id is None:
            self._trace_id = f"{random.getrandbits(128) | 1:032x}"
        return self._trace_id

    @property
    def exemplar(self) -> dict[str, str] | None:
        """Labels of the exemplars of a sampled request."""
        return {"trace_id": self.trace_id, "span_id": f"{self._span_id:016x}"} if self.is_recording else None

    def start_span(self, name: str) -> StageSpan | None:
        """A span of one stage, to be ended; None if the request is not sampled."""
        if not self.is_recording:
            return None
        span = StageSpan(name, time.time_ns())
        self._stages.append(span)
        return span

    def past_span(self, name: str, started: float, ended: float) -> None:
        """A span of a stage that is over.

        Args:
            name: of the stage.
            started: seconds of ``time.monotonic``.
            ended: the same.
        """
        if self.is_recording:
            offset_ns = time.time_ns() - time.monotonic_ns()
            span = StageSpan(name, int(started * 1e9) + offset_ns)
            span.ended_ns = int(ended * 1e9) + offset_ns
            self._stages.append(span)

    def headers(self, span: StageSpan | None) -> dict[str, str]:
        """Headers of a request to another service, in place of the caller's; ``tracestate`` stays as it is.

        Args:
            span: of the stage that sends it.
        """
        if span is not None:
            return {TRACEPARENT: f"00-{self.trace_id}-{span.span_id:016x}-01"}
        if self._parent is None or self._parent.is_sampled:  # what is behind decides as we did
            return {TRACEPARENT: f"00-{self.trace_id}-{random.getrandbits(64) | 1:016x}-00"}
        return {}

    def finish(self, name: str, attributes: Mapping[str, str | int | float | bool], *, failed: bool) -> None:
        """End the request's span, and send all of its spans that have ended.

        Args:
            name: of the operation.
            attributes: of the span; no text.
            failed: whether it is a fault of the service.
        """
        if self._export is None:
            return
        trace_id = int(self.trace_id, 16)
        own = self._export.context(trace_id, self._span_id, self._state)
        parent = None
        if self._parent is not None:
            parent = self._export.context(trace_id, int(self._parent.span_id, 16), self._state)
        for stage in self._stages:
            if stage.ended_ns:
                context = self._export.context(trace_id, stage.span_id, self._state)
                self._export.send(stage.name, context, own, stage.started_ns, stage.ended_ns)
        self._export.send_request(
            name, own, parent, self._started_ns, time.time_ns(), attributes=attributes, failed=failed
        )


class SpanExport:
    """Makes finished spans, and gives them to the SDK's processor."""

    def __init__(self, processor: SpanProcessor, resource: Resource) -> None:
        """Send nothing yet.

        Args:
            processor: sends spans, in a thread of its own.
            resource: what they are of.
        """
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        scope = InstrumentationScope("yiwen")
        self._processor = processor
        self._new_span = partial(ReadableSpan, resource=_hashed_once(resource), instrumentation_scope=scope)

    @staticmethod
    def context(trace_id: int, span_id: int, state: str | None) -> trace.SpanContext:
        """The context of a sampled span.

        Args:
            trace_id: 128 bits.
            span_id: 64 bits.
            state: the header ``tracestate``.
        """
        states = None if state is None else trace.TraceState.from_header([state])
        return trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED, trace_state=states)

    def send(
        self, name: str, context: trace.SpanContext, parent: trace.SpanContext, started_ns: int, ended_ns: int
    ) -> None:
        """Send the span of a stage.

        Args:
            name: of the stage.
            context: of the span.
            parent: of the request's span.
            started_ns: nanoseconds since 1970.
            ended_ns: the same.
        """
        self._processor.on_end(
            self._new_span(name, context, parent, start_time=started_ns, end_time=ended_ns)
        )

    def send_request(
        self,
        name: str,
        context: trace.SpanContext,
        parent: trace.SpanContext | None,
        started_ns: int,
        ended_ns: int,
        *,
        attributes: Mapping[str, str | int | float | bool],
        failed: bool,
    ) -> None:
        """Send the span of a request; arguments as of :meth:`send` and :meth:`RequestTrace.finish`."""
        self._processor.on_end(
            self._new_span(
                name,
                context,
                parent,
                start_time=started_ns,
                end_time=ended_ns,
                attributes=attributes,
                kind=trace.SpanKind.SERVER,
                status=_FAILED if failed else _NO_STATUS,
            )
        )

    def close(self) -> None:
        """Send what is left; blocks for :data:`_CLOSE_S` at most, also where no collector answers."""
        closing = threading.Thread(target=self._processor.shutdown, name="tracer-shutdown", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)


class RequestTracer:
    """Begins the traces of a server's requests."""

    def __init__(self, export: SpanExport, sampling: Sampling) -> None:
        """Trace some requests.

        Args:
            export: takes their spans.
            sampling: which requests are traced.
        """
        self._export = export
        self._sampling = sampling

    def begin(self, headers: Mapping[str, str]) -> RequestTrace:
        """The trace of a request, in its caller's if the headers name one.

        Args:
            headers: HTTP headers or gRPC metadata, names in lower case.
        """
        parent = TraceParent.of(headers)
        is_sampled = self._sampling.samples(parent, random.random())
        return RequestTrace(self._export if is_sampled else None, parent, headers)

    def close(self) -> None:
        """As :meth:`SpanExport.close`."""
        self._export.close()


def create_tracer(
    environ: Mapping[str, str], attributes: Mapping[str, str], service_name: str
) -> RequestTracer | None:
    """The tracer that the standard variables ask for; None if they ask for none.

    Args:
        environ: the process's environment, which the SDK reads itself.
        attributes: of the process, for all spans.
        service_name: where ``OTEL_SERVICE_NAME`` says none.

    Raises:
        SettingsError: the SDK is not installed, or a variable asks for what is not there.
    """
    endpoint = next((name for name in _ENDPOINTS if environ.get(name)), None)
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if endpoint is None or disabled or environ.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return None
    sampling = Sampling.from_environment(environ)
    for name in _PROTOCOLS:
        if environ.get(name, "http/protobuf") != "http/protobuf":
            raise SettingsError(
                f"{name}: only http/protobuf is there; set it to that, and {endpoint} to the collector's HTTP port "
                "(4318)"
            )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsError(
            f"{endpoint} is set, but the OpenTelemetry SDK is not installed: install Yiwen with the extra `tracing`, "
            "or take the variable away"
        ) from None
    try:
        processor = BatchSpanProcessor(OTLPSpanExporter())
    except ValueError as error:
        raise SettingsError(f"a variable OTEL_* is wrong: {error}") from None
    return RequestTracer(SpanExport(processor, _resource(environ, attributes, service_name)), sampling)


def _resource(environ: Mapping[str, str], attributes: Mapping[str, str], service_name: str) -> Resource:
    from opentelemetry.sdk.resources import Resource

    own = dict(attributes)
    has_name = "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "") or environ.get(
        "OTEL_SERVICE_NAME"
    )
    if not has_name:
        own["service.name"] = service_name
    return Resource.create(own)


def _hashed_once(resource: Resource) -> Resource:
    """``resource`` with a hash that is not computed again for each span: the SDK's writes all attributes as JSON."""
    from opentelemetry.sdk.resources import Resource

    class HashedOnce(Resource):
        def __init__(self) -> None:
            super().__init__(resource.attributes, resource.schema_url)
            self._hash = hash(resource)

        def __hash__(self) -> int:
            return self._hash

    return HashedOnce()
