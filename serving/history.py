"""The listener's history from outside, within a deadline: a list never waits for it longer."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from serving.metrics import DEGRADED, SOURCE_UP

SPOTIFY_UNAVAILABLE = "spotify_unavailable"
PATIENCE_SECONDS = 1.2
"""For bringing a history up to date before a list is computed; the rest goes on behind it."""

MOST_AT_ONCE = 32
"""Refreshes under way in a worker; beyond that a list goes without."""

log = logging.getLogger("bondhu.history")


class HistorySource(Protocol):
    """Where a listener's history can be brought up to date from."""

    async def refresh(self, user_id: str, spotify_token: str | None) -> frozenset[str]:
        """Bring the history up to date if a token came along or it is older than 6 h.

        A changed history raises the listener's revision (`features.users.revise`).

        Returns
        -------
        What it went without: spotify_unavailable, needs_reauth, or nothing.
        """
        ...


class History:
    """Refreshes under way, each bounded in time, all bounded in number."""

    def __init__(
        self, source: HistorySource, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._source = source
        self._patience = patience_seconds
        self._running: dict[str, asyncio.Task[frozenset[str]]] = {}

    async def refreshed(self, user_id: str, spotify_token: str | None) -> frozenset[str]:
        """Wait for a refresh, but not for long; what takes longer goes on behind the answer.

        Returns
        -------
        What the list that follows goes without.
        """
        task = self.begin(user_id, spotify_token)
        if task is None:
            return frozenset({SPOTIFY_UNAVAILABLE}) if spotify_token else frozenset()
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(task)
        except TimeoutError:
            DEGRADED.labels("spotify").inc()
            SOURCE_UP.labels("spotify").set(0)
            return frozenset({SPOTIFY_UNAVAILABLE})

    def begin(self, user_id: str, spotify_token: str | None) -> asyncio.Task[frozenset[str]] | None:
        """Start a refresh, or join the one under way; None where too many are."""
        running = self._running.get(user_id)
        if running is not None:
            return running
        if len(self._running) >= MOST_AT_ONCE:
            DEGRADED.labels("spotify").inc()
            return None
        refresh: Coroutine[Any, Any, frozenset[str]] = self._source.refresh(user_id, spotify_token)
        task = asyncio.create_task(refresh)
        self._running[user_id] = task
        task.add_done_callback(lambda done: self._ended(user_id, done))
        return task

    def _ended(self, user_id: str, task: asyncio.Task[frozenset[str]]) -> None:
        self._running.pop(user_id, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("Refreshing the history broke: %s", type(error).__name__)

    async def close(self) -> None:
        """Stop what is under way."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
