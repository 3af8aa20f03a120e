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
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.sampling import TRACEPARENT, Sampling, TraceParent
from serving.settings import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_CLOSE_S = 3.0
_NO_CONTEXT = Context()
_PROPAGATOR = TraceContextTextMapPropagator()


class RequestTrace:
    """The trace of one request, which may be sampled or not."""

    __slots__ = ("_clock_offset_ns", "_context", "_parent", "_span", "_trace_id", "_tracer", "exemplar")

    def __init__(self, tracer: trace.Tracer, span: trace.Span | None, parent: TraceParent | None) -> None:
        """Belong to a span.

        Args:
            tracer: makes the spans of the stages.
            span: of the request, not ended; None if it is not sampled.
            parent: of the caller.
        """
        self._tracer = tracer
        self._span = span
        self._parent = parent
        self._trace_id = None if parent is None else parent.trace_id
        self.exemplar: dict[str, str] | None = None
        """Labels of the exemplars of a sampled request."""
        if span is not None:
            context = span.get_span_context()
            self._trace_id = trace.format_trace_id(context.trace_id)
            self.exemplar = {"trace_id": self._trace_id, "span_id": trace.format_span_id(context.span_id)}
            self._context = trace.set_span_in_context(span, _NO_CONTEXT)
            self._clock_offset_ns = time.time_ns() - time.monotonic_ns()

    @property
    def is_recording(self) -> bool:
        """Whether the request is sampled."""
        return self._span is not None

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        if self._trace_id is None:
            self._trace_id = f"{random.getrandbits(128) | 1:032x}"
        return self._trace_id

    def start_span(self, name: str) -> trace.Span | None:
        """A span of one stage, to be ended; None if the request is not sampled."""
        return None if self._span is None else self._tracer.start_span(name, self._context)

    def past_span(self, name: str, started: float, ended: float) -> None:
        """A span of a stage that is over.

        Args:
            name: of the stage.
            started: seconds of ``time.monotonic``.
            ended: the same.
        """
        if self._span is not None:
            span = self._tracer.start_span(name, self._context, start_time=self._wall_ns(started))
            span.end(self._wall_ns(ended))

    def headers(self, span: trace.Span | None) -> dict[str, str]:
        """Headers of a request to another service, in place of the caller's.

        Args:
            span: of the stage that sends it.
        """
        carrier: dict[str, str] = {}
        if span is not None:
            _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, _NO_CONTEXT))
        elif self._parent is None or self._parent.is_sampled:  # what is behind decides as we did
            carrier[TRACEPARENT] = f"00-{self.trace_id}-{random.getrandbits(64) | 1:016x}-00"
        return carrier

    def finish(self, name: str, attributes: Mapping[str, str | int | float | bool], *, failed: bool) -> None:
        """End the request's span.

        Args:
            name: of the operation.
            attributes: of the span; no text.
            failed: whether it is a fault of the service.
        """
        if self._span is not None:
            self._span.update_name(name)
            self._span.set_attributes(attributes)
            if failed:
                self._span.set_status(trace.StatusCode.ERROR)
            self._span.end()

    def _wall_ns(self, monotonic_s: float) -> int:
        return int(monotonic_s * 1e9) + self._clock_offset_ns


class RequestTracer:
    """Begins the traces of a server's requests, and sends their spans."""

    def __init__(self, provider: TracerProvider, sampling: Sampling) -> None:
        """Trace some requests.

        Args:
            provider: samples everything that it is asked for; :meth:`close` shuts it down.
            sampling: which requests it is asked for.
        """
        self._provider = provider
        self._sampling = sampling
        self._tracer = provider.get_tracer("yiwen")

    def begin(self, name: str, headers: Mapping[str, str]) -> RequestTrace:
        """The trace of a request, in its caller's if the headers name one.

        Args:
            name: of the operation.
            headers: HTTP headers or gRPC metadata, names in lower case.
        """
        parent = TraceParent.of(headers)
        if not self._sampling.samples(parent, random.random()):
            return RequestTrace(self._tracer, None, parent)
        context = _NO_CONTEXT if parent is None else _PROPAGATOR.extract(headers, _NO_CONTEXT)
        return RequestTrace(
            self._tracer, self._tracer.start_span(name, context, trace.SpanKind.SERVER), parent
        )

    def close(self) -> None:
        """Send what is left; blocks for :data:`_CLOSE_S` at most, also where no collector answers."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracer-shutdown", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)


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
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    except ImportError:
        raise SettingsError(
            f"{endpoint} is set, but the OpenTelemetry SDK is not installed: install Yiwen with the extra `tracing`, "
            "or take the variable away"
        ) from None
    resource = _resource(environ, attributes, service_name)
    try:
        provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        raise SettingsError(f"a variable OTEL_* is wrong: {error}") from None
    return RequestTracer(provider, sampling)


def _resource(environ: Mapping[str, str], attributes: Mapping[str, str], service_name: str) -> Resource:
    from opentelemetry.sdk.resources import Resource

    own = dict(attributes)
    has_name = "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "") or environ.get(
        "OTEL_SERVICE_NAME"
    )
    if not has_name:
        own["service.name"] = service_name
    return Resource.create(own)
