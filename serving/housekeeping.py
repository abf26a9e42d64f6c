"""What a worker does behind its answers, every two seconds: tell what waits, swap in new versions.

Queues go to Postgres, counts to Redis and Prometheus, outdated lists out of Redis. A new build, a
new champion or challenger is loaded, checked and warmed, and then one reference is exchanged.
"""

import ctypes
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from features.catalogue import build_id, load_catalogue
from features.users import revised_since
from serving.cache import LIST_SECONDS
from serving.connections import in_use
from serving.feedback import CLOCKS_DIFFER
from serving.metrics import DEGRADED, POOL_IN_USE, POOL_SIZE, QUEUE_DEPTH, REDIS_MEMORY
from serving.problems import ServiceProblem

if TYPE_CHECKING:
    from serving.application import Application

SECONDS = 2.0
"""Between two rounds."""

MEMORY_ROUNDS = 5

log = logging.getLogger("bondhu")


def give_memory_back() -> None:
    """Return what loading took for a moment; glibc alone would keep it, some 50 MB."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Housekeeping:
    """One worker's rounds."""

    def __init__(self, application: "Application") -> None:
        self._app = application
        self._rounds = 0
        self._telling = threading.Lock()
        self._look_back_to: datetime | None = application.now() - timedelta(seconds=LIST_SECONDS)

    @property
    def is_looking_back(self) -> bool:
        """Whether lists that feedback outdated may still be in Redis."""
        return self._look_back_to is not None

    def attend(self) -> None:
        """Go one round: tell what waits, then swap if there is something new."""
        if self.tell():
            self._with_postgres(self._swap)

    def tell(self) -> bool:
        """Tell what waits; return whether Postgres was there.

        One at a time: a worker may end while it warms lists.
        """
        with self._telling:
            return self._tell()

    def _tell(self) -> bool:
        self._app.tell_metrics()
        is_there = self._with_postgres(self._tell_postgres)
        self._app.ask_redis()
        if self._rounds % MEMORY_ROUNDS == 0 and (used := self._app.cache.memory_bytes()):
            REDIS_MEMORY.set(used)
        self._gauge()
        self._rounds += 1
        return is_there

    def _with_postgres(self, work: Callable[[], None]) -> bool:
        away = set()
        try:
            work()
        except (OperationalError, PoolTimeoutError) as error:
            DEGRADED.labels("postgres").inc()
            away.add("postgres_down")
            log.warning("PostgreSQL is away, trying again: %s", str(error).splitlines()[0])
        is_there = not away
        if self._app.versions.is_stale:
            away.add("model_stale")
        self._app.away = frozenset(away)
        return is_there

    def _tell_postgres(self) -> None:
        app = self._app
        if app.journal:
            told = app.journal.tell(
                lambda received: app.feedback_log.accept(received, app.served),
                refused=(ServiceProblem, ValueError, ArithmeticError, IntegrityError, DataError),
            )
            if told:
                log.info("Told Postgres %d journalled feedbacks", told)
        app.servings.flush()
        app.acting.flush()
        self.reconcile()
        app.shadows.work()
        app.samples.flush()

    def reconcile(self) -> None:
        """Outdate lists in Redis that are outdated in Postgres only.

        That happens where Redis was away, or a worker ended, between an event's commit and its word
        to Redis: a new worker looks back over the life of a list, any worker over an outage.
        """
        cache = self._app.cache
        is_there = cache.answers()
        if (cache.has_missed or not is_there) and self._look_back_to is None:
            self._look_back_to = self._app.now() - CLOCKS_DIFFER
        if self._look_back_to is None or not is_there:
            return
        cache.has_missed = False
        with self._app.loading_engine.connect() as connection:
            revised = revised_since(connection, self._look_back_to)
        if all(cache.outdate_lists(user_id, revision) for user_id, revision in revised):
            self._look_back_to = None

    def _swap(self) -> None:
        """Take over a new build, a new champion or challenger."""
        app = self._app
        named = app.served.catalogue
        if build_id(app.loading_engine) != named.build_id:
            named = load_catalogue(app.loading_engine)
        fresh = app.versions.refreshed(named)
        if fresh is None:
            return
        app.warming.warm(fresh, app.lineup, meanwhile=self._between(time.monotonic()))
        app.serve(fresh)
        give_memory_back()
        log.info("Now serving %s on %s", fresh.champion.models, fresh.champion.catalogue_version)

    def _between(self, last: float) -> Callable[[float], bool]:
        """Return what goes the telling half of a round when it is due, while lists are warmed."""

        def tell(now: float) -> bool:
            nonlocal last
            if now - last < SECONDS:
                return True
            last = now
            return self.tell()

        return tell

    def _gauge(self) -> None:
        """Show how full pools and queues are."""
        app = self._app
        POOL_IN_USE.labels("postgres").set(app.engine.pool.checkedout())  # type: ignore[attr-defined]
        POOL_SIZE.labels("postgres").set(2 * app.engine.pool.size())  # type: ignore[attr-defined]
        POOL_IN_USE.labels("redis").set(sum(map(in_use, app.cache.databases_open)))
        POOL_SIZE.labels("redis").set(app.settings.redis_max_connections)
        for queue, depth in app.queue_depths().items():
            QUEUE_DEPTH.labels(queue).set(depth)
