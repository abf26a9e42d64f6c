"""popular_tracks: the fallback for whoever is not known yet, per category and over all.

By the popularity that a source states, then by how many listeners here heard the track, then by
id: a young service has few listeners, and a source without popularity has only them. One track
stands for its recording.
"""

import sqlalchemy as sa

from recommender.genres import OTHER

FIRST = 200
"""How many tracks of a category are kept."""

_ORDER = 'popularity DESC NULLS LAST, listeners DESC, track_id COLLATE "C"'


def _statement(which: str) -> sa.TextClause:
    """Return the statement that ranks some tracks and writes what differs."""
    return sa.text(
        f"""
        WITH known AS (
            SELECT t.track_id, coalesce(t.category, '{OTHER}') AS category, t.popularity,
                   coalesce(l.listeners, 0) AS listeners
            FROM tracks t LEFT JOIN track_listeners l USING (track_id)
            WHERE t.canonical_id IS NULL AND {which}
        ), ranked AS (
            SELECT category, row_number() OVER (PARTITION BY category ORDER BY {_ORDER}) AS rank,
                   track_id, popularity, listeners FROM known
        ), overall AS (
            SELECT 'all' AS category, row_number() OVER (ORDER BY {_ORDER}) AS rank,
                   track_id, popularity, listeners
            FROM ranked WHERE rank <= {FIRST}
        ), news AS (
            SELECT * FROM ranked WHERE rank <= {FIRST}
            UNION ALL SELECT * FROM overall WHERE rank <= {FIRST}
        ), gone AS (
            DELETE FROM popular_tracks p WHERE NOT EXISTS
                (SELECT FROM news n WHERE n.category = p.category AND n.rank = p.rank)
        )
        INSERT INTO popular_tracks AS p SELECT * FROM news
        ON CONFLICT (category, rank) DO UPDATE SET track_id = excluded.track_id,
            popularity = excluded.popularity, listeners = excluded.listeners
        WHERE (p.track_id, p.popularity, p.listeners)
            IS DISTINCT FROM (excluded.track_id, excluded.popularity, excluded.listeners)
        """  # noqa: S608 - constants of this module
    )


_ALL = _statement("true")
# Popularity comes first: below a full category's last place, listeners move nobody in.
_WITH_FRESH = _statement(
    f"""t.track_id IN (
        SELECT track_id FROM popular_tracks
        UNION SELECT f.track_id FROM fresh f
        LEFT JOIN popular_tracks p ON p.category = f.category AND p.rank = {FIRST}
        WHERE p.rank IS NULL OR coalesce(f.popularity, -1) >= coalesce(p.popularity, -1))"""  # noqa: S608
)


def refresh(connection: sa.Connection) -> int:
    """Rank all tracks; returns how many places changed."""
    return connection.execute(_ALL).rowcount


def refresh_with(connection: sa.Connection) -> int:
    """Rank the tracks in `fresh`, which gained listeners, among those that stand in the table.

    Where nothing lost, nobody else can have moved in.
    """
    return connection.execute(_WITH_FRESH).rowcount
