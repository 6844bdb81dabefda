"""OpenTelemetry traces of requests in its conventions for generative AI; the only file that imports OpenTelemetry.

Nothing of it is imported, and nothing on a request's path asks for it, unless `tracing.endpoint` is set.
"""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from policies.choice import Choice
from policies.request import Request
from router.config.traffic import TracingSettings
from router.errors import SetupError

OPERATIONS = {"/v1/completions": "text_completion", "/v1/embeddings": "embeddings"}
"""`gen_ai.operation.name` by route; every other one is a chat."""

# OpenTelemetry's types are not known where it is not installed.
Otel = Any


@dataclass(slots=True)
class Span:
    """One request's span."""

    _span: Otel

    def end(self, request: Request | None, choice: Choice | None, status: int) -> None:
        """Say what was asked and decided, and end."""
        span = self._span
        span.set_attribute("http.response.status_code", status)
        if request is not None:
            span.set_attributes(_asked(request))
        if choice is not None:
            span.set_attributes(_decided(choice))
        if status >= 400:
            span.set_attribute("error.type", str(status))
        span.end()


class Tracing:
    """Begins a span per request; `stop` sends what is left."""

    def __init__(
        self, tracer: Otel, inject: Callable[..., None], extract: Callable[..., Otel], stop: Callable[[], None]
    ):
        self._tracer, self._inject, self._extract = tracer, inject, extract
        self.stop = stop

    def begin(self, route: str, headers: MutableMapping[str, str]) -> Span:
        """A span below the client's, if it named one; the engine's will be below ours."""
        from opentelemetry import trace

        operation = OPERATIONS.get(route, "chat")
        attributes = {"gen_ai.operation.name": operation, "gen_ai.provider.name": "vllm", "http.route": route}
        span = self._tracer.start_span(
            operation, context=self._extract(headers), kind=trace.SpanKind.SERVER, attributes=attributes
        )
        self._inject(headers, context=trace.set_span_in_context(span))
        return Span(span)


def tracing(settings: TracingSettings, exporter: Otel = None) -> Tracing | None:
    """Tracing as the settings ask for it, None where they do not; SetupError where its packages are missing."""
    if settings.endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError as error:
        raise SetupError(f"tracing.endpoint is set, but {error.name} is missing: install alpharoute[otel]") from None
    resource = Resource.create({"service.name": "alpharoute"})
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(settings.share), resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=settings.endpoint)))
    context = TraceContextTextMapPropagator()
    return Tracing(provider.get_tracer("alpharoute"), context.inject, context.extract, provider.shutdown)


def _asked(request: Request) -> Mapping[str, str | int | float]:
    limit = {} if request.max_tokens is None else {"gen_ai.request.max_tokens": request.max_tokens}
    return {
        "gen_ai.request.model": request.model,
        "gen_ai.request.temperature": request.temperature,
        "alpharoute.task": request.task,
        "alpharoute.segment": request.segment,
        **limit,
    }


def _decided(choice: Choice) -> Mapping[str, str | int]:
    return {
        "alpharoute.pool": choice.pool,
        "alpharoute.replica": choice.replica,
        "alpharoute.k": choice.k,
        "alpharoute.decision": str(choice.reason),
    }
