"""Lists by new versions before they are served, so that nobody notices a swap.

The key of a list names the versions that it was made by: a swap makes every list old at once. So
before the reference is exchanged, whoever asked lately gets a list by the new versions into both
levels of the cache, one after the other, the latest caller first. It is what their next call would
compute, made by the same code, and that call is a hit.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import redis
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from features.redis_server import tagged
from features.users import standing
from recommender.errors import RecommenderError
from serving import lists
from serving.cache import Cache
from serving.caches import RECOMMENDATIONS
from serving.lineup import Lineup
from serving.metrics import WARMED
from serving.recommend import Recommender
from serving.schemas import RecommendRequest
from serving.turns import turn_if_free

LISTENERS = 256
"""Remembered at most, those who asked last."""

LATELY_SECONDS = 900.0
"""Who asked longer ago computes at their next call."""

SECONDS = 10.0
"""A swap waits that long at most, and for the list that is being computed then."""

REST = 3.0
"""The worker rests so many times as long as a list took: what callers wait for goes first."""

SHORTEST_REST_SECONDS = 0.005

PLAIN = RecommendRequest()

log = logging.getLogger("bondhu.models")


class Warming:
    """Remembers who asked lately, and computes their lists by versions that are to be served.

    Parameters
    ----------
    clock
        Seconds that never go back.
    """

    def __init__(
        self,
        engine: sa.Engine,
        cache: Cache,
        recommender: Recommender,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._cache, self._recommender = engine, cache, recommender
        self._clock = clock
        self._lock = threading.Lock()  # calls note while housekeeping reads
        self._asked: OrderedDict[str, tuple[float, RecommendRequest]] = OrderedDict()
        self._stopped = threading.Event()

    def note(self, user_id: str, request: RecommendRequest) -> None:
        """Remember what a listener asked for: what a list depends on, and nothing else of it."""
        asked = PLAIN
        if request.genre or request.context:
            asked = RecommendRequest(genre=request.genre, context=request.context)
        with self._lock:
            self._asked[user_id] = (self._clock(), asked)
            self._asked.move_to_end(user_id)
            if len(self._asked) > LISTENERS:
                self._asked.popitem(last=False)

    def forget(self, user_id: str) -> None:
        """Let go of a listener: they are being deleted."""
        with self._lock:
            self._asked.pop(user_id, None)

    def stop(self) -> None:
        """Compute no more lists: the worker ends."""
        self._stopped.set()

    def warm(self, lineup: Lineup, *, meanwhile: Callable[[float], bool]) -> int:
        """Compute the lists of who asked lately by a lineup; returns how many were missing.

        It ends early while Redis or Postgres is away: lists would not be kept.

        Parameters
        ----------
        meanwhile
            Called between two lists with `clock`'s time; False ends the warming.
        """
        began, made = self._clock(), 0
        if not self._cache.answers():
            return 0
        with self._lock:
            waiting = [
                (user_id, request)
                for user_id, (at, request) in reversed(self._asked.items())
                if began - at < LATELY_SECONDS
            ]
        for user_id, request in waiting:
            now = self._clock()
            if now - began > SECONDS or not meanwhile(now):
                break
            try:
                is_new = user_id in self._asked and self._computed(user_id, request, lineup)
            except (redis.RedisError, OperationalError, PoolTimeoutError) as error:
                log.warning("No more lists before the swap: %s", type(error).__name__)
                break
            if is_new:
                made += 1
                WARMED.inc()
                self._stopped.wait(max(REST * (self._clock() - now), SHORTEST_REST_SECONDS))
            if self._stopped.is_set():
                break
        if waiting:
            log.info(
                "Computed %d lists of %d listeners by %s in %.1f s",
                made, len(waiting), lineup.champion.models, self._clock() - began,
            )  # fmt: skip
        return made

    def _computed(self, user_id: str, request: RecommendRequest, lineup: Lineup) -> bool:
        """Compute a list, unless it is there or somebody computes for the listener now."""
        served, arm = lineup.of(user_id)
        client = self._cache.client(RECOMMENDATIONS.db)
        found = client.hget(tagged("lists", user_id), served.cache_key(request))
        if isinstance(found, bytes):
            packed = lists.unpack(found)
            if packed and packed.expires_at > time.time() + LATELY_SECONDS:
                return False
        with turn_if_free(client, user_id) as is_ours:
            if not is_ours:
                return False
            with self._engine.connect() as connection:
                if standing(connection, user_id) is None:  # deleted: no list may bring them back
                    return False
            try:
                self._recommender.recommend(
                    user_id, request, served, arm=arm, shadow=lineup.unseen_by(user_id)
                )
            except RecommenderError:  # a genre that the new catalogue does not have
                return False
        return True
