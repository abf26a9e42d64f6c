"""From a call to a list, within its deadline: cache, history, turn, computation.

The flow of SEED.md section 5 as the event loop sees it; `recommend` is what a thread works out.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from recommender.errors import RecommenderError
from serving import lists
from serving.cache import reserves_of
from serving.lists import CacheResult, PackedList
from serving.metrics import DEGRADED
from serving.problems import ServiceProblem, unavailable
from serving.schemas import RecommendRequest
from serving.tracing import span

if TYPE_CHECKING:
    from serving.application import Application

DEADLINE_SECONDS = 2.5
"""For what an answer waits for: it must be there within 3 s, whatever the outside does."""

SHORTEST_SECONDS = 0.05

T = TypeVar("T")

log = logging.getLogger("bondhu")


class Listing:
    """Makes lists for one worker's calls."""

    def __init__(self, application: "Application") -> None:
        self._app = application
        self.computing = 0
        """Lists that callers wait for now."""

    def field(self, user_id: str, request: RecommendRequest) -> str:
        """Return what a listener's list is kept under; empty where none may be reused.

        Who takes a list that is kept gets one by the next versions ahead of their call.
        """
        if request.force_refresh or request.candidate_ids is not None:
            return ""
        self._app.warming.note(user_id, request)
        return self._app.lineup.of(user_id)[0].cache_key(request)

    def kept(self, found: bytes | None) -> PackedList | None:
        """Return a list from the first cache, None unless it may be served."""
        if found is None or self._app.may_hold_outdated_lists:
            return None
        packed = lists.unpack(found)
        return packed if packed and packed.expires_at > self._app.now().timestamp() else None

    async def with_reserves(self, user_id: str, shown: PackedList, field: str) -> PackedList:
        """Return a list from the first cache with its reserves: one more round trip."""
        found = await self._app.edge_cache.peek(user_id, reserves_of(field))
        return lists.joined(shown, lists.unpack(found) if found else None)

    def refresh_behind(self, user_id: str, spotify_token: str | None) -> None:
        """Bring the history up to date behind an answer that needs none of it."""
        if spotify_token:
            self._app.history.begin(user_id, spotify_token)

    async def make(
        self, user_id: str, request: RecommendRequest, field: str, *, started: float
    ) -> tuple[PackedList, CacheResult, frozenset[str]]:
        """Return a list that the first cache did not have, how it came, and what it goes without.

        Parameters
        ----------
        field
            From `field`.
        started
            `time.perf_counter` when the call came in.

        Raises
        ------
        ServiceProblem
            422 for an unknown genre, 503 past the deadline or without Postgres.
        """
        with span("history"):
            without = await self._app.history.refreshed(user_id, request.spotify_token)
        if request.candidate_ids is not None:  # nobody else's list would do, nothing is kept
            return *await self._computed(user_id, request, started), without
        reusable = "" if self._app.may_hold_outdated_lists else field
        async with self._app.turns.turn(user_id, reusable) as found:
            packed = self.kept(found)
            if packed is not None:
                if request.exclude_ids:
                    packed = await self.with_reserves(user_id, packed, field)
                return packed, "hit", without
            return *await self._computed(user_id, request, started), without

    async def _computed(
        self, user_id: str, request: RecommendRequest, started: float
    ) -> tuple[PackedList, CacheResult]:
        lineup = self._app.lineup
        served, arm = lineup.of(user_id)
        unseen = lineup.unseen_by(user_id)
        self.computing += 1
        try:
            with span("compute"):
                return await self.within(
                    started,
                    lambda: self._app.recommender.recommend(
                        user_id, request, served, arm=arm, shadow=unseen
                    ),
                )
        except RecommenderError as error:
            raise ServiceProblem(422, str(error)) from None
        finally:
            self.computing -= 1

    async def within(self, started: float, work: Callable[[], T]) -> T:
        """Return what a thread works out, before the call's deadline.

        Raises
        ------
        ServiceProblem
            503 where Postgres is away or too slow.
        """
        try:
            async with asyncio.timeout(seconds_left(started)):
                return await self._app.in_thread(work)
        except (OperationalError, PoolTimeoutError, TimeoutError):
            DEGRADED.labels("postgres").inc()
            raise unavailable("the listeners' database") from None


def seconds_left(started: float) -> float:
    """Return how long a call that came in at `started` may still wait."""
    return max(DEADLINE_SECONDS - (time.perf_counter() - started), SHORTEST_SECONDS)
