"""How a source stands: closed or limited until when, the last success, the last error.

Kept in Postgres, so that every process knows what one of them was told, also after a restart. A
look takes less than a millisecond before a call that takes a hundred.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

EVERYTHING = "*"
"""The endpoint of what concerns a whole source: a 429 counts for all of them."""

_READ = sa.text("SELECT * FROM source_standing WHERE source = :source ORDER BY endpoint")
_LOOK = sa.text(
    """
    SELECT max(closed_until) FILTER (WHERE endpoint = :endpoint),
           max(limited_until)
    FROM source_standing WHERE source = :source AND endpoint IN (:endpoint, '*')
    """
)
_SUCCEEDED = sa.text(
    """
    INSERT INTO source_standing AS s (source, endpoint, last_success_at)
    VALUES (:source, :endpoint, :now)
    ON CONFLICT (source, endpoint) DO UPDATE
    SET last_success_at = excluded.last_success_at, closed_until = NULL
    WHERE s.last_success_at IS NULL OR s.closed_until IS NOT NULL
       OR s.last_success_at < excluded.last_success_at - make_interval(secs => :coarse)
    """
)
_FAILED = sa.text(
    """
    INSERT INTO source_standing AS s
        (source, endpoint, closed_until, limited_until, last_error_at, last_error)
    VALUES (:source, :endpoint, :closed_until, :limited_until, :now, :error)
    ON CONFLICT (source, endpoint) DO UPDATE SET
        closed_until = coalesce(excluded.closed_until, s.closed_until),
        limited_until = coalesce(greatest(excluded.limited_until, s.limited_until),
                                 s.limited_until),
        last_error_at = excluded.last_error_at, last_error = excluded.last_error
    """
)
COARSE = timedelta(seconds=10)
"""How exact the time of the last success is: not every call needs a write."""


@dataclass(frozen=True)
class Standing:
    """One endpoint of a source."""

    source: str
    endpoint: str
    closed_until: datetime | None
    limited_until: datetime | None
    last_success_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None


class Standings:
    """The standing of one source."""

    def __init__(self, engine: sa.Engine, source: str) -> None:
        self._engine = engine
        self.source = source

    def all(self) -> list[Standing]:
        """Return what is known, one entry per endpoint."""
        with self._engine.connect() as connection:
            rows = connection.execute(_READ, {"source": self.source}).mappings()
            return [Standing(**row) for row in rows]

    def look(self, endpoint: str) -> tuple[datetime | None, datetime | None]:
        """Return until when the endpoint is closed, and until when it is limited."""
        with self._engine.connect() as connection:
            asked = {"source": self.source, "endpoint": endpoint}
            row = connection.execute(_LOOK, asked).one()
        return row[0], row[1]

    def succeeded(self, endpoint: str, *, now: datetime) -> None:
        """Note that a call went well; an open breaker closes."""
        with self._engine.begin() as connection:
            connection.execute(
                _SUCCEEDED,
                {
                    "source": self.source,
                    "endpoint": endpoint,
                    "now": now,
                    "coarse": COARSE.total_seconds(),
                },
            )

    def failed(
        self,
        endpoint: str,
        error: str,
        *,
        now: datetime,
        closed_until: datetime | None = None,
        limited_until: datetime | None = None,
    ) -> None:
        """Note that a call failed, and perhaps until when none is to be made."""
        with self._engine.begin() as connection:
            connection.execute(
                _FAILED,
                {
                    "source": self.source,
                    "endpoint": endpoint,
                    "error": error[:300],
                    "now": now,
                    "closed_until": closed_until,
                    "limited_until": limited_until,
                },
            )
