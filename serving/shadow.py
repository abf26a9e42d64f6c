"""Shadow scoring: what the challenger would have shown, ranked unseen and written down.

The same candidates and the same listener as the shown list, other versions. It happens behind the
answers, in the worker's housekeeping; what does not fit the queue is left out and counted.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from features.listeners import Profile
from features.recommendations import ComputedList
from features.shadows import ShadowList, store_shadows
from recommender.listener import Listener
from serving.list_building import RankingSettings, build
from serving.metrics import DEGRADED, SHADOW, SHADOW_OVERLAP
from serving.pools import Pool
from serving.schemas import RecommendRequest
from serving.served import Served

LONGEST_QUEUE = 200
FIRST = 10


@dataclass(frozen=True)
class Unseen:
    """A list to be ranked again by other versions."""

    served: Served
    profile: Profile
    listener: Listener
    pool: Pool
    request: RecommendRequest
    shown: ComputedList


class Shadows:
    """The queue of lists to be ranked unseen."""

    def __init__(
        self, engine: sa.Engine, settings: RankingSettings, *, now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._now = now
        self._queue: deque[Unseen] = deque()

    def offer(self, unseen: Unseen) -> None:
        """Put one into the queue, unless it is full."""
        if len(self._queue) >= LONGEST_QUEUE:
            DEGRADED.labels("shadow").inc()
            return
        self._queue.append(unseen)

    def work(self) -> int:
        """Rank and store what waits; returns how many.

        Raises
        ------
        sqlalchemy.exc.OperationalError
            Postgres is away; what was ranked is left out of the comparison.
        """
        ranked = [self._ranked(self._queue.popleft()) for _ in range(len(self._queue))]
        if ranked:
            with self._engine.begin() as connection:
                store_shadows(connection, ranked)
            for one in ranked:
                SHADOW.inc()
                SHADOW_OVERLAP.observe(one.overlap_at_10)
        return len(ranked)

    def _ranked(self, unseen: Unseen) -> ShadowList:
        shown = unseen.shown
        _, computed = build(
            unseen.profile,
            unseen.listener,
            unseen.pool,
            unseen.served,
            unseen.request,
            settings=self._settings,
            recommendation_id=shown.recommendation_id,  # the same draws as the shown list
            now=self._now(),
            revision=shown.revision,
        )
        track_ids = [impression.track_id for impression in computed.impressions]
        return ShadowList(
            recommendation_id=shown.recommendation_id,
            user_id=shown.user_id,
            model_versions=computed.model_versions,
            track_ids=track_ids,
            scores=[impression.score for impression in computed.impressions],
            overlap_at_10=overlap(track_ids, [one.track_id for one in shown.impressions]),
        )

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._queue)


def overlap(one: Sequence[str], other: Sequence[str], first: int = FIRST) -> float:
    """Return the share of the first tracks of one list that are among the first of another.

    Examples
    --------
    >>> overlap(["a", "b", "c"], ["c", "x", "a"]), overlap(["a", "b"], ["b"], first=1)
    (0.6666666666666666, 0.0)
    """
    longest = max(len(one[:first]), len(other[:first]))
    return len(set(one[:first]) & set(other[:first])) / longest if longest else 1.0
