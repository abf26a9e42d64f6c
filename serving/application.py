"""What a worker holds while it runs: connections, models, the catalogue."""

import asyncio
import gc
import logging
import math
import os
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from features.assessments import active_scores, save_assessment
from features.catalogue import load_catalogue
from features.database import connect, mlflow_uri
from features.redis_server import ask_whether_cluster
from features.settings import Settings
from features.users import ensure_user, revise
from recommender.questionnaires import Assessment
from serving.acting import ActingLog
from serving.admission import Admission
from serving.auth import Authenticator
from serving.cache import Cache
from serving.edge_cache import AsyncEdgeCache
from serving.feedback import FeedbackLog, Received, check
from serving.history import History, HistorySource
from serving.housekeeping import SECONDS, Housekeeping, give_memory_back
from serving.journal import Journal
from serving.lineup import Lineup
from serving.list_building import RankingSettings
from serving.listing import Listing
from serving.metrics import DEGRADED
from serving.model_copies import ModelCopies
from serving.model_registry import open_registry
from serving.problems import ServiceProblem, unavailable
from serving.query_times import measure_queries
from serving.rate_limit import LocalLimit
from serving.recommend import Recommender
from serving.samples import ComponentSamples
from serving.schemas import FeedbackResponse
from serving.served import Served
from serving.servings import Servings
from serving.shadow import Shadows
from serving.spotify_history import SpotifyHistory
from serving.tally import TALLY
from serving.turns import Turns
from serving.versions import Versions
from serving.warming import Warming

T = TypeVar("T")

THREADS = 8
"""Calls that wait for Postgres at a time, each with a connection; lists are computed one by one."""

STATEMENT_MS = 2_000

log = logging.getLogger("bondhu")


def _now() -> datetime:
    return datetime.now(UTC)


def _end_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Application:
    """One worker's resources.

    Parameters
    ----------
    settings
        With `database_url` and `redis_url` set.
    workers
        How many workers share the limits on connections.
    history
        Where histories are brought up to date from; None: Spotify.
    end
        Ends this process, so that another takes its place.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        workers: int = 1,
        now: Callable[[], datetime] = _now,
        history: HistorySource | None = None,
        end: Callable[[], None] = _end_process,
    ) -> None:
        if settings.database_url is None or settings.redis_url is None:
            raise ValueError("a worker needs DATABASE_URL and REDIS_URL: use 'bondhu serve'")
        connections = settings.redis_share(workers)
        self.settings = settings
        self.now = now
        self.engine = connect(
            settings.database_url,
            pool_size=THREADS,
            connect_timeout_seconds=2,
            pool_timeout_seconds=1.0,
            statement_timeout_ms=STATEMENT_MS,
        )
        measure_queries(self.engine)
        # Loading a catalogue takes longer than a call may, and must not take a call's connection.
        self.loading_engine = connect(settings.database_url, pool_size=1)
        self.registry = open_registry(
            settings.mlflow_tracking_uri or mlflow_uri(settings.database_url)
        )
        is_cluster = ask_whether_cluster(settings.redis_url)
        self._kind_of_redis_is_known = is_cluster is not None
        self.cache = Cache(
            settings.redis_url, connections=connections, cluster=bool(is_cluster), now=now
        )
        self.edge_cache = AsyncEdgeCache(
            settings.redis_url, connections=2 * connections, cluster=bool(is_cluster)
        )
        self.turns = Turns(self.edge_cache)
        self.listing = Listing(self)
        self.local_limit = LocalLimit(lambda: int(time.monotonic() * 1000))
        secret = settings.bondhu_jwt_secret
        self.acting = ActingLog(self.loading_engine, now=now)
        self.admission = Admission(
            Authenticator(secret.get_secret_value() if secret else None, settings.supabase_url),
            self.edge_cache,
            self.local_limit,
            self.acting,
            limit=settings.user_rate_limit,
        )
        self.spotify = SpotifyHistory(settings, self.cache, now=now)
        self.history = History(history or self.spotify)
        self.servings = Servings(self.loading_engine, now=now)
        ranking = RankingSettings.of(settings)
        self.shadows = Shadows(self.loading_engine, ranking, now=now)
        self.samples = ComponentSamples(self.loading_engine, share=settings.bondhu_sample_share)
        self.recommender = Recommender(
            self.engine,
            self.cache,
            ranking,
            self.shadows,
            self.samples,
            now=now,
            new_id=uuid.uuid4,
        )
        self.feedback_log = FeedbackLog(self.engine, self.cache, flush=self.servings.flush)
        self.journal = Journal(settings.home / "journal") if settings.bondhu_journal else None
        self.versions = Versions(
            self.registry,
            ModelCopies(settings.home / "models"),
            indices=settings.home / "indices",
            share=settings.bondhu_challenger_share,
            shadow_share=settings.bondhu_shadow_share,
        )
        self.away: frozenset[str] = frozenset()
        self.warming = Warming(
            self.engine, self.cache, self.recommender, is_busy=lambda: self.listing.computing > 0
        )
        self.housekeeping = Housekeeping(self)
        self._lineup: Lineup | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bondhu")
        self._end = end
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def lineup(self) -> Lineup:
        """The versions that answers are made with now.

        Raises
        ------
        ServiceProblem
            503 before `open` is done.
        """
        if self._lineup is None:
            raise ServiceProblem(503, "the service is starting", {"Retry-After": "1"})
        return self._lineup

    @property
    def served(self) -> Served:
        """The champion's versions; raises as `lineup` does."""
        return self.lineup.champion

    @property
    def may_hold_outdated_lists(self) -> bool:
        """Whether Redis may hold lists that feedback outdated without its knowing."""
        return self.cache.has_missed or self.housekeeping.is_looking_back

    async def open(self) -> None:
        """Load what is served, and keep it fresh from now on."""
        self._loop = asyncio.get_running_loop()
        self.serve(await asyncio.to_thread(self._load))
        self.away = frozenset({"model_stale"} if self.versions.is_stale else ())
        await asyncio.to_thread(self.housekeeping.reconcile)
        # What was imported and loaded stays for good: without this, full collections walk it all
        # and stop the loop for 100 ms and more.
        gc.collect()
        gc.freeze()
        gc.set_threshold(2_000, 25, 1_000)
        give_memory_back()
        self._refresher = asyncio.create_task(self._refresh_forever())
        self._refresher.add_done_callback(self._ended)

    async def close(self) -> None:
        """Tell what is pending, and let all connections go."""
        if self._refresher:
            self._refresher.cancel()
        self.warming.stop()
        await self.history.close()
        await asyncio.to_thread(self.housekeeping.tell)
        await asyncio.to_thread(self._threads.shutdown, wait=False, cancel_futures=True)
        await self.edge_cache.close()
        self.cache.close()
        self.spotify.close()
        self.registry.close()
        self.loading_engine.dispose()
        self.engine.dispose()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Return what a thread of this worker's own works out, the request's id being carried on.

        Cancelled before its turn, it never begins: what nobody waits for any more is not done.
        """
        context = copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: context.run(work))

    def _load(self) -> Lineup:
        return self.versions.open(load_catalogue(self.loading_engine))

    def serve(self, lineup: Lineup) -> None:
        """Answer with these versions from now on: one reference is exchanged."""
        self._lineup = lineup
        self.versions.tell_metrics()

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(SECONDS)
            await asyncio.to_thread(self._house_keep)

    def _house_keep(self) -> None:
        self.housekeeping.attend()

    def tell_metrics(self) -> None:
        """Bring Prometheus's counters up to date."""
        TALLY.tell()
        for cache in self.cache.named:
            cache.tell_metrics()

    def ask_redis(self) -> None:
        """Tell Redis the caches' counts; where it was away at the start, find out what it is."""
        for cache in self.cache.named:
            cache.tell_counts()
        if not self._kind_of_redis_is_known:
            is_cluster = ask_whether_cluster(str(self.settings.redis_url))
            if is_cluster is not None:
                self._kind_of_redis_is_known = True
                if is_cluster and self._loop is not None:
                    self.cache.reopen(cluster=True)
                    reopened = self.edge_cache.reopen(cluster=True)
                    asyncio.run_coroutine_threadsafe(reopened, self._loop).result()

    def queue_depths(self) -> dict[str, int]:
        """Return how much waits to be told, by queue."""
        return {
            "journal": self.journal.waiting() if self.journal else 0,
            "servings": len(self.servings),
            "acting": len(self.acting),
            "shadows": len(self.shadows),
            "samples": len(self.samples),
        }

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
        self.journal_feedback(received)
        return None

    def journal_feedback(self, received: Received) -> None:
        """Put a feedback on disk.

        Raises
        ------
        ServiceProblem
            404 or 422, or 503 where nothing durable is within reach.
        """
        if self.journal is None:
            raise unavailable("the feedback log")
        check(received, self.served)
        try:
            self.journal.append(received)
        except OSError:
            raise unavailable("a durable place for feedback") from None

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

    def is_profile(self, user_id: str, scores: Mapping[str, float]) -> bool:
        """Return whether a listener's active assessment has these scores."""
        with self.engine.connect() as connection:
            stored = active_scores(connection, user_id)
        return stored.keys() == scores.keys() and all(
            math.isclose(stored[trait], value, abs_tol=1e-3) for trait, value in scores.items()
        )

    def forget(self, user_id: str) -> None:
        """Let go of what this worker holds about a listener beside its stores."""
        self.acting.forget(user_id)
        self.warming.forget(user_id)
        self.samples.forget(user_id)
        self.local_limit.forget(user_id)

    def _ended(self, refresher: "asyncio.Task[None]") -> None:
        """End a worker whose housekeeping broke: a fresh one is better than one that goes stale."""
        if not refresher.cancelled() and (error := refresher.exception()):
            log.critical("Housekeeping broke, the worker ends", exc_info=error)
            self._end()
