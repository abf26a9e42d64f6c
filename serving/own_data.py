"""A listener's own data over HTTP: their profile, everything that is stored, and its deletion."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request
from starlette.responses import Response

from features.standing import load_standing
from features.users import ensure_user
from serving import erasure
from serving.admission import json_response
from serving.application import Application
from serving.listing import DEADLINE_SECONDS
from serving.problems import ServiceProblem, unavailable
from serving.schemas import (
    DeletionReceipt,
    ExportResponse,
    MeResponse,
    NothingRequest,
)
from serving.surface import Route

EXPORT_SECONDS = 30.0
"""An export reads everything; it may take longer than a list."""

SETTLE_SECONDS = 5.0
"""How long a deletion waits for a refresh of the listener's history that is under way."""

REFUSED = (401, 403, 413, 422, 429, 503)

T = TypeVar("T")

log = logging.getLogger("bondhu")


def routes(application: Application) -> list[Route]:
    """Return the calls about oneself."""
    calls = _OwnData(application)
    shared: dict[str, Any] = {
        "request": NothingRequest,
        "statuses": REFUSED,
        "takes_nothing": True,
    }
    return [
        Route(
            "/v1/me", calls.me, "What Bondhu knows of the listener", response=MeResponse, **shared
        ),
        Route(
            "/v1/me/export",
            calls.export,
            "Everything that is stored about the listener",
            response=ExportResponse,
            **shared,
        ),
        Route(
            "/v1/me/delete",
            calls.delete,
            "Delete everything about the listener; a receipt says what was deleted where",
            response=DeletionReceipt,
            **shared,
        ),
    ]


class _OwnData:
    def __init__(self, application: Application) -> None:
        self._app = application
        self._later: set[asyncio.Task[None]] = set()

    async def me(self, request: Request) -> Response:
        """POST /v1/me."""
        caller, _ = await self._app.admission.read(request, NothingRequest)

        def load() -> MeResponse:
            now = self._app.now()
            with self._app.engine.begin() as connection:
                ensure_user(connection, caller.user_id, source="api", now=now)
                return MeResponse.of(load_standing(connection, caller.user_id, now=now))

        return json_response(await self._stored(load))

    async def export(self, request: Request) -> Response:
        """POST /v1/me/export."""
        caller, _ = await self._app.admission.read(request, NothingRequest)
        app = self._app
        content = await self._stored(
            lambda: erasure.export(
                app.loading_engine, app.cache, app.journal, caller.user_id, now=app.now()
            ),
            seconds=EXPORT_SECONDS,
        )
        return Response(content, media_type="application/json")

    async def delete(self, request: Request) -> Response:
        """POST /v1/me/delete."""
        caller, _ = await self._app.admission.read(request, NothingRequest)
        app, user_id = self._app, caller.user_id
        # What a refresh stores after the deletion would make the listener anew.
        if not await app.spotify.settled(user_id, seconds=SETTLE_SECONDS):
            raise ServiceProblem(
                503, "the history is being refreshed from Spotify", {"Retry-After": "20"}
            )
        async with app.turns.turn(user_id, ""):  # after a list that is being computed
            receipt = await self._stored(
                lambda: erasure.erase(
                    app.loading_engine,
                    app.cache,
                    app.journal,
                    user_id,
                    now=app.now(),
                    requested_by="backend" if caller.acting else "listener",
                ),
                seconds=EXPORT_SECONDS,
            )
        app.forget(user_id)
        task = asyncio.create_task(self._sweep(user_id))
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        log.info("Deleted a listener, receipt %s", receipt.receipt_id)
        return json_response(receipt)

    async def _sweep(self, user_id: str) -> None:
        """Drop what a call that was under way left in Redis, once it must have ended."""
        await asyncio.sleep(DEADLINE_SECONDS)
        self._app.forget(user_id)
        try:
            await asyncio.to_thread(self._app.cache.forget, user_id)
        except redis.RedisError:  # its keys end by themselves
            log.warning("Redis went away before a second look for a deleted listener's keys")

    async def _stored(self, work: Callable[[], T], *, seconds: float = DEADLINE_SECONDS) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await self._app.in_thread(work)
        except (OperationalError, PoolTimeoutError, TimeoutError):
            raise unavailable("the listeners' database") from None
        except redis.RedisError:
            raise unavailable("Redis, which holds copies of it,") from None
        except OSError:
            raise unavailable("the journal of feedback") from None
