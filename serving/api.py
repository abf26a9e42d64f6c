"""The HTTP surface of listening: one function per call, from bytes to bytes.

`build` puts the whole table of routes together; a module with calls of its own adds its `routes`.
"""

import asyncio
import logging
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from features.log_messages import PROCESSED_FEEDBACK
from recommender.errors import RecommenderError
from recommender.questionnaires import Assessment, score
from serving import counterfactuals, lists, operations, own_data
from serving.admission import JsonBytes, json_response
from serving.application import Application
from serving.engagement import count_feedback
from serving.feedback import Received
from serving.listing import seconds_left
from serving.lists import CacheResult, PackedList
from serving.metrics import DEGRADED
from serving.problems import ServiceProblem
from serving.schemas import (
    Confidence,
    FeedbackRequest,
    FeedbackResponse,
    PersonalityRequest,
    PersonalityResponse,
    RecommendRequest,
    RecommendResponse,
)
from serving.spotify_calls import SpotifyCalls
from serving.surface import Route, surface
from serving.tally import TALLY

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
    spotify = SpotifyCalls(
        application.settings, application.spotify, application.admission, now=application.now
    )
    table = [
        *routes(application),
        *spotify.calls(),
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
        caller = await self._admission.who(request)
        try:
            body = await self._admission.body(request, RecommendRequest)
        except ServiceProblem:
            await self._admission.admit(request, caller)  # nonsense counts as a call too
            raise
        user_id, listing = caller.user_id, self._app.listing
        field = listing.field(user_id, body)
        found, redis_is_down = await self._admission.admit(request, caller, field)
        away = self._app.away | ({"redis_down"} if redis_is_down else set())
        cache: CacheResult = "hit"
        packed = listing.kept(found)
        if packed is not None:
            listing.refresh_behind(user_id, body.spotify_token)
            if body.exclude_ids:
                packed = await listing.with_reserves(user_id, packed, field)
        else:
            packed, cache, without = await listing.make(user_id, body, field, started=started)
            away |= without
        return self._listed(request, packed, user_id, body, cache, started=started, away=away)

    def _listed(
        self,
        request: Request,
        packed: PackedList,
        user_id: str,
        body: RecommendRequest,
        cache: CacheResult,
        *,
        started: float,
        away: frozenset[str],
    ) -> Response:
        if cache == "hit":
            self._app.servings.add(packed.recommendation_id)
        self._app.cache.recommendations.count(cache)
        content, n = lists.answer(
            packed, user_id, body, cache, started=started, degraded=tuple(sorted(away))
        )
        TALLY.listed(cache, n)
        request.scope["state"]["cache"] = cache
        return JsonBytes(content)

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
        try:
            async with asyncio.timeout(seconds_left(started)):
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
        await self._app.listing.within(
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
