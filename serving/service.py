"""The BentoML service: the one place where things are wired.

BentoML starts the workers, answers /livez, /readyz and /metrics, and packs the bento. The calls of
/v1 are answered outside its middlewares, which would cost more than a cached list does.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import bentoml
from _bentoml_sdk import Service
from starlette.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from serving.application import Application

METRICS_PATH = "/metrics"
BENTOML_PATHS = frozenset({"/livez", "/readyz", "/healthz", METRICS_PATH})


class Edge:
    """The outermost ASGI application of a worker.

    Parameters
    ----------
    tell
        Brings Prometheus's counters up to date, before they are read.
    """

    def __init__(self, bento: ASGIApp, calls: ASGIApp, tell: Callable[[], None]) -> None:
        self._bento = bento
        self._calls = calls
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to BentoML or to the API."""
        if scope["type"] == "lifespan" or scope.get("path") in BENTOML_PATHS:
            if scope.get("path") == METRICS_PATH:
                self._tell()
            await self._bento(scope, receive, send)
        else:
            await self._calls(scope, receive, send)


class EdgeService(Service):  # type: ignore[misc]
    """A service whose workers answer through `Edge`; `to_asgi` is what a worker calls."""

    application: "Application | None" = None
    tracing: "TracerProvider | None" = None

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Open nothing yet; BentoML's start-up hook does.

        Raises
        ------
        ValueError
            There is no way to tell who calls.
        """
        # A worker computes one list at a time beside its event loop, and other workers theirs:
        # threads within one product would only fight for cores.
        # It has to be said before numpy is imported.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        # Here and not above: the process that starts workers imports this module too, and would
        # spend a second on what it never uses.
        from features.settings import read_settings  # noqa: PLC0415
        from serving import api  # noqa: PLC0415
        from serving.application import Application  # noqa: PLC0415
        from serving.logs import open_log  # noqa: PLC0415
        from serving.tracing import open_tracing  # noqa: PLC0415

        settings = read_settings()
        if settings.bondhu_jwt_secret is None and settings.supabase_url is None:
            raise ValueError(
                "neither BONDHU_JWT_SECRET nor SUPABASE_URL is set: the service refuses to start"
                " without a way to tell who calls"
            )
        open_log(settings.bondhu_log_level)
        if settings.otel_exporter_otlp_endpoint:
            self.tracing = open_tracing(settings.otel_exporter_otlp_endpoint)
        workers = self.config.get("workers", 1)
        self.application = Application(settings, workers=workers if workers != "cpu_count" else 8)
        return Edge(
            super().to_asgi(is_main), api.build(self.application), self.application.tell_metrics
        )


class Bondhu:
    """Personality-aware music recommendation."""

    bento_service: EdgeService

    @property
    def _application(self) -> "Application":
        assert self.bento_service.application is not None  # noqa: S101 - made by to_asgi
        return self.bento_service.application

    @bentoml.on_startup
    async def open(self) -> None:
        """Load the catalogue and the models before /readyz says yes."""
        await self._application.open()

    @bentoml.on_shutdown
    async def close(self) -> None:
        """Let everything go."""
        await self._application.close()
        if self.bento_service.tracing is not None:
            from serving.tracing import close_tracing  # noqa: PLC0415

            close_tracing(self.bento_service.tracing)


service = EdgeService(
    name="bondhu",
    inner=Bondhu,
    config={
        "traffic": {"timeout": 10},  # BentoML keeps each request's objects until it passes
        "logging": {"access": {"enabled": False}},
    },
)
