"""Who acted for whom: calls that backends made in listeners' names, for the audit.

Counted here and told to Postgres in batches, like servings; each is also a line of the log at once.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa

from features.audit import Acted, store_acted

log = logging.getLogger("bondhu.audit")

Key = tuple[str, str, str]


class ActingLog:
    """Acts since they were last told."""

    def __init__(self, engine: sa.Engine, *, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now
        self._lock = threading.Lock()
        self._pending: dict[Key, Acted] = {}

    def add(self, actor: str, user_id: str, call: str) -> None:
        """Write one act down."""
        now = self._now()
        log.info("Backend %s called %s for user %s", actor, call, user_id)
        with self._lock:
            key = (actor, user_id, call)
            before = self._pending.get(key)
            self._pending[key] = Acted(
                actor=actor,
                user_id=user_id,
                call=call,
                calls=before.calls + 1 if before else 1,
                first_at=before.first_at if before else now,
                last_at=now,
            )

    def forget(self, user_id: str) -> None:
        """Let what waits about a listener go: they are being deleted."""
        with self._lock:
            self._pending = {k: v for k, v in self._pending.items() if v.user_id != user_id}

    def flush(self) -> None:
        """Tell Postgres; while it is away the acts wait for the next time."""
        with self._lock:
            told, self._pending = self._pending, {}
        if not told:
            return
        try:
            with self._engine.begin() as connection:
                store_acted(connection, list(told.values()))
        except sa.exc.OperationalError:
            with self._lock:
                for key, act in told.items():
                    newer = self._pending.get(key)
                    self._pending[key] = act.joined(newer) if newer else act
            raise

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._pending)
