"""Tomorrow's first lists, computed before anybody asks, through the service's own code.

A list lands in the caches under the key that the service looks up, so that the first call of the
day is a hit; feedback that comes before it outdates the list as it does any other.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from uuid import UUID, uuid4, uuid5

import sqlalchemy as sa
from pydantic import SecretStr
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features import recommendations
from features.catalogue import load_catalogue
from features.database import connect
from features.nights import Outcome
from features.redis_server import ask_whether_cluster
from features.settings import Settings
from features.spreading import IN_PART, one_at_a_time
from pipelines.environment import Environment
from pipelines.nights.night import Night
from recommender.errors import ModelFormatError
from serving.cache import LIST_SECONDS, Cache
from serving.first_lists import PLAIN, Asked, FirstLists
from serving.lineup import Lineup
from serving.list_building import RankingSettings
from serving.model_copies import ModelCopies
from serving.model_registry import open_registry
from serving.recommend import Recommender
from serving.samples import ComponentSamples
from serving.shadow import Shadows
from serving.versions import Versions
from training.data.forks import forked

MANY = 500
"""From so many listeners on two processes compute lists; for fewer, opening models in each takes
longer than it saves."""
LIST_PARTS = 32
"""A part of 10,000 listeners takes seconds: whoever ends last does not work alone for long."""
BATCH = 500
"""Listeners read at a time: memory does not grow with how many there are."""
NAMESPACE = UUID("6a1b8c1e-5f0e-4c59-9d7b-0f6f0e1d2c3b")
TOGETHER = 50
"""Listeners whose lists are read for and written in one transaction."""
CONNECTIONS = 4

_ACTIVE = sa.text(
    f"""
    SELECT u.user_id FROM users u
    WHERE u.user_id > :after AND {IN_PART.format("u.user_id", "1")} AND (
        EXISTS (SELECT FROM music_interactions i WHERE i.user_id = u.user_id
                AND i.received_at >= :since AND i.received_at < :until)
        OR EXISTS (SELECT FROM plays p WHERE p.user_id = u.user_id
                   AND p.played_at >= :since AND p.played_at < :until)
        OR EXISTS (SELECT FROM recommendations_cache c WHERE c.user_id = u.user_id
                   AND c.servings > 1 AND c.last_served_at >= :since AND c.last_served_at < :until))
    ORDER BY u.user_id LIMIT :most
    """  # noqa: S608 - the condition is a constant
)


EXPIRED = "lists of that day would have expired"


def is_past(as_of: datetime, now: datetime) -> bool:
    """Return whether lists of a night as of a moment have expired: a day later."""
    return now - as_of > timedelta(seconds=LIST_SECONDS)


def precompute(night: Night) -> Outcome:
    """Compute the first list of everybody who was active lately.

    A night that is more than a day old has nothing to do: its lists would have expired.
    """
    environment = night.environment
    if is_past(night.as_of, night.now()):
        return {"lists": 0, "skipped": EXPIRED}
    since = night.as_of - timedelta(days=environment.settings.bondhu_precompute_days)
    work = ListsOfPart(Place.of(environment), night.date, since, night.as_of)
    first = next(
        active(environment.engine, since=since, until=night.as_of, part=0, parts=1, batch=MANY), ()
    )
    done = 0
    try:
        with night.spreading(here=forked if len(first) == MANY else one_at_a_time) as spread:
            if spread is forked:
                _opened(_Models(work.place), night.as_of)  # once: forks share it
            for lists in spread(work, range(LIST_PARTS)):
                done += lists
                if lists:
                    night.say(f"precompute: {done} lists")
    except ModelFormatError as error:
        return {"lists": 0, "skipped": str(error)}
    finally:
        _opened.cache_clear()
    return {"lists": done}


@dataclass(frozen=True)
class Place:
    """Where lists are computed from and kept: enough for another process to open its own."""

    settings: Settings
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    tracking_uri: str = field(repr=False)

    @classmethod
    def of(cls, environment: Environment) -> "Place":
        """Return an environment's place, without the secrets that lists do not need.

        Addresses hold passwords: those of the settings, which Dask's logs would show, go as well.
        """
        secrets = {
            name: None for name, value in environment.settings if isinstance(value, SecretStr)
        }
        addresses = dict.fromkeys(("database_url", "redis_url", "mlflow_tracking_uri"))
        return cls(
            environment.settings.model_copy(update=secrets | addresses),
            environment.database_url,
            environment.redis_url,
            environment.tracking_uri,
        )


@dataclass(frozen=True)
class ListsOfPart:
    """Computes the lists of a part of the active listeners, and says how many there are.

    A list that another attempt left is found, so that doing it twice, here or elsewhere, leaves
    the same lists.
    """

    place: Place
    night: date
    since: datetime
    as_of: datetime

    def __call__(self, part: int) -> int:
        """Compute the lists of one part."""
        engine = connect(self.place.database_url, pool_size=1)
        try:
            # One thread, as in a worker of the service: lists are small, and processes share cores.
            with (
                threadpool_limits(limits=1),
                open_lists(self.place, self.night, self.as_of) as fill,
            ):
                found = active(engine, since=self.since, until=self.as_of, part=part)
                return sum(fill(users) for users in found)
        finally:
            engine.dispose()


def active(
    engine: sa.Engine,
    *,
    since: datetime,
    until: datetime,
    part: int,
    parts: int = LIST_PARTS,
    batch: int = BATCH,
) -> Iterator[Sequence[str]]:
    """Yield the listeners of a part who played, said or were served something in [since, until)."""
    after = ""
    asked = {"since": since, "until": until, "most": batch, "parts": parts, "part": part}
    while True:
        with engine.connect() as connection:
            users = list(connection.scalars(_ACTIVE, asked | {"after": after}))
        if users:
            yield users
        if len(users) < batch:
            return
        after = users[-1]


@contextmanager
def open_lists(
    place: Place, night: date, as_of: datetime
) -> Iterator[Callable[[Sequence[str]], int]]:
    """Lend what fills the caches for some listeners and says how many lists there are now.

    A list's id is a name of night and listener: it seeds what is drawn, so that every process and
    every attempt computes the same list.
    """
    engine = connect(place.database_url, pool_size=1)
    cluster = bool(ask_whether_cluster(place.redis_url))
    cache = Cache(place.redis_url, connections=CONNECTIONS, cluster=cluster, now=lambda: as_of)
    try:
        lineup = _opened(_Models(place), as_of)
        yield _Lists(engine, cache, lineup, settings=place.settings, night=night, as_of=as_of).fill
    finally:
        cache.close()
        engine.dispose()


@dataclass(frozen=True)
class _Models:
    """Where models are opened from, by what tells two of them apart."""

    place: Place

    def __hash__(self) -> int:
        return hash((self.place.tracking_uri, self.place.database_url))


@lru_cache(maxsize=1)
def _opened(models: _Models, as_of: datetime) -> Lineup:
    """Return a night's models and catalogue, opened once for all parts that a process does."""
    place = models.place
    settings = place.settings
    engine = connect(place.database_url, pool_size=1)
    registry = open_registry(place.tracking_uri)
    try:
        versions = Versions(
            registry,
            ModelCopies(settings.home / "models"),
            indices=settings.home / "indices",
            share=settings.bondhu_challenger_share,
            shadow_share=0.0,
        )
        return versions.open(load_catalogue(engine))
    finally:
        registry.close()
        engine.dispose()


class _Lists:
    """Fills the caches, some listeners at a time."""

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
        self._night = night
        ranking = RankingSettings.of(settings)
        self._lists = FirstLists(engine, cache, ranking, now=lambda: as_of)
        self._recommender = Recommender(
            engine,
            cache,
            ranking,
            Shadows(engine, ranking, now=lambda: as_of),
            ComponentSamples(engine, share=0.0),  # of calls only
            now=lambda: as_of,
            new_id=uuid4,
        )

    def fill(self, users: Sequence[str]) -> int:
        for begin in range(0, len(users), TOGETHER):
            self._fill(users[begin : begin + TOGETHER])
        return len(users)

    def _fill(self, users: Sequence[str]) -> None:
        ids = {user: uuid5(NAMESPACE, f"{self._night} {user}") for user in users}
        with self._engine.connect() as connection:
            known = recommendations.known_lists(connection, list(ids.values()))
        asked = []
        for user, name in ids.items():
            served, arm = self._lineup.of(user)
            if name in known:  # computed before a kill: it only has to be in the first cache again
                self._recommender.recommend(user, PLAIN, served, arm=arm)
            else:
                asked.append(Asked(user, name, served, arm))
        self._lists.compute(asked)
