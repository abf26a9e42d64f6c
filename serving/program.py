"""Bondhu inside another program: the calls of SEED.md's examples, without HTTP.

async with serving.open(settings) as bondhu:
    result = await bondhu.generate_recommendations(user_id="ada", max_results=10)
"""

import time
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from features.log_messages import PROCESSED_FEEDBACK
from features.settings import Settings
from recommender.personality import TRAITS
from recommender.questionnaires import Assessment
from serving import lists
from serving.api import log
from serving.application import Application
from serving.feedback import Received
from serving.history import HistorySource
from serving.lists import CacheResult
from serving.schemas import FeedbackRequest, RecommendRequest

GIVEN = "caller"
"""The method of an assessment that a program gave along with a feedback."""


def _stay() -> None:
    """Leave the process of somebody else alone."""


class Bondhu:
    """Recommendations, feedback and figures for a program in the same process.

    It opens at the first call, or as a context manager; `close` lets its connections go.

    Parameters
    ----------
    settings
        With `database_url` and `redis_url` set, as `bondhu up` prints them.
    history
        Where histories are brought up to date from; None: nowhere.

    Raises
    ------
    ValueError
        An address is missing.
    """

    def __init__(self, settings: Settings, *, history: HistorySource | None = None) -> None:
        self._app = Application(settings, history=history, end=_stay)
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Load catalogue and models."""
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    async def generate_recommendations(
        self,
        user_id: str,
        spotify_token: str | None = None,
        force_refresh: bool = False,
        max_results: int = 50,
    ) -> dict[str, Any]:
        """Return a ranked list, as POST /v1/recommend answers it.

        Parameters
        ----------
        spotify_token
            Brings the listener's history up to date first, within a deadline.
        force_refresh
            Compute anew whatever the caches hold.
        max_results
            1-50.

        Returns
        -------
        With `recommendations`, `total_count`, and `metadata` (`response_time_ms`,
        `cold_start_stage`, `cache` and more).

        Raises
        ------
        msgspec.ValidationError
            An argument is out of its range.
        """
        await self._open()
        started = time.perf_counter()
        request = msgspec.convert(
            {
                "max_results": max_results,
                "force_refresh": force_refresh,
                "spotify_token": spotify_token,
            },
            RecommendRequest,
        )
        listing, without = self._app.listing, self._app.away
        field = listing.field(user_id, request)
        found = await self._app.edge_cache.peek(user_id, field) if field else None
        cache: CacheResult = "hit"
        packed = listing.kept(found)
        if packed is not None:
            listing.refresh_behind(user_id, spotify_token)
        else:
            packed, cache, more = await listing.make(user_id, request, field, started=started)
            without |= more
        if cache == "hit":
            self._app.servings.add(packed.recommendation_id)
        self._app.cache.recommendations.count(cache)
        content, _ = lists.answer(
            packed, user_id, request, cache, started=started, degraded=tuple(sorted(without))
        )
        answer: dict[str, Any] = msgspec.json.decode(content)
        return answer

    async def process_feedback(
        self,
        user_id: str,
        music_data: Mapping[str, Any],
        personality_profile: Mapping[Any, float] | None = None,
        feedback_type: str = "play",
        additional_data: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Learn from a feedback, as POST /v1/feedback does.

        Parameters
        ----------
        music_data
            The track; its `id` is what counts.
        personality_profile
            Trait (a name, or an enum's member whose value is one) -> [0, 1]. Where it differs from
            what is stored, it becomes the listener's active profile: lists are made from the same.
        additional_data
            `listen_duration` and `track_duration` in ms, `context`, `recommendation_id`,
            `position`, `occurred_at`, `event_id`; each may be left out.

        Returns
        -------
        `event_id`, `reward`, `q_value`, `state` and `duplicate`; the middle three are None while
        Postgres is away and the feedback is on disk only.

        Raises
        ------
        msgspec.ValidationError
            An argument is not as the wire would have it.
        serving.problems.ServiceProblem
            The track is unknown, or nothing durable is within reach.
        """
        await self._open()
        more = dict(additional_data or {})
        renamed = {"listen_duration": "listen_duration_ms", "track_duration": "track_duration_ms"}
        body = {renamed.get(key, key): value for key, value in more.items()} | {
            "event_id": more.get("event_id") or uuid.uuid4(),
            "track_id": music_data["id"],
            "feedback_type": feedback_type,
        }
        request = msgspec.convert(body, FeedbackRequest)
        if personality_profile:
            await self._take_profile(user_id, personality_profile)
        received = Received(user_id=user_id, received_at=self._app.now(), request=request)
        answer = await self._app.in_thread(lambda: self._app.accept_feedback(received))
        if answer is None:
            nothing = dict.fromkeys(("reward", "q_value", "state"))
            return {"event_id": str(request.event_id), **nothing, "duplicate": False}
        if not answer.duplicate:
            log.info(PROCESSED_FEEDBACK, feedback_type, answer.reward)
        said: dict[str, Any] = msgspec.to_builtins(answer)
        return said

    def get_stats(self, cache: str = "recommendations") -> dict[str, Any]:
        """Return how a cache serves, in all workers of the last seven days.

        Parameters
        ----------
        cache
            recommendations, audio_features, api or user_data.

        Returns
        -------
        `hit_rate_percent`, `total_requests`, `redis_memory_used_mb`, `hits`, `reranks`, `misses`.

        Raises
        ------
        KeyError
            There is no such cache.
        """
        caches = {one.kind.name: one for one in self._app.cache.named}
        caches[cache].tell_counts()
        return msgspec.structs.asdict(caches[cache].get_stats())

    async def close(self) -> None:
        """Tell what is pending, and let all connections go."""
        if self._is_open:
            self._is_open = False
            await self._app.close()

    async def _open(self) -> None:
        if not self._is_open:
            await self._app.open()
            self._is_open = True

    async def _take_profile(self, user_id: str, profile: Mapping[Any, float]) -> None:
        named = {str(getattr(trait, "value", trait)).lower(): v for trait, v in profile.items()}
        scores = {trait: 100.0 * float(named[trait]) for trait in TRAITS if trait in named}
        if len(scores) != len(named) or not all(0 <= v <= 100 for v in scores.values()):
            raise ValueError(f"a profile names traits ({', '.join(TRAITS)}) with values in [0, 1]")

        def take() -> None:
            if not self._app.is_profile(user_id, scores):
                given = Assessment(scores, dict.fromkeys(scores, 1.0))
                self._app.assess(user_id, given, method=GIVEN, answers=None)

        await self._app.in_thread(take)
