"""OpenTelemetry traces, if OTEL_EXPORTER_OTLP_ENDPOINT is set; nothing at all otherwise.

Spans carry route templates and names of steps: no listener, no token, no personality.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

SERVICE = "bondhu"

_NOTHING: AbstractContextManager[None] = nullcontext()
_open: list["Tracer"] = []


def span(name: str) -> AbstractContextManager[None]:
    """Return a block whose time is a span of the call under way; free where nothing is traced."""
    return _span(name) if _open else _NOTHING


@contextmanager
def _span(name: str) -> Iterator[None]:
    with _open[0].start_as_current_span(name):
        yield


def open_tracing(endpoint: str, *, exporter: "SpanExporter | None" = None) -> "TracerProvider":
    """Trace from now on, to an OTLP endpoint over HTTP (or to `exporter`).

    Returns
    -------
    The provider: `close_tracing` tells it what is pending.
    """
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - 50 ms that few need
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _open[:] = [provider.get_tracer(SERVICE)]
    return provider


def close_tracing(provider: "TracerProvider") -> None:
    """Tell what is pending, and trace no more."""
    _open.clear()
    provider.shutdown()
