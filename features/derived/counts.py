"""What listeners and tracks add up to, counted anew: when something was taken away or moved."""

import sqlalchemy as sa

from features.bulk import is_empty, keys_aside, make_room
from features.derived import changes, popular
from recommender.genres import OTHER

_COUNTED = sa.text("UPDATE listening_history SET counted = play_count WHERE counted <> play_count")
_IS_BUILD = sa.text("SELECT set_config('bondhu.is_build', 'on', true)")
_LOCK = sa.text("LOCK TABLE listening_history IN SHARE ROW EXCLUSIVE MODE")

_GENRES = f"""
    SELECT h.user_id, coalesce(t.category, '{OTHER}') AS category, sum(h.play_count) AS plays
    FROM listening_history h JOIN tracks t USING (track_id) GROUP BY 1, 2
    """  # noqa: S608 - a constant
_LISTENERS = """
    SELECT track_id, count(*) AS listeners, sum(play_count) AS plays
    FROM listening_history GROUP BY track_id
    """
_INSTEAD = (
    f"CREATE TEMP TABLE by_genre ON COMMIT DROP AS {_GENRES}",
    "ANALYZE by_genre",
    """
    UPDATE listener_genres g SET plays = 0 WHERE plays <> 0 AND NOT EXISTS
        (SELECT FROM by_genre n WHERE n.user_id = g.user_id AND n.category = g.category)
    """,
    """
    INSERT INTO listener_genres AS g (user_id, category, plays) SELECT * FROM by_genre
    ON CONFLICT (user_id, category) DO UPDATE SET plays = excluded.plays
    WHERE g.plays <> excluded.plays
    """,
    f"CREATE TEMP TABLE by_track ON COMMIT DROP AS {_LISTENERS}",
    "ANALYZE by_track",
    """
    DELETE FROM track_listeners l WHERE NOT EXISTS
        (SELECT FROM by_track n WHERE n.track_id = l.track_id)
    """,
    """
    INSERT INTO track_listeners AS l (track_id, listeners, plays) SELECT * FROM by_track
    ON CONFLICT (track_id) DO UPDATE SET listeners = excluded.listeners, plays = excluded.plays
    WHERE (l.listeners, l.plays) <> (excluded.listeners, excluded.plays)
    """,
)

_UNDATED = f"""
    SELECT p.user_id, coalesce(m.category, '{OTHER}') AS category,
           sum(p.play_count)::bigint AS plays
    FROM artist_plays p LEFT JOIN artist_audio_features m USING (artist_key)
    WHERE :everything OR p.user_id IN (SELECT user_id FROM asked) GROUP BY 1, 2
    """  # noqa: S608 - a constant
_UNDATED_GONE = """
    UPDATE listener_genres g SET undated_plays = 0
    WHERE undated_plays <> 0 AND (:everything OR g.user_id IN (SELECT user_id FROM asked))
      AND NOT EXISTS (SELECT FROM undated n WHERE n.user_id = g.user_id AND n.category = g.category)
    """
_UNDATED_CHANGED = """
    INSERT INTO listener_genres AS g (user_id, category, undated_plays) SELECT * FROM undated
    ON CONFLICT (user_id, category) DO UPDATE SET undated_plays = excluded.undated_plays
    WHERE g.undated_plays <> excluded.undated_plays
    """
_NOTHING_LEFT = sa.text("DELETE FROM listener_genres WHERE plays = 0 AND undated_plays = 0")


def refresh(connection: sa.Connection) -> bool:
    """Count listener_genres and track_listeners, and rank popular_tracks, if that is asked for.

    Returns
    -------
    Whether it was.
    """
    ranks = changes.take_all(connection, "ranks")
    if not changes.waiting(connection, "counts")[0]:
        if ranks:
            popular.refresh(connection)
        return ranks > 0
    make_room(connection)
    connection.execute(_LOCK)
    changes.take_all(connection, "counts")
    connection.execute(_IS_BUILD)
    connection.execute(_COUNTED)
    if is_empty(connection, "listener_genres") and is_empty(connection, "track_listeners"):
        with keys_aside(connection, "listener_genres"):
            connection.execute(
                sa.text(f"INSERT INTO listener_genres (user_id, category, plays) {_GENRES}")
            )
        with keys_aside(connection, "track_listeners"):
            connection.execute(sa.text(f"INSERT INTO track_listeners {_LISTENERS}"))
    else:
        for statement in _INSTEAD:
            connection.execute(sa.text(statement))
        connection.execute(_NOTHING_LEFT)
    popular.refresh(connection)
    return True


def refresh_undated(connection: sa.Connection) -> int:
    """Bring the undated part of listener_genres up to date; returns how many rows changed."""
    count, everything = changes.waiting(connection, "undated")
    if not count:
        return 0
    changes.take(connection, "undated", "user_id", "asked", most=count)
    which = {"everything": everything}
    connection.execute(sa.text(f"CREATE TEMP TABLE undated ON COMMIT DROP AS {_UNDATED}"), which)
    changed = connection.execute(sa.text(_UNDATED_GONE), which).rowcount
    changed += connection.execute(sa.text(_UNDATED_CHANGED)).rowcount
    connection.execute(_NOTHING_LEFT)
    return changed
