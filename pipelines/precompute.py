"""Tomorrow's first lists, computed before anybody asks, through the service's own code.

A list lands in the caches under the key that the service looks up, so that the first call of the
day is a hit; feedback that comes before it outdates the list as it does any other.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID, uuid4, uuid5

import sqlalchemy as sa

from features import recommendations
from features.catalogue import load_catalogue
from features.database import connect
from features.nights import Outcome
from features.redis_server import ask_whether_cluster
from features.settings import Settings
from pipelines.nights.night import Night
from recommender.errors import ModelFormatError
from serving.cache import LIST_SECONDS, Cache
from serving.lineup import Lineup
from serving.list_building import RankingSettings
from serving.model_copies import ModelCopies
from serving.model_registry import ModelRegistry, open_registry
from serving.recommend import Recommender
from serving.samples import ComponentSamples
from serving.schemas import RecommendRequest
from serving.shadow import Shadows
from serving.versions import Versions

BATCH = 500
"""Listeners read at a time: memory does not grow with how many there are."""
NAMESPACE = UUID("6a1b8c1e-5f0e-4c59-9d7b-0f6f0e1d2c3b")
CONNECTIONS = 4

_ACTIVE = sa.text(
    """
    SELECT u.user_id FROM users u
    WHERE u.user_id > :after AND (
        EXISTS (SELECT FROM music_interactions i WHERE i.user_id = u.user_id
                AND i.received_at >= :since AND i.received_at < :until)
        OR EXISTS (SELECT FROM plays p WHERE p.user_id = u.user_id
                   AND p.played_at >= :since AND p.played_at < :until)
        OR EXISTS (SELECT FROM recommendations_cache c WHERE c.user_id = u.user_id
                   AND c.servings > 1 AND c.last_served_at >= :since AND c.last_served_at < :until))
    ORDER BY u.user_id LIMIT :most
    """
)


def precompute(night: Night) -> Outcome:
    """Compute the first list of everybody who was active lately.

    A night that is more than a day old has nothing to do: its lists would have expired.
    """
    environment = night.environment
    if night.now() - night.as_of > timedelta(seconds=LIST_SECONDS):
        return {"lists": 0, "skipped": "lists of that day would have expired"}
    done = 0
    place = Place(environment.settings, environment.database_url, environment.redis_url,
                  environment.tracking_uri)  # fmt: skip
    days = environment.settings.bondhu_precompute_days
    try:
        with open_lists(place, night.date, night.as_of) as fill:
            since = night.as_of - timedelta(days=days)
            for users in active(environment.engine, since=since, until=night.as_of):
                done += fill(users)
                night.say(f"precompute: {done} lists")
    except ModelFormatError as error:
        return {"lists": 0, "skipped": str(error)}
    return {"lists": done}


def active(
    engine: sa.Engine, *, since: datetime, until: datetime, batch: int = BATCH
) -> Iterator[Sequence[str]]:
    """Yield the listeners who played, said or were served something in [since, until)."""
    after = ""
    while True:
        asked = {"after": after, "since": since, "until": until, "most": batch}
        with engine.connect() as connection:
            users = list(connection.scalars(_ACTIVE, asked))
        if users:
            yield users
        if len(users) < batch:
            return
        after = users[-1]


@dataclass(frozen=True)
class Place:
    """Where lists are computed from and kept: enough for another process to open its own."""

    settings: Settings
    database_url: str
    redis_url: str
    tracking_uri: str


@contextmanager
def open_lists(
    place: Place, night: date, as_of: datetime
) -> Iterator[Callable[[Sequence[str]], int]]:
    """Lend what fills the caches for some listeners and says how many lists there are now.

    A list's id is a name of night and listener: it seeds what is drawn, so that every process and
    every attempt computes the same list.
    """
    engine = connect(place.database_url, pool_size=1)
    registry = open_registry(place.tracking_uri)
    cluster = bool(ask_whether_cluster(place.redis_url))
    cache = Cache(place.redis_url, connections=CONNECTIONS, cluster=cluster, now=lambda: as_of)
    try:
        lineup = _lineup(place.settings, registry, engine)
        yield _Lists(engine, cache, lineup, settings=place.settings, night=night, as_of=as_of).fill
    finally:
        cache.close()
        registry.close()
        engine.dispose()


def _lineup(settings: Settings, registry: ModelRegistry, engine: sa.Engine) -> Lineup:
    versions = Versions(
        registry,
        ModelCopies(settings.home / "models"),
        indices=settings.home / "indices",
        share=settings.bondhu_challenger_share,
        shadow_share=0.0,
    )
    return versions.open(load_catalogue(engine))


class _Lists:
    """Fills the caches, one listener after the other."""

    def __init__(
        self,
        engine: sa.Engine,
        cache: Cache,
        lineup: Lineup,
        *,
        settings: Settings,
        night: date,
        as_of: datetime,
    ) -> None:
        self._engine, self._cache, self._lineup = engine, cache, lineup
        self._night, self._as_of = night, as_of
        self._next = uuid4()
        ranking = RankingSettings.of(settings)
        self._recommender = Recommender(
            engine,
            cache,
            ranking,
            Shadows(engine, ranking, now=lambda: as_of),
            ComponentSamples(engine, share=0.0),  # of calls only
            now=lambda: as_of,
            new_id=lambda: self._next,
        )

    def fill(self, users: Sequence[str]) -> int:
        for user in users:
            self._fill(user)
        return len(users)

    def _fill(self, user: str) -> None:
        self._next = uuid5(NAMESPACE, f"{self._night} {user}")
        with self._engine.connect() as connection:
            is_known = recommendations.kept_list(connection, user, self._next) is not None
        if is_known:  # computed before a kill: it only has to be in the first cache again
            self._next = uuid4()
        served, arm = self._lineup.of(user)
        request = RecommendRequest(force_refresh=not is_known)
        self._recommender.recommend(user, request, served, arm=arm)
