"""How listeners take what they get, from the log: the promises that are about people.

What `bondhu demo` says in a listener's name is left out: nobody said it.
"""

from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from uuid import UUID

import sqlalchemy as sa

LONG_PLAY_MS = 30_000
FEWEST_HEARD = 10
"""A listener's entropy counts from so many tracks on: of fewer it says how few they are."""
MONTH_DAYS = 30
DEMO_EVENTS = "de300000-0000-8000-8000-"
"""How ids of what a demonstration says begin; version 8 of RFC 9562: of one's own making."""

_NO_DEMO = f"event_id NOT BETWEEN '{DEMO_EVENTS}000000000000' AND '{DEMO_EVENTS}ffffffffffff'"
_LONG = sa.text(
    f"""
    SELECT count(*), count(*) FILTER (WHERE listen_duration_ms > :long),
           count(*) FILTER (WHERE u.simulated)
    FROM music_interactions i JOIN users u USING (user_id)
    WHERE listen_duration_ms IS NOT NULL AND received_at >= :since AND received_at < :until
      AND {_NO_DEMO}
    """  # noqa: S608 - constants above
)
_HEARD = f"""
    SELECT user_id, track_id, played_at AS at FROM plays WHERE played_at < :until
    UNION ALL
    SELECT user_id, track_id, received_at FROM music_interactions
    WHERE received_at < :until AND feedback_type NOT IN ('skip', 'dislike') AND {_NO_DEMO}
"""  # noqa: S608 - constants above
_NEW_ARTISTS = sa.text(
    f"""
    WITH met AS (
        SELECT h.user_id, t.artist_key, min(h.at) AS first, max(h.at) AS last
        FROM ({_HEARD}) h JOIN tracks t USING (track_id) GROUP BY 1, 2
    ), per AS (
        SELECT user_id, count(*) FILTER (WHERE first >= :since) AS new
        FROM met GROUP BY user_id HAVING max(last) >= :since
    )
    SELECT count(*), avg(new)::float8, count(*) FILTER (WHERE u.simulated)
    FROM per JOIN users u USING (user_id)
    """  # noqa: S608 - constants above
)
_ENTROPY = sa.text(
    f"""
    WITH per AS (
        SELECT h.user_id, coalesce(t.genres[1], t.category) AS genre, count(*)::float8 AS n
        FROM ({_HEARD}) h JOIN tracks t USING (track_id)
        WHERE h.at >= :since AND coalesce(t.genres[1], t.category) IS NOT NULL GROUP BY 1, 2
    ), shares AS (
        SELECT user_id, n / sum(n) OVER (PARTITION BY user_id) AS p,
               sum(n) OVER (PARTITION BY user_id) AS total FROM per
    ), bits AS (
        SELECT user_id, -sum(p * ln(p) / ln(2.0)) AS bits FROM shares
        WHERE total >= :fewest GROUP BY user_id
    )
    SELECT count(*), avg(bits)::float8, count(*) FILTER (WHERE u.simulated)
    FROM bits JOIN users u USING (user_id)
    """  # noqa: S608 - constants above
)


def demo_event_id() -> UUID:
    """Return an id for feedback that nobody gives: no figure here counts it.

    Examples
    --------
    >>> str(demo_event_id()).startswith(DEMO_EVENTS), demo_event_id().version
    (True, 8)
    """
    return UUID(DEMO_EVENTS + token_hex(6))


@dataclass(frozen=True)
class Figure:
    """A figure over n cases.

    Attributes
    ----------
    value
        None where there was no case.
    simulated
        How many of the n are about simulated listeners.
    """

    value: float | None
    n: int
    simulated: int = 0

    @property
    def origin(self) -> str:
        """`real`, `simulated`, or `mixed` with the share that is simulated.

        Examples
        --------
        >>> Figure(0.6, 10).origin, Figure(0.6, 10, 10).origin, Figure(0.6, 10, 4).origin
        ('real', 'simulated', 'mixed (40% simulated)')
        """
        if not self.n or not self.simulated:
            return "real"
        if self.simulated == self.n:
            return "simulated"
        return f"mixed ({self.simulated / self.n:.0%} simulated)"


def long_plays(connection: sa.Connection, *, since: datetime, until: datetime) -> Figure:
    """Return the share of feedback with a duration that heard over 30 s."""
    asked = {"since": since, "until": until, "long": LONG_PLAY_MS}
    n, long, simulated = connection.execute(_LONG, asked).one()
    return Figure(long / n if n else None, n, simulated)


def new_artists(connection: sa.Connection, *, since: datetime, until: datetime) -> Figure:
    """Return how many artists an active listener met for the first time per 30 days, as a mean.

    Met: played, or said something of that is neither skip nor dislike.
    """
    asked = {"since": since, "until": until}
    n, mean, simulated = connection.execute(_NEW_ARTISTS, asked).one()
    months = (until - since).total_seconds() / (MONTH_DAYS * 86_400)
    return Figure(None if mean is None else mean / months, n, simulated)


def entropy(connection: sa.Connection, *, since: datetime, until: datetime) -> Figure:
    """Return the Shannon entropy in bits over finest genres of what a listener heard, as a mean."""
    asked = {"since": since, "until": until, "fewest": FEWEST_HEARD}
    n, mean, simulated = connection.execute(_ENTROPY, asked).one()
    return Figure(mean, n, simulated)
