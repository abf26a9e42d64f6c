"""listening_history from plays, and what is counted from it: genres per listener, popular tracks.

`counted` of a row of history says how many of its plays stand in listener_genres and
track_listeners. The difference to what plays say now is what has to be added there.
"""

from datetime import datetime

import sqlalchemy as sa

from features.bulk import is_empty, keys_aside, make_room
from features.derived import changes, popular
from recommender.genres import OTHER

_SUMS = "max(played_at) AS played_at, count(*)::int AS n, sum(ms_played) AS ms"

# Every row of an empty table.
_FILL = sa.text(
    f"""
    INSERT INTO listening_history (user_id, track_id, track_name, artist_name, played_at,
                                   play_count, total_listen_time_ms, updated_at, counted)
    SELECT p.user_id, p.track_id, t.track_name, t.artist_name, p.played_at, p.n, p.ms,
           CAST(:now AS timestamptz), p.n
    FROM (SELECT user_id, track_id, {_SUMS} FROM plays GROUP BY user_id, track_id) p
    JOIN tracks t USING (track_id)
    """  # noqa: S608 - constants of this module
)
_ONE_BY_ONE = sa.text(
    """
    WITH gone AS (DELETE FROM feature_changes WHERE kind IN ('plays', 'listener'))
    INSERT INTO feature_changes (kind, user_id) SELECT 'listener', user_id FROM users
    """
)
_RENAMED = sa.text(
    """
    INSERT INTO feature_changes (kind, user_id, track_id)
    SELECT 'plays', h.user_id, h.track_id FROM listening_history h JOIN tracks t USING (track_id)
    WHERE (:everything OR h.track_id IN (SELECT track_id FROM changed))
      AND (h.track_name, h.artist_name) IS DISTINCT FROM (t.track_name, t.artist_name)
    """
)
_FRESH = (
    "DROP TABLE IF EXISTS pg_temp.pairs",
    """
    CREATE TEMP TABLE pairs ON COMMIT DROP AS
    SELECT user_id, track_id FROM asked WHERE track_id IS NOT NULL
    UNION SELECT user_id, p.track_id FROM asked a JOIN plays p USING (user_id)
    WHERE a.track_id IS NULL
    UNION SELECT user_id, h.track_id FROM asked a JOIN listening_history h USING (user_id)
    WHERE a.track_id IS NULL
    """,
    "ANALYZE pairs",
    "DROP TABLE IF EXISTS pg_temp.fresh",
    # The order keeps neighbours in the tables neighbours here.
    f"""
    CREATE TEMP TABLE fresh ON COMMIT DROP AS
    SELECT c.user_id, c.track_id, t.track_name, t.artist_name,
           coalesce(t.category, '{OTHER}') AS category, p.played_at, p.n, p.ms,
           coalesce(h.counted, 0) AS counted
    FROM pairs c JOIN tracks t USING (track_id)
    LEFT JOIN listening_history h ON h.user_id = c.user_id AND h.track_id = c.track_id
    CROSS JOIN LATERAL (SELECT {_SUMS} FROM plays q
                        WHERE q.user_id = c.user_id AND q.track_id = c.track_id) p
    ORDER BY c.user_id, c.track_id
    """,  # noqa: S608 - constants of this module
    "ANALYZE fresh",
)
_GONE = sa.text(
    """
    DELETE FROM listening_history h USING fresh f
    WHERE f.n = 0 AND h.user_id = f.user_id AND h.track_id = f.track_id
    """
)
_CHANGED = sa.text(
    """
    INSERT INTO listening_history AS h (user_id, track_id, track_name, artist_name, played_at,
                                        play_count, total_listen_time_ms, updated_at, counted)
    SELECT user_id, track_id, track_name, artist_name, played_at, n, ms,
           CAST(:now AS timestamptz), n
    FROM fresh WHERE n > 0
    ON CONFLICT (user_id, track_id) DO UPDATE SET
        track_name = excluded.track_name, artist_name = excluded.artist_name,
        played_at = excluded.played_at, play_count = excluded.play_count,
        total_listen_time_ms = excluded.total_listen_time_ms, updated_at = excluded.updated_at,
        counted = excluded.counted
    WHERE (h.track_name, h.artist_name, h.played_at, h.play_count, h.total_listen_time_ms,
           h.counted)
        IS DISTINCT FROM (excluded.track_name, excluded.artist_name, excluded.played_at,
                          excluded.play_count, excluded.total_listen_time_ms, excluded.counted)
    """
)
_GENRES = sa.text(
    """
    INSERT INTO listener_genres AS g (user_id, category, plays)
    SELECT user_id, category, sum(n - counted) FROM fresh WHERE n > 0 AND n <> counted
    GROUP BY user_id, category
    ON CONFLICT (user_id, category) DO UPDATE SET plays = g.plays + excluded.plays
    """
)
_LISTENERS = sa.text(
    """
    INSERT INTO track_listeners AS l (track_id, listeners, plays)
    SELECT track_id, count(*) FILTER (WHERE counted = 0), sum(n - counted)
    FROM fresh WHERE n > 0 AND n <> counted GROUP BY track_id
    ON CONFLICT (track_id) DO UPDATE SET
        listeners = l.listeners + excluded.listeners, plays = l.plays + excluded.plays
    """
)
_FEWER = sa.text("SELECT EXISTS (SELECT FROM fresh WHERE n > 0 AND n < counted)")
_LOCK = sa.text("LOCK TABLE listening_history IN SHARE ROW EXCLUSIVE MODE")


def begin(connection: sa.Connection, *, now: datetime) -> int:
    """Fill an empty history at once, or part 'every play' into listeners; returns rows written."""
    if not changes.waiting(connection, "plays")[1]:
        return 0
    connection.execute(_LOCK)
    if not is_empty(connection, "listening_history"):
        connection.execute(_ONE_BY_ONE)
        return 0
    changes.take_all(connection, "plays")
    if is_empty(connection, "plays"):
        return 0
    with keys_aside(connection, "listening_history"):
        # In the order of the key of plays: a listener's rows become neighbours, and need no sort.
        connection.execute(sa.text("SET LOCAL enable_hashagg = off"))
        filled = connection.execute(_FILL, {"now": now}).rowcount
        connection.execute(sa.text("SET LOCAL enable_hashagg = on"))
    changes.note(connection, "counts")
    return filled


def note_renamed(connection: sa.Connection, *, everything: bool) -> None:
    """Have the history of tracks with another name worked out again (those in `changed`)."""
    connection.execute(_RENAMED, {"everything": everything})


def refresh(connection: sa.Connection, *, now: datetime, most: int) -> tuple[int, int]:
    """Bring about `most` waiting pairs of listener and track up to date.

    Where all of a listener's plays are asked for, a listener is taken for 100 pairs.

    Returns
    -------
    How many were taken (0: none is left), and how many rows of history changed.
    """
    make_room(connection)
    # A play that is added meanwhile waits for the end of this batch, instead of having its newer
    # aggregate overwritten.
    connection.execute(_LOCK)
    columns = "user_id, track_id"
    taken = changes.take(connection, "listener", columns, "asked", most=1 + most // 100)
    if not taken:
        taken = changes.take(connection, "plays", columns, "asked", most=most)
    if not taken:
        return 0, 0
    for statement in _FRESH:
        connection.execute(sa.text(statement))
    changed = connection.execute(_GONE).rowcount
    changed += connection.execute(_CHANGED, {"now": now}).rowcount
    connection.execute(_GENRES)
    connection.execute(_LISTENERS)
    if connection.scalar(_FEWER):
        changes.note(connection, "counts")
    elif not any(changes.waiting(connection, kind)[0] for kind in ("counts", "ranks")):
        popular.refresh_with(connection)
    return taken, changed
