"""listening_history from plays, and what is counted from it: genres per listener, popular tracks.

`counted` of a row of history says how many of its plays stand in listener_genres and
track_listeners. The difference to what plays say now is what has to be added there.

Plays that were only added are known as sums (kind `added`): they go on top of the row that stands.
Whatever else happened to a listener's plays of a track (kind `plays`) has them read again; that
takes the sums of the pair along, in the statement that reads, so that no play counts twice.
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
    WITH held AS (DELETE FROM feature_changes WHERE kind IN ('added', 'plays'))
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
    WITH gone AS (DELETE FROM feature_changes WHERE kind IN ('added', 'plays', 'listener'))
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
_NO_FRESH = (
    "DROP TABLE IF EXISTS pg_temp.fresh",
    """
    CREATE TEMP TABLE fresh ON COMMIT DROP AS
    SELECT h.user_id, h.track_id, h.track_name, h.artist_name, t.category, h.played_at,
           play_count AS n, total_listen_time_ms AS ms, h.counted, t.popularity, h.ctid AS place
    FROM listening_history h JOIN tracks t USING (track_id) WITH NO DATA
    """,
)
_READ_AGAIN = (
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
    # The order keeps neighbours in the tables neighbours here.
    f"""
    WITH held AS (
        DELETE FROM feature_changes c USING pairs
        WHERE c.kind = 'added' AND c.user_id = pairs.user_id AND c.track_id = pairs.track_id
    )
    INSERT INTO fresh
    SELECT c.user_id, c.track_id, t.track_name, t.artist_name, coalesce(t.category, '{OTHER}'),
           p.played_at, coalesce(p.n, 0), p.ms, coalesce(h.counted, 0), t.popularity, h.ctid
    FROM pairs c JOIN tracks t USING (track_id)
    LEFT JOIN listening_history h ON h.user_id = c.user_id AND h.track_id = c.track_id
    LEFT JOIN (SELECT user_id, track_id, {_SUMS} FROM plays JOIN pairs USING (user_id, track_id)
               GROUP BY user_id, track_id) p ON p.user_id = c.user_id AND p.track_id = c.track_id
    ORDER BY c.user_id, c.track_id
    """,  # noqa: S608 - constants of this module
    "ANALYZE fresh",
)
_TAKE_ADDED = (
    "DROP TABLE IF EXISTS pg_temp.added",
    """
    CREATE TEMP TABLE added ON COMMIT DROP AS
    SELECT user_id, track_id, n, ms, played_at FROM feature_changes WITH NO DATA
    """,
    """
    WITH taken AS (
        DELETE FROM feature_changes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM feature_changes WHERE kind = 'added' LIMIT :most))
        RETURNING user_id, track_id, n, ms, played_at
    )
    INSERT INTO added SELECT user_id, track_id, sum(n), sum(ms), max(played_at)
    FROM taken GROUP BY user_id, track_id ORDER BY user_id, track_id
    """,
)
_ADD = (
    "ANALYZE added",
    f"""
    INSERT INTO fresh
    SELECT a.user_id, a.track_id, t.track_name, t.artist_name, coalesce(t.category, '{OTHER}'),
           greatest(h.played_at, a.played_at), coalesce(h.play_count, 0) + a.n,
           coalesce(h.total_listen_time_ms, 0) + a.ms, coalesce(h.counted, 0), t.popularity, h.ctid
    FROM added a JOIN users USING (user_id) JOIN tracks t USING (track_id)
    LEFT JOIN listening_history h ON h.user_id = a.user_id AND h.track_id = a.track_id
    ORDER BY a.user_id, a.track_id
    """,  # noqa: S608 - constants of this module
    "ANALYZE fresh",
)
_GONE = sa.text("DELETE FROM listening_history h USING fresh f WHERE f.n = 0 AND h.ctid = f.place")
_CHANGED = sa.text(
    """
    UPDATE listening_history h SET
        track_name = f.track_name, artist_name = f.artist_name, played_at = f.played_at,
        play_count = f.n, total_listen_time_ms = f.ms, counted = f.n,
        updated_at = CAST(:now AS timestamptz)
    FROM fresh f
    WHERE h.ctid = f.place AND f.n > 0
      AND (h.track_name, h.artist_name, h.played_at, h.play_count, h.total_listen_time_ms,
           h.counted)
        IS DISTINCT FROM (f.track_name, f.artist_name, f.played_at, f.n, f.ms, f.n)
    """
)
_NEW = sa.text(
    """
    INSERT INTO listening_history (user_id, track_id, track_name, artist_name, played_at,
                                   play_count, total_listen_time_ms, updated_at, counted)
    SELECT user_id, track_id, track_name, artist_name, played_at, n, ms,
           CAST(:now AS timestamptz), n
    FROM fresh WHERE n > 0 AND place IS NULL
    """
)
_GENRES = sa.text(
    """
    INSERT INTO listener_genres AS g (user_id, category, plays)
    SELECT user_id, category, sum(n - counted) FROM fresh WHERE n > 0 AND n <> counted
    GROUP BY user_id, category ORDER BY user_id, category
    ON CONFLICT (user_id, category) DO UPDATE SET plays = g.plays + excluded.plays
    """
)
_LISTENERS = sa.text(
    """
    INSERT INTO track_listeners AS l (track_id, listeners, plays)
    SELECT track_id, count(*) FILTER (WHERE counted = 0), sum(n - counted)
    FROM fresh WHERE n > 0 AND n <> counted GROUP BY track_id ORDER BY track_id
    ON CONFLICT (track_id) DO UPDATE SET
        listeners = l.listeners + excluded.listeners, plays = l.plays + excluded.plays
    """
)
_FEWER = sa.text("SELECT EXISTS (SELECT FROM fresh WHERE n > 0 AND n < counted)")
_LOCK = sa.text("LOCK TABLE listening_history IN SHARE ROW EXCLUSIVE MODE")
# Tells the triggers on listening_history that these rows and their notes are in step.
_IS_BUILD = sa.text("SELECT set_config('bondhu.is_build', 'on', true)")


def begin(connection: sa.Connection, *, now: datetime) -> int:
    """Fill an empty history at once, or part 'every play' into listeners; returns rows written."""
    if not changes.waiting(connection, "plays")[1]:
        return 0
    connection.execute(_LOCK)
    if not is_empty(connection, "listening_history"):
        connection.execute(_ONE_BY_ONE)
        return 0
    if is_empty(connection, "plays"):
        for kind in ("plays", "added"):
            changes.take_all(connection, kind)
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

    First those whose plays have to be read again; where all of a listener's are, a listener is
    taken for 100 pairs.

    Returns
    -------
    How many were taken (0: none is left), and how many rows of history changed.
    """
    make_room(connection)
    # A play that is added meanwhile waits for the end of this batch, instead of having its newer
    # aggregate overwritten.
    connection.execute(_LOCK)
    connection.execute(_IS_BUILD)
    columns = "user_id, track_id"
    taken = changes.take(connection, "listener", columns, "asked", most=1 + most // 100)
    if not taken:
        taken = changes.take(connection, "plays", columns, "asked", most=most)
    work: tuple[str, ...] = _READ_AGAIN
    if not taken:
        taken, work = _take_added(connection, most), _ADD
    if not taken:
        return 0, 0
    for statement in (*_NO_FRESH, *work):
        connection.execute(sa.text(statement))
    # The lock keeps rows where they were found.
    changed = connection.execute(_GONE).rowcount
    changed += connection.execute(_CHANGED, {"now": now}).rowcount
    changed += connection.execute(_NEW, {"now": now}).rowcount
    connection.execute(_GENRES)
    connection.execute(_LISTENERS)
    if connection.scalar(_FEWER):
        changes.note(connection, "counts")
    elif not any(changes.waiting(connection, kind)[0] for kind in ("counts", "ranks")):
        popular.refresh_with(connection)
    return taken, changed


def _take_added(connection: sa.Connection, most: int) -> int:
    """Move up to `most` sums into the temporary table `added`; returns how many pairs they are."""
    for statement in _TAKE_ADDED[:-1]:
        connection.execute(sa.text(statement))
    return connection.execute(sa.text(_TAKE_ADDED[-1]), {"most": most}).rowcount
