"""Histories brought up to date from Spotify, for lists and for the call that asks for it."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import redis
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from features.database import connect
from features.log_messages import CACHED_PLAYS
from features.settings import Settings
from features.users import lock, revise, standing
from serving.metrics import DEGRADED

if TYPE_CHECKING:
    from features.history_refresh import Refreshed
    from features.sources.spotify_access import SpotifyAccess

REFRESH_SECONDS = 20.0
"""How long a refresh may take altogether; whoever waits for a list waits less."""
HISTORY_AFTER = timedelta(hours=6)

log = logging.getLogger("bondhu.spotify")


class Kept(Protocol):
    """What is kept in Redis."""

    def client(self, db: int) -> redis.Redis:
        """Return the client of a database, of this worker's share of connections."""
        ...

    def outdate_lists(self, user_id: str, revision: int) -> bool:
        """Drop the lists of an older revision."""
        ...

    def near(self, user_id: str) -> list[str]:
        """Return what Spotify recommended, best first."""
        ...

    def store_near(self, user_id: str, track_ids: Sequence[str]) -> None:
        """Keep what Spotify recommends."""
        ...


class SpotifyHistory:
    """A worker's way to Spotify: one refresh per listener at a time, each within a deadline."""

    def __init__(
        self,
        settings: Settings,
        cache: Kept,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        assert settings.database_url  # noqa: S101 - Application has looked
        # Of its own: an import may take longer than any call may keep a connection.
        self.engine = connect(settings.database_url, pool_size=2)
        self._cache = cache
        self._now = now
        self._access: SpotifyAccess | None = None
        self._opening = threading.Lock()
        self._running: dict[str, asyncio.Task[Refreshed]] = {}
        self._behind: set[asyncio.Task[frozenset[str]]] = set()

    def access(self) -> "SpotifyAccess":
        """Return the way to Spotify, opened at the first call."""
        from features.sources.spotify_access import SpotifyAccess  # noqa: PLC0415 - 0.5 s

        with self._opening:
            if self._access is None:
                assert self._settings.redis_url  # noqa: S101 - Application has looked
                self._access = SpotifyAccess(
                    self._settings,
                    self.engine,
                    self._settings.redis_url,
                    redis_client=self._cache.client,
                    now=self._now,
                )
            return self._access

    def redis(self, db: int) -> redis.Redis:
        """Return the client of a database, of this worker's share of connections."""
        return self._cache.client(db)

    async def refresh(self, user_id: str, spotify_token: str | None) -> frozenset[str]:
        """Bring the history up to date if a token came along, or it is older than 6 h.

        Returns
        -------
        What it went without: spotify_unavailable, needs_reauth, or nothing.
        """
        try:
            if spotify_token is None:
                grant = await asyncio.to_thread(self._grant_of, user_id)
                if grant == "fresh":
                    log.info(CACHED_PLAYS)
                if grant != "due":
                    return frozenset({grant} & {"needs_reauth"})
            refreshed = await self.bring_up_to_date(user_id, token=spotify_token)
        except (OperationalError, PoolTimeoutError):
            DEGRADED.labels("postgres").inc()
            return frozenset({"spotify_unavailable"})
        if refreshed.state == "fresh":
            return frozenset()
        DEGRADED.labels("spotify").inc()
        is_grant = refreshed.state == "needs_reauth"
        return frozenset({"needs_reauth" if is_grant else "spotify_unavailable"})

    async def within(
        self, seconds: float, user_id: str, spotify_token: str | None, *, is_cached: bool
    ) -> frozenset[str]:
        """Refresh before a list, within a time; return what the list goes without.

        A cached list waits only where a token came along.
        """
        if spotify_token is None and is_cached:
            return frozenset()
        task = asyncio.create_task(self.refresh(user_id, spotify_token))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        return task.result() if done else frozenset({"spotify_unavailable"})

    async def bring_up_to_date(self, user_id: str, *, token: str | None) -> "Refreshed":
        """Refresh a listener's history, or wait for the refresh that is under way."""
        task = self._running.get(user_id)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(self._refresh, user_id, token))
            self._running[user_id] = task
            task.add_done_callback(lambda _: self._running.pop(user_id, None))
        return await asyncio.shield(task)

    async def settled(self, user_id: str, *, seconds: float) -> bool:
        """Wait for the listener's refresh that is under way; return whether none is any more."""
        task = self._running.get(user_id)
        if task is not None:
            await asyncio.wait({task}, timeout=seconds)
        return task is None or task.done()

    def _grant_of(self, user_id: str) -> str:
        """Return how a listener's grant stands: due, fresh, needs_reauth; empty: there is none."""
        if not self._settings.spotify_client_id or self._settings.bondhu_token_key is None:
            return ""
        with self.engine.connect() as connection:
            found = connection.execute(
                sa.text("SELECT state, history_at FROM spotify_grants WHERE user_id = :user_id"),
                {"user_id": user_id},
            ).one_or_none()
        if found is None:
            return ""
        if found[0] == "needs_reauth":
            return "needs_reauth"
        is_old = found[1] is None or found[1] < self._now() - HISTORY_AFTER
        return "due" if is_old else "fresh"

    def _refresh(self, user_id: str, token: str | None) -> "Refreshed":
        from features.history_refresh import refresh  # noqa: PLC0415 - 0.5 s
        from features.sources.spotify_transport import Patience  # noqa: PLC0415 - 0.5 s

        refreshed = refresh(
            self.engine,
            self.access(),
            user_id,
            token=token,
            patience=Patience(REFRESH_SECONDS),
            now=self._now(),
        )
        has_news = self._keep_recommended(user_id, refreshed.recommended)
        if refreshed.report.stored or has_news:
            self.outdate(user_id)
        return refreshed

    def _keep_recommended(self, user_id: str, track_ids: Sequence[str] | None) -> bool:
        """Keep what Spotify recommends; return whether it is something else than before."""
        if track_ids is None or list(track_ids) == self._cache.near(user_id):
            return False
        with self.engine.begin() as connection:
            lock(connection, user_id)
            if standing(connection, user_id) is None:  # deleted meanwhile
                return False
            revise(connection, user_id)
        self._cache.store_near(user_id, track_ids)
        return True

    def outdate(self, user_id: str) -> None:
        """Drop a listener's lists and profile: what they are made from has changed."""
        with self.engine.connect() as connection:
            revision = connection.scalar(
                sa.text("SELECT revision FROM users WHERE user_id = :user_id"),
                {"user_id": user_id},
            )
        self._cache.outdate_lists(user_id, int(revision or 0))

    def close(self) -> None:
        """Let the connections go."""
        if self._access is not None:
            self._access.close()
        self.engine.dispose()
