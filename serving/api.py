"""The HTTP surface: one function per call, from bytes to bytes."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib.resources import files
from typing import TypeVar

import msgspec
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from recommender.errors import RecommenderError
from recommender.questionnaires import Assessment, score
from serving import lists
from serving.application import Application
from serving.auth import USER_HEADER, Caller
from serving.cache import Lookup
from serving.docs import CALLS, openapi
from serving.feedback import Received
from serving.metrics import ANSWERS, DEGRADED, LATENCY, LIMITED, LISTS
from serving.problems import ServiceProblem, problem_response, unavailable
from serving.schemas import (
    Confidence,
    FeedbackRequest,
    FeedbackResponse,
    PersonalityRequest,
    PersonalityResponse,
    RecommendRequest,
)
from serving.spotify import SpotifyCalls

LARGEST_BODY = 1_000_000
SPOTIFY_SECONDS = 1.5
"""How long a list waits for a history to be refreshed; the refresh then goes on by itself."""

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]


def build(application: Application) -> Starlette:
    """Return the ASGI application of /v1, the page and the API's document."""
    api = _Api(application)
    spotify = SpotifyCalls(application.settings, application.spotify, api, now=application.now)
    return Starlette(
        routes=[
            Route("/v1/recommend", _measured("/v1/recommend", api.recommend), methods=["POST"]),
            Route("/v1/feedback", _measured("/v1/feedback", api.feedback), methods=["POST"]),
            Route(
                "/v1/personality", _measured("/v1/personality", api.personality), methods=["POST"]
            ),
            *(
                Route(call.path, _measured(call.path, call.endpoint), methods=[call.method])
                for call in spotify.calls()
            ),
            Route("/docs.json", api.docs),
            Route("/", api.page),
        ],
        exception_handlers={HTTPException: _http_problem, Exception: _broken},
    )


class _Api:
    def __init__(self, application: Application) -> None:
        self._app = application
        self._docs = openapi()
        self._page = files("serving").joinpath("page.html").read_text(encoding="utf-8")

    async def recommend(self, request: Request) -> Response:
        """POST /v1/recommend."""
        started = time.perf_counter()
        caller, body = await self._read(request, RecommendRequest)
        served = self._app.served
        plain = not (body.force_refresh or body.candidate_ids is not None)
        looked_up, redis_is_down = await self._admit(
            caller, served.cache_key(body) if plain else ""
        )
        away = {"redis_down"} if redis_is_down else set()
        away |= await self._app.spotify.within(
            SPOTIFY_SECONDS, caller.user_id, body.spotify_token, is_cached=bool(looked_up.value)
        )
        degraded = tuple(sorted(away | self._app.away))
        if looked_up.value is not None and not self._app.may_hold_outdated_lists:
            kept = lists.unpack(looked_up.value)
            if kept and kept.metadata.expires_at > self._app.now():
                answer = lists.answer(
                    kept, caller.user_id, body, "hit", started=started, degraded=degraded
                )
                self._app.servings.add(answer.recommendation_id)
                return self._ok(request, answer, looked_up, cache="hit")
        try:
            answer = await asyncio.to_thread(
                self._app.recommender.recommend,
                caller.user_id,
                body,
                served,
                degraded=degraded,
                started=started,
            )
        except RecommenderError as error:
            raise ServiceProblem(422, str(error)) from None
        except (OperationalError, PoolTimeoutError):
            DEGRADED.labels("postgres").inc()
            raise unavailable("the listeners' database") from None
        if answer.metadata.cache == "hit":
            self._app.servings.add(answer.recommendation_id)
        return self._ok(request, answer, looked_up, cache=answer.metadata.cache)

    async def feedback(self, request: Request) -> Response:
        """POST /v1/feedback."""
        caller, body = await self._read(request, FeedbackRequest)
        looked_up, _ = await self._admit(caller)
        received = Received(user_id=caller.user_id, received_at=self._app.now(), request=body)
        answer = await asyncio.to_thread(self._app.accept_feedback, received)
        if answer is None:
            journalled = FeedbackResponse(
                event_id=body.event_id, reward=None, q_value=None, state=None, duplicate=False
            )
            return self._ok(request, journalled, looked_up, status=202)
        return self._ok(request, answer, looked_up)

    async def personality(self, request: Request) -> Response:
        """POST /v1/personality."""
        caller, body = await self._read(request, PersonalityRequest)
        looked_up, _ = await self._admit(caller)
        if (body.instrument is None) != (body.answers is None) or (
            (body.instrument is None) == (body.scores is None)
        ):
            raise ServiceProblem(422, "send either instrument with answers, or scores")
        if body.instrument is not None and body.answers is not None:
            method: str = body.instrument
            try:
                assessment = score(method, body.answers)
            except RecommenderError as error:
                raise ServiceProblem(422, str(error)) from None
        else:
            method = "scores"
            scores = {str(trait): value for trait, value in (body.scores or {}).items()}
            assessment = Assessment(scores, dict.fromkeys(scores, 1.0))
        if not assessment.scores:
            raise ServiceProblem(422, "no trait could be scored: answer at least 80% of its items")
        try:
            await asyncio.to_thread(
                self._app.assess, caller.user_id, assessment, method=method, answers=body.answers
            )
        except (OperationalError, PoolTimeoutError):
            raise unavailable("the listeners' database") from None
        answer = PersonalityResponse(
            scores=assessment.scores,
            confidence=Confidence(
                overall=assessment.overall_confidence, traits=assessment.confidence
            ),
            method=method,
        )
        return self._ok(request, answer, looked_up)

    async def docs(self, _: Request) -> Response:
        """GET /docs.json."""
        return Response(self._docs, media_type="application/json")

    async def page(self, _: Request) -> Response:
        """GET /."""
        return HTMLResponse(self._page)

    async def caller(self, request: Request) -> Caller:
        """Return who calls, counted against the limit; the body stays unread."""
        caller = self._app.authenticator.authenticate(
            request.headers.get("authorization"), request.headers.get(USER_HEADER)
        )
        request.state.looked_up, _ = await self._admit(caller)
        return caller

    async def read(self, request: Request, type_: type[T]) -> tuple[Caller, T]:
        """Return who calls and what was sent, counted against the limit."""
        caller = await self.caller(request)
        return caller, await _body(request, type_)

    def answer(self, request: Request, answer: msgspec.Struct) -> Response:
        """Return a struct as a response."""
        return self._ok(request, answer, request.state.looked_up)

    async def _read(self, request: Request, type_: type[T]) -> tuple[Caller, T]:
        """Return who calls and what was sent; a body that makes no sense counts as a call too."""
        caller = self._app.authenticator.authenticate(
            request.headers.get("authorization"), request.headers.get(USER_HEADER)
        )
        try:
            return caller, await _body(request, type_)
        except ServiceProblem:
            await self._admit(caller)
            raise

    async def _admit(self, caller: Caller, field: str = "") -> tuple[Lookup, bool]:
        """Return what the limit and the list cache say, and whether Redis is down."""
        limit = self._app.settings.user_rate_limit
        found = await self._app.edge_cache.look_up(caller.user_id, limit=limit, field=field)
        looked_up = found or self._app.local_limit.look_up(caller.user_id, limit=limit)
        if not looked_up.allowed:
            LIMITED.inc()
            headers = self._limit_headers(looked_up)
            seconds = headers["X-RateLimit-Reset"]
            raise ServiceProblem(
                429,
                f"more than {limit} calls a minute: the next is free in {seconds} seconds",
                headers | {"Retry-After": seconds},
            )
        return looked_up, found is None

    def _limit_headers(self, looked_up: Lookup) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self._app.settings.user_rate_limit),
            "X-RateLimit-Remaining": str(looked_up.remaining),
            "X-RateLimit-Reset": str(math.ceil(looked_up.reset_ms / 1000)),
        }

    def _ok(
        self,
        request: Request,
        answer: msgspec.Struct,
        looked_up: Lookup,
        *,
        status: int = 200,
        cache: str = "",
    ) -> Response:
        if cache:
            LISTS.labels(cache).inc()
            request.state.cache = cache
        return Response(
            msgspec.json.encode(answer),
            status,
            media_type="application/json",
            headers=self._limit_headers(looked_up),
        )


async def _body(request: Request, type_: type[T]) -> T:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST_BODY:
            raise ServiceProblem(413, f"a body may hold {LARGEST_BODY} bytes at most")
    try:
        return msgspec.json.decode(bytes(content) or b"{}", type=type_)
    except msgspec.DecodeError as error:
        raise ServiceProblem(422, f"the body is not as /docs.json says: {error}") from None


def _measured(route: str, endpoint: Endpoint) -> Endpoint:
    async def measured(request: Request) -> Response:
        started = time.perf_counter()
        try:
            response = await endpoint(request)
        except ServiceProblem as problem:
            response = problem_response(problem)
        cache = getattr(request.state, "cache", "")
        LATENCY.labels(route, cache).observe(time.perf_counter() - started)
        ANSWERS.labels(route, str(response.status_code)).inc()
        return response

    return measured


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette hands over what was registered
    detail = {
        404: "there is nothing at this address: see /docs.json",
        405: "this address takes another method (calls of /v1 are POST): see /docs.json",
    }.get(error.status_code, HTTPStatus(error.status_code).description)
    return problem_response(ServiceProblem(error.status_code, detail, error.headers))


async def _broken(request: Request, _: Exception) -> Response:
    """Answer for what nobody expected; Starlette hands the exception on to the log after this."""
    route = request.url.path if request.url.path in CALLS else "other"
    ANSWERS.labels(route, "500").inc()
    return problem_response(ServiceProblem(500, "something broke that should not have"))
