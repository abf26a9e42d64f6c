"""How often and when last lists were served: counted here, told to Postgres in batches."""

import threading
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from features.recommendations import count_servings


class Servings:
    """Counts per list since they were last told."""

    def __init__(self, engine: sa.Engine, *, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now
        self._lock = threading.Lock()
        self._pending: dict[UUID, tuple[int, datetime]] = {}

    def add(self, recommendation_id: UUID) -> None:
        """Count one serving."""
        with self._lock:
            count, _ = self._pending.get(recommendation_id, (0, None))
            self._pending[recommendation_id] = (count + 1, self._now())

    def flush(self) -> None:
        """Tell Postgres; while it is away the counts wait for the next time."""
        with self._lock:
            pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            with self._engine.begin() as connection:
                count_servings(connection, pending)
        except sa.exc.OperationalError:
            with self._lock:
                for key, (count, at) in pending.items():
                    newer, last = self._pending.get(key, (0, at))
                    self._pending[key] = (count + newer, max(at, last))
            raise

    def __len__(self) -> int:
        """Return how many lists wait."""
        return len(self._pending)
