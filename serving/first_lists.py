"""First lists of many listeners at once: what `Recommender` computes, in a few round trips for all.

A night computes thousands of them. Each is the list that the service would compute for a call
without wishes; only what is read and written is read and written together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import sqlalchemy as sa

from features import recommendations
from features.interactions import QState, q_states
from features.listeners import Profile, listener_of, load_profiles
from features.prepared import committing
from features.recommendations import ComputedList
from features.users import standings
from serving import pools
from serving.cache import Cache, Left
from serving.list_building import RankingSettings, build
from serving.lists import PackedList, pack
from serving.recommend import drawn_pool
from serving.schemas import RecommendRequest
from serving.served import Served

PLAIN = RecommendRequest()
"""A call without wishes: the first of a day."""


@dataclass(frozen=True)
class Asked:
    """Whose first list, under which id, made with what, on which side of an experiment."""

    user_id: str
    recommendation_id: UUID
    served: Served
    arm: str | None


class FirstLists:
    """Computes the lists of some listeners, and leaves them in both levels of the cache."""

    def __init__(
        self,
        engine: sa.Engine,
        cache: Cache,
        settings: RankingSettings,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._engine, self._cache, self._settings = engine, cache, settings
        self._now = now

    def compute(self, asked: Sequence[Asked]) -> None:
        """Compute a list of each; listeners who do not exist get none."""
        if not asked:
            return
        now = self._now()
        users = [one.user_id for one in asked]
        with self._engine.begin() as connection:
            # First: what is read after it is at least as new as the revision says.
            stand = standings(connection, users)
            profiles = load_profiles(
                connection, users, now=now, with_shown=self._settings.exclude_shown
            )
            said = [user for user, found in stand.items() if found.seq]
            q = q_states(connection, said) if said else {}
        near = self._cache.nears(users)
        made = [
            self._made(
                one,
                _Read(
                    profiles[one.user_id],
                    q.get(one.user_id, QState(own={})),
                    near[one.user_id],
                    stand[one.user_id].revision,
                ),
                now,
            )
            for one in asked
            if one.user_id in stand.keys() & profiles.keys()
        ]
        with committing(self._engine).connect() as connection:
            recommendations.store_lists(connection, [one.computed for one in made])
        self._cache.keep_all(
            (one.user_id, one.key, Left(pack(one.packed), one.pool), one.computed.revision)
            for one in made
        )

    def _made(self, asked: Asked, read: "_Read", now: datetime) -> "_Made":
        served = asked.served
        listener = listener_of(
            read.profile,
            served.catalogue.catalogue,
            now=now,
            q_table=read.q.table,
            own_sums=read.q.own,
            colisten=served.taste,
        )
        pool = drawn_pool(served, listener, self._settings, near=read.near)
        made_from = pools.inputs(
            read.profile, self._settings.of_candidates, read.near, now.astimezone(UTC).date()
        )
        kept, computed = build(
            read.profile,
            listener,
            pool,
            served,
            PLAIN,
            settings=self._settings,
            recommendation_id=asked.recommendation_id,
            now=now,
            revision=read.revision,
        )
        return _Made(
            asked.user_id,
            served.cache_key(PLAIN),
            pool.pack(pools.basis(listener, read.near), made_from),
            PackedList.of(kept),
            msgspec.structs.replace(computed, arm=asked.arm),
        )


@dataclass(frozen=True)
class _Read:
    """What is known of a listener."""

    profile: Profile
    q: QState
    near: Sequence[str]
    revision: int


@dataclass(frozen=True)
class _Made:
    """A list on its way into the caches."""

    user_id: str
    key: str
    pool: bytes
    packed: PackedList
    computed: ComputedList
