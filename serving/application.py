"""What a worker holds while it runs: connections, models, the catalogue."""

import asyncio
import gc
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from features.assessments import save_assessment
from features.catalogue import build_id, load_catalogue
from features.database import connect, mlflow_uri
from features.settings import Settings
from features.users import ensure_user, revise, revised_since
from recommender.colisten import Colisten
from recommender.errors import ModelFormatError
from recommender.qtable import QTable
from recommender.questionnaires import Assessment
from recommender.scoring import Scorer
from serving.auth import Authenticator
from serving.cache import LIST_SECONDS, AsyncEdgeCache, Cache
from serving.feedback import CLOCKS_DIFFER, FeedbackLog, Received, check
from serving.journal import Journal
from serving.list_building import RankingSettings
from serving.metrics import DEGRADED, MODEL_REFUSED
from serving.model_registry import (
    champion_if_any,
    champion_version,
    load_champion,
    load_if_any,
    open_registry,
)
from serving.problems import ServiceProblem, unavailable
from serving.rate_limit import LocalLimit
from serving.recommend import Recommender
from serving.schemas import FeedbackResponse
from serving.served import Served
from serving.servings import Servings
from serving.spotify import SpotifyHistory

REFRESH_SECONDS = 2.0

log = logging.getLogger("bondhu")


def _now() -> datetime:
    return datetime.now(UTC)


class Application:
    """One worker's resources.

    Parameters
    ----------
    settings
        With `database_url`, `redis_url` and `bondhu_jwt_secret` set.
    workers
        How many workers share the limits on connections.
    """

    def __init__(
        self, settings: Settings, *, workers: int = 1, now: Callable[[], datetime] = _now
    ) -> None:
        if settings.database_url is None or settings.redis_url is None:
            raise ValueError("a worker needs DATABASE_URL and REDIS_URL: use 'bondhu serve'")
        if settings.bondhu_jwt_secret is None:
            raise ValueError(
                "BONDHU_JWT_SECRET is not set: the service refuses to start without a way to tell"
                " who calls"
            )
        # Four shares a worker: two for the edge, and one for each database of computations.
        connections = settings.redis_max_connections // (4 * workers)
        if connections == 0:
            raise ValueError(
                f"REDIS_MAX_CONNECTIONS {settings.redis_max_connections} is too little for"
                f" {workers} workers: each needs 4"
            )
        self.settings = settings
        self.now = now
        self.engine = connect(settings.database_url, pool_size=8)
        self.registry = open_registry(
            settings.mlflow_tracking_uri or mlflow_uri(settings.database_url)
        )
        self.cache = Cache(settings.redis_url, connections=connections)
        self.edge_cache = AsyncEdgeCache(settings.redis_url, connections=2 * connections)
        self.local_limit = LocalLimit(lambda: int(time.monotonic() * 1000))
        self.authenticator = Authenticator(settings.bondhu_jwt_secret.get_secret_value())
        self.servings = Servings(self.engine, now=now)
        self.recommender = Recommender(
            self.engine,
            self.cache,
            RankingSettings(
                candidates=settings.bondhu_candidates_max,
                exploration=settings.bondhu_exploration,
                policy=settings.bondhu_policy,
                exclude_heard=settings.bondhu_exclude_heard,
                exclude_shown=settings.bondhu_exclude_shown,
                min_entropy=settings.bondhu_min_entropy,
            ),
            now=now,
            new_id=uuid.uuid4,
        )
        self.feedback_log = FeedbackLog(self.engine, self.cache, flush=self.servings.flush)
        self.journal = Journal(settings.home / "journal") if settings.bondhu_journal else None
        self.spotify = SpotifyHistory(settings, self.cache, now=now)
        self.away: frozenset[str] = frozenset()
        self._look_back_to: datetime | None = now() - timedelta(seconds=LIST_SECONDS)
        self._served: Served | None = None
        self._refresher: asyncio.Task[None] | None = None

    @property
    def served(self) -> Served:
        """The versions that answers are made with now.

        Raises
        ------
        ServiceProblem
            503 before `open` is done.
        """
        if self._served is None:
            raise ServiceProblem(503, "the service is starting", {"Retry-After": "1"})
        return self._served

    @property
    def may_hold_outdated_lists(self) -> bool:
        """Whether Redis may hold lists that feedback outdated without its knowing."""
        return self.cache.has_missed or self._look_back_to is not None

    async def open(self) -> None:
        """Load what is served, and keep it fresh from now on."""
        self._served = await asyncio.to_thread(self._load)
        await asyncio.to_thread(self._reconcile)
        # What was imported and loaded stays for good: without this, full collections walk it all
        # and stop the loop for 100 ms and more.
        gc.collect()
        gc.freeze()
        gc.set_threshold(2_000, 25, 1_000)
        self._refresher = asyncio.create_task(self._refresh_forever())
        self._refresher.add_done_callback(_end_worker)

    async def close(self) -> None:
        """Tell what is pending, and let all connections go."""
        if self._refresher:
            self._refresher.cancel()
        await asyncio.to_thread(self._house_keep)
        await self.edge_cache.close()
        self.cache.close()
        self.spotify.close()
        self.registry.close()
        self.engine.dispose()

    def _load(self) -> Served:
        return Served.of(
            load_catalogue(self.engine),
            load_champion(self.registry, "scorer", Scorer),
            load_if_any(self.registry, "colisten", Colisten),
            load_if_any(self.registry, "qtable", QTable),
            indices=self.settings.home / "indices",
        )

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await asyncio.to_thread(self._house_keep)

    def _house_keep(self) -> None:
        """Tell the journal and the counters, and swap in new versions; one attempt."""
        away = set()
        try:
            if self.journal:
                told = self.journal.tell(
                    lambda received: self.feedback_log.accept(received, self.served),
                    refused=(
                        ServiceProblem,
                        ValueError,
                        ArithmeticError,
                        IntegrityError,
                        DataError,
                    ),
                )
                if told:
                    log.info("Told Postgres %d journalled feedbacks", told)
            self.servings.flush()
            self._reconcile()
            if not self._swap():
                away.add("model_stale")
        except (OperationalError, PoolTimeoutError) as error:
            DEGRADED.labels("postgres").inc()
            away.add("postgres_down")
            log.warning("PostgreSQL is away, trying again: %s", str(error).splitlines()[0])
        self.away = frozenset(away)

    def _reconcile(self) -> None:
        """Outdate lists in Redis that are outdated in Postgres only.

        That happens where Redis was away, or a worker ended, between an event's commit and its word
        to Redis: a new worker looks back over the life of a list, any worker over an outage.
        """
        is_there = self.cache.answers()
        if (self.cache.has_missed or not is_there) and self._look_back_to is None:
            self._look_back_to = self.now() - CLOCKS_DIFFER
        if self._look_back_to is None or not is_there:
            return
        self.cache.has_missed = False
        with self.engine.connect() as connection:
            revised = revised_since(connection, self._look_back_to)
        if all(self.cache.outdate_lists(user_id, revision) for user_id, revision in revised):
            self._look_back_to = None

    def _swap(self) -> bool:
        """Take over a new build and a new champion; return False if the champion is refused."""
        now, is_fresh = self.served, True
        named, scorer, colisten, qtable = now.catalogue, now.scorer, now.colisten, now.qtable
        if build_id(self.engine) != named.build_id:
            named = load_catalogue(self.engine)
        try:
            if champion_version(self.registry, "scorer") != scorer.version:
                scorer = load_champion(self.registry, "scorer", Scorer)
            if champion_if_any(self.registry, "colisten") != (colisten and colisten.version):
                colisten = load_if_any(self.registry, "colisten", Colisten)
            if champion_if_any(self.registry, "qtable") != (qtable and qtable.version):
                qtable = load_if_any(self.registry, "qtable", QTable)
        except ModelFormatError as error:
            is_fresh = False
            if "model_stale" not in self.away:
                MODEL_REFUSED.inc()
                log.error("Keeping %s: %s", now.models, error)
        held = (now.catalogue, now.scorer, now.colisten, now.qtable)
        fresh = (named, scorer, colisten, qtable)
        if any(new is not old for new, old in zip(fresh, held, strict=True)):
            self._served = Served.of(
                named, scorer, colisten, qtable, indices=self.settings.home / "indices"
            )
            log.info("Now serving %s on %s", self._served.models, self._served.catalogue_version)
        return is_fresh

    def accept_feedback(self, received: Received) -> FeedbackResponse | None:
        """Append a feedback; None once it is on disk only, Postgres being away.

        Raises
        ------
        ServiceProblem
            404 or 422, or 503 where nothing durable is within reach.
        """
        try:
            return self.feedback_log.accept(received, self.served)
        except (OperationalError, PoolTimeoutError) as error:
            DEGRADED.labels("postgres").inc()
            if self.journal is None:
                raise unavailable("the feedback log") from None
            log.warning("Journalling feedback, PostgreSQL is away: %s", str(error).splitlines()[0])
        check(received, self.served)
        try:
            self.journal.append(received)
        except OSError:
            raise unavailable("a durable place for feedback") from None
        return None

    def assess(
        self, user_id: str, assessment: Assessment, *, method: str, answers: list[int | None] | None
    ) -> None:
        """Make an assessment the listener's active one; their lists are outdated by it."""
        now = self.now()
        with self.engine.begin() as connection:
            ensure_user(connection, user_id, source="api", now=now)
            save_assessment(
                connection, user_id, assessment, method=method, now=now, answers=answers
            )
            revision = revise(connection, user_id)
        self.cache.outdate_lists(user_id, revision)


def _end_worker(refresher: "asyncio.Task[None]") -> None:
    """End a worker whose housekeeping broke: a fresh one is better than one that goes stale."""
    if not refresher.cancelled() and (error := refresher.exception()):
        log.critical("Housekeeping broke, the worker ends", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)
