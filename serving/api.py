"""The HTTP surface of listening: one function per call, from bytes to bytes.

`build` puts the whole table of routes together; a module with calls of its own adds its `routes`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from features.log_messages import PROCESSED_FEEDBACK
from recommender.errors import RecommenderError
from recommender.questionnaires import Assessment, score
from serving import counterfactuals, lists, operations, own_data
from serving.admission import json_response
from serving.application import DEADLINE_SECONDS, Application
from serving.engagement import count_feedback, count_list
from serving.feedback import Received
from serving.lists import CacheResult, PackedList
from serving.metrics import DEGRADED
from serving.problems import ServiceProblem, unavailable
from serving.schemas import (
    Confidence,
    FeedbackRequest,
    FeedbackResponse,
    PersonalityRequest,
    PersonalityResponse,
    RecommendRequest,
    RecommendResponse,
)
from serving.surface import Route, surface
from serving.tracing import span

T = TypeVar("T")

log = logging.getLogger("bondhu")

REFUSED = (401, 403, 413, 422, 429, 503)
"""What every call with a body and a token may answer."""


def routes(application: Application) -> list[Route]:
    """Return the calls of listening."""
    api = _Api(application)
    return [
        Route(
            "/v1/recommend",
            api.recommend,
            "A ranked list for the listener, with every score's components",
            request=RecommendRequest,
            response=RecommendResponse,
            statuses=REFUSED,
            takes_nothing=True,
        ),
        Route(
            "/v1/feedback",
            api.feedback,
            "What the listener did with a track; the next list shows it",
            request=FeedbackRequest,
            response=FeedbackResponse,
            statuses=(202, 404, *REFUSED),
        ),
        Route(
            "/v1/personality",
            api.personality,
            "A Big Five assessment: a questionnaire's answers, or scores of 0-100",
            request=PersonalityRequest,
            response=PersonalityResponse,
            statuses=REFUSED,
        ),
    ]


def build(application: Application) -> ASGIApp:
    """Return the ASGI application of every call that BentoML does not answer."""
    table = [
        *routes(application),
        *counterfactuals.routes(application),
        *own_data.routes(application),
    ]
    return surface([*table, *operations.routes(application, table)])


class _Api:
    def __init__(self, application: Application) -> None:
        self._app = application
        self._admission = application.admission

    async def recommend(self, request: Request) -> Response:
        """POST /v1/recommend."""
        started = time.perf_counter()
        caller = await self._admission.caller(request)
        try:
            body = await self._admission.body(request, RecommendRequest)
        except ServiceProblem:
            await self._admission.admit(request, caller)  # nonsense counts as a call too
            raise
        user_id = caller.user_id
        served, _ = self._app.lineup.of(user_id)
        plain = not (body.force_refresh or body.candidate_ids is not None)
        field = served.cache_key(body) if plain else ""
        found, redis_is_down = await self._admission.admit(request, caller, field)
        away = {"redis_down"} if redis_is_down else set()
        away |= self._app.away
        if packed := self._kept(found):
            if body.spotify_token:
                self._app.history.begin(user_id, body.spotify_token)
            return self._listed(request, packed, user_id, body, "hit", started=started, away=away)
        with span("history"):
            away |= await self._app.history.refreshed(user_id, body.spotify_token)
        if body.candidate_ids is not None:  # nobody else's list would do, nothing is kept
            packed, cache = await self._computed(user_id, body, started)
        else:
            reusable = "" if self._app.may_hold_outdated_lists else field
            async with self._app.turns.turn(user_id, reusable) as found:
                packed, cache = self._kept(found), "hit"
                if packed is None:
                    packed, cache = await self._computed(user_id, body, started)
        return self._listed(request, packed, user_id, body, cache, started=started, away=away)

    def _kept(self, found: bytes | None) -> PackedList | None:
        """Return a list from the first cache, None unless it may be served."""
        if found is None or self._app.may_hold_outdated_lists:
            return None
        packed = lists.unpack(found)
        return packed if packed and packed.metadata.expires_at > self._app.now() else None

    async def _computed(
        self, user_id: str, body: RecommendRequest, started: float
    ) -> tuple[PackedList, CacheResult]:
        served, arm = self._app.lineup.of(user_id)
        try:
            with span("compute"):
                return await self._within(
                    started,
                    lambda: self._app.recommender.recommend(
                        user_id, body, served, arm=arm, shadow=self._app.lineup.unseen_by(user_id)
                    ),
                )
        except RecommenderError as error:
            raise ServiceProblem(422, str(error)) from None

    async def _within(self, started: float, work: Callable[[], T]) -> T:
        """Return what a thread works out, before the call's deadline."""
        left = DEADLINE_SECONDS - (time.perf_counter() - started)
        try:
            async with asyncio.timeout(max(left, 0.05)):
                return await self._app.in_thread(work)
        except (OperationalError, PoolTimeoutError, TimeoutError):
            DEGRADED.labels("postgres").inc()
            raise unavailable("the listeners' database") from None

    def _listed(
        self,
        request: Request,
        packed: PackedList,
        user_id: str,
        body: RecommendRequest,
        cache: CacheResult,
        *,
        started: float,
        away: set[str],
    ) -> Response:
        if cache == "hit":
            self._app.servings.add(packed.recommendation_id)
        self._app.cache.recommendations.count(cache)
        content, n = lists.answer(
            packed, user_id, body, cache, started=started, degraded=tuple(sorted(away))
        )
        count_list(cache, n)
        request.state.cache = cache
        return Response(content, media_type="application/json")

    async def feedback(self, request: Request) -> Response:
        """POST /v1/feedback."""
        started = time.perf_counter()
        caller, body = await self._admission.read(request, FeedbackRequest)
        received = Received(user_id=caller.user_id, received_at=self._app.now(), request=body)
        answer = await self._accepted(received, started)
        if answer is None:
            return json_response(
                FeedbackResponse(
                    event_id=body.event_id, reward=None, q_value=None, state=None, duplicate=False
                ),
                202,
            )
        if not answer.duplicate:
            log.info(PROCESSED_FEEDBACK, body.feedback_type, answer.reward)
            count_feedback(body)
        return json_response(answer)

    async def _accepted(self, received: Received, started: float) -> FeedbackResponse | None:
        left = DEADLINE_SECONDS - (time.perf_counter() - started)
        try:
            async with asyncio.timeout(max(left, 0.05)):
                return await self._app.in_thread(lambda: self._app.accept_feedback(received))
        except TimeoutError:  # Postgres neither answers nor refuses: on disk it is as good
            DEGRADED.labels("postgres").inc()
            await asyncio.to_thread(self._app.journal_feedback, received)
            return None

    async def personality(self, request: Request) -> Response:
        """POST /v1/personality."""
        started = time.perf_counter()
        caller, body = await self._admission.read(request, PersonalityRequest)
        method, assessment = _assessed(body)
        await self._within(
            started,
            lambda: self._app.assess(
                caller.user_id, assessment, method=method, answers=body.answers
            ),
        )
        return json_response(
            PersonalityResponse(
                scores=assessment.scores,
                confidence=Confidence(
                    overall=assessment.overall_confidence, traits=assessment.confidence
                ),
                method=method,
            )
        )


def _assessed(body: PersonalityRequest) -> tuple[str, Assessment]:
    """Return the method and the scores of an assessment.

    Raises
    ------
    ServiceProblem
        422 where it is neither answers nor scores, or no trait can be scored.
    """
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
    return method, assessment
