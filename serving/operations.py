"""Calls for whoever runs the service, and for whoever writes programs that call it."""

import asyncio
from importlib.resources import files

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from serving.admission import json_response
from serving.application import Application
from serving.criteria import criteria
from serving.docs import openapi
from serving.listing import DEADLINE_SECONDS
from serving.problems import ServiceProblem, unavailable
from serving.schemas import (
    CacheFigures,
    ModelFigures,
    NothingRequest,
    SourceFigures,
    StatsResponse,
)
from serving.surface import Route

_SOURCES = sa.text(
    """
    SELECT coalesce(t.source, p.source), coalesce(t.n, 0), coalesce(p.n, 0),
           (SELECT max(imported_at) FROM imports i WHERE i.kind = coalesce(t.source, p.source))
    FROM (SELECT source, count(*) AS n FROM tracks GROUP BY source) t
    FULL JOIN (SELECT source, count(*) AS n FROM plays GROUP BY source) p USING (source)
    ORDER BY 1
    """
)


def routes(application: Application, table: list[Route]) -> list[Route]:
    """Return these calls.

    Parameters
    ----------
    table
        The other calls, to be described beside these.
    """
    calls = _Operations(application)
    own = [
        Route(
            "/v1/stats",
            calls.stats,
            "Caches, models, sources, promises and queues; for administrators",
            request=NothingRequest,
            response=StatsResponse,
            statuses=(401, 403, 413, 422, 429, 503),
            takes_nothing=True,
        ),
        Route(
            "/docs.json",
            calls.docs,
            "This document",
            method="GET",
            needs_token=False,
        ),
        Route(
            "/",
            calls.page,
            "A page that shows the list of whoever's token it is given",
            method="GET",
            needs_token=False,
            media_type="text/html; charset=utf-8",
        ),
    ]
    calls.document = openapi([*table, *own])
    return own


class _Operations:
    def __init__(self, application: Application) -> None:
        self._app = application
        self._page = files("serving").joinpath("page.html").read_text(encoding="utf-8")
        self.document = b""

    async def stats(self, request: Request) -> Response:
        """POST /v1/stats."""
        caller = await self._app.admission.who(request)
        await self._app.admission.admit(request, caller)
        if not caller.is_admin:
            raise ServiceProblem(403, "figures of the service are for administrators")
        await self._app.admission.body(request, NothingRequest)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return json_response(await self._app.in_thread(self._figures))
        except (OperationalError, PoolTimeoutError, TimeoutError):
            raise unavailable("the database of figures") from None

    def _figures(self) -> StatsResponse:
        app = self._app
        lineup = app.lineup
        caches = [cache.get_stats() for cache in app.cache.named]
        with app.engine.connect() as connection:
            promises = criteria(connection, caches[0], now=app.now())
            sources = [
                SourceFigures(source=source, tracks=tracks, plays=plays, last_import_at=at)
                for source, tracks, plays, at in connection.execute(_SOURCES)
            ]
        return StatsResponse(
            caches=[CacheFigures(**msgspec.structs.asdict(cache)) for cache in caches],
            models=ModelFigures(
                champion=lineup.champion.models,
                challenger=lineup.challenger.models if lineup.challenger else None,
                challenger_share=lineup.share,
                shadow_share=lineup.shadow_share,
                catalogue=lineup.champion.catalogue_version,
                stale=app.versions.is_stale,
                refused={which: f"{v}: {why}" for which, (v, why) in app.versions.refused.items()},
            ),
            sources=sources,
            criteria=promises,
            queues=app.queue_depths(),
            degraded=sorted(app.away),
        )

    async def docs(self, _: Request) -> Response:
        """GET /docs.json."""
        return Response(self.document, media_type="application/json")

    async def page(self, _: Request) -> Response:
        """GET /."""
        return HTMLResponse(self._page)
