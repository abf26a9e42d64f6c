"""Lists by new versions before they are served, so that nobody notices a swap.

The key of a list names the versions that it was made by: a swap makes every list old at once. So
before the reference is exchanged, whoever asked lately gets a list by the new versions into both
levels of the cache, one after the other, the latest caller first. It is what their next call would
compute, made by the same code, and that call is a hit.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

import msgspec
import redis
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from features.redis_server import tagged
from features.users import standing
from recommender.errors import RecommenderError
from serving import lists
from serving.cache import Cache, Left
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

SECONDS = 12.0
"""No list is begun after that: a swap waits for the one in hand and its rest, 15 s in all."""

REST = 4.0
"""The worker rests so many times as long as a list took: cached answers catch up."""

SHORTEST_REST_SECONDS, LONGEST_REST_SECONDS = 0.005, 1.0

PLAIN = RecommendRequest()

log = logging.getLogger("bondhu.models")


class Warming:
    """Remembers who asked lately, and computes their lists by versions that are to be served.

    Parameters
    ----------
    is_busy
        Whether callers wait for computations now: those go first.
    clock
        Seconds that never go back.
    """

    def __init__(
        self,
        engine: sa.Engine,
        cache: Cache,
        recommender: Recommender,
        *,
        is_busy: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._cache, self._recommender = engine, cache, recommender
        self._is_busy, self._clock = is_busy, clock
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

    def warm(self, lineup: Lineup, before: Lineup, *, meanwhile: Callable[[float], bool]) -> int:
        """Compute the lists of who asked lately by a lineup; returns how many were missing.

        It ends early while Redis or Postgres is away: lists would not be kept.

        Parameters
        ----------
        before
            What is served until then: its candidates are taken over where they would be the same.
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
                is_new = user_id in self._asked and self._computed(user_id, request, lineup, before)
            except (redis.RedisError, SQLAlchemyError) as error:
                log.warning("No more lists before the swap: %s", type(error).__name__)
                break
            except (ValueError, ArithmeticError, LookupError):  # their next call will say as much
                log.exception("A list could not be computed before the swap")
                continue
            if is_new:
                made += 1
                WARMED.inc()
                self._rest(self._clock() - now)
            if self._stopped.is_set():
                break
        if waiting:
            log.info(
                "Computed %d lists of %d listeners by %s in %.1f s",
                made, len(waiting), lineup.champion.models, self._clock() - began,
            )  # fmt: skip
        return made

    def _rest(self, took: float) -> None:
        """Let what callers wait for go first."""
        seconds = min(max(REST * took, SHORTEST_REST_SECONDS), LONGEST_REST_SECONDS)
        give_up = self._clock() + LONGEST_REST_SECONDS
        self._stopped.wait(seconds)
        while self._is_busy() and self._clock() < give_up and not self._stopped.is_set():
            self._stopped.wait(SHORTEST_REST_SECONDS)

    def _computed(
        self, user_id: str, request: RecommendRequest, lineup: Lineup, before: Lineup
    ) -> bool:
        """Compute a list, unless it is there or somebody computes for the listener now."""
        served, arm = lineup.of(user_id)
        key = served.cache_key(request)
        client = self._cache.client(RECOMMENDATIONS.db)
        if _has_list(client, user_id, key):
            return False
        with turn_if_free(client, user_id) as is_ours:
            if not is_ours or _has_list(client, user_id, key):  # another left it meanwhile
                return False
            with self._engine.connect() as connection:
                if standing(connection, user_id) is None:  # deleted: no list may bring them back
                    return False
            known, _ = before.of(user_id)
            if served.proposes_as(known):
                pool = client.hget(tagged("pools", user_id), known.cache_key(request))
                if isinstance(pool, bytes):
                    self._cache.keep(user_id, key, Left(pool=pool), 0)
            try:
                self._recommender.recommend(
                    user_id,
                    # A pool that is there is taken only if proposing again would give the same.
                    msgspec.structs.replace(request, force_refresh=True),
                    served,
                    arm=arm,
                    shadow=lineup.unseen_by(user_id),
                    # Version 5, as a night's lists have: what is never shown is no impression
                    # (`features.retention`).
                    recommendation_id=UUID(bytes=os.urandom(16), version=5),
                )
            except RecommenderError:  # a genre that the new catalogue does not have
                return False
        return True


def _has_list(client: redis.Redis, user_id: str, key: str) -> bool:
    """Return whether a listener has a list that does not run out soon."""
    found = client.hget(tagged("lists", user_id), key)
    packed = lists.unpack(found) if isinstance(found, bytes) else None
    return packed is not None and packed.expires_at > time.time() + LATELY_SECONDS
