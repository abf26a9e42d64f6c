"""One recording under many ids: which track stands for it.

One recording is the same ISRC, or else the same artist and title in a run of durations in which no
neighbours lie more than 2 s apart. Its canonical track is the most popular, then the first by id.
"""

import sqlalchemy as sa

_STATEMENT = """
    WITH keyed AS (
        SELECT track_id, popularity, duration_ms,
               CASE WHEN isrc IS NOT NULL THEN 'isrc ' || isrc
                    ELSE artist_key || ' ' || title_key END AS name,
               isrc IS NULL AND duration_ms IS NULL AS is_alone
        FROM {tracks} WHERE isrc IS NOT NULL OR title_key IS NOT NULL
    ), steps AS (
        SELECT *, CASE WHEN name LIKE 'isrc %' THEN 0
                       WHEN is_alone THEN 1
                       ELSE (duration_ms - lag(duration_ms) OVER by_name > 2000)::int END AS is_new
        FROM keyed WINDOW by_name AS (PARTITION BY name, is_alone ORDER BY duration_ms, track_id)
    ), runs AS (
        SELECT *, sum(coalesce(is_new, 0)) OVER (PARTITION BY name, is_alone
                                                 ORDER BY duration_ms, track_id) AS run
        FROM steps
    ), chosen AS (
        SELECT track_id, first_value(track_id) OVER (
            PARTITION BY name, is_alone, run
            ORDER BY popularity DESC NULLS LAST, track_id COLLATE "C") AS canonical_id
        FROM runs
    )
    UPDATE tracks t SET canonical_id = nullif(c.canonical_id, t.track_id)
    FROM chosen c
    WHERE c.track_id = t.track_id
      AND t.canonical_id IS DISTINCT FROM nullif(c.canonical_id, t.track_id)
    """
_ALL = sa.text(_STATEMENT.format(tracks="tracks"))
# Whole groups: every track that shares an ISRC, or artist and title, with one that changed.
_CHANGED = sa.text(
    _STATEMENT.format(
        tracks="""(
            SELECT t.* FROM tracks t
            WHERE isrc IN (SELECT isrc FROM changed WHERE isrc IS NOT NULL)
            UNION ALL
            SELECT t.* FROM tracks t
            JOIN (SELECT DISTINCT artist_key, title_key FROM changed) c
                USING (artist_key, title_key)
            WHERE t.isrc IS NULL
        ) affected"""
    )
)
_NAMELESS = sa.text(
    "UPDATE tracks SET canonical_id = NULL"
    " WHERE isrc IS NULL AND title_key IS NULL AND canonical_id IS NOT NULL"
    " AND (:everything OR track_id IN (SELECT track_id FROM changed))"
)
# Tells the trigger on tracks, until the transaction ends, that what it would look for is not there.
_ONLY_CANONICAL = sa.text("SELECT set_config('bondhu.only_canonical', :is, true)")


def refresh(connection: sa.Connection, *, everything: bool) -> int:
    """Choose canonical tracks anew; returns how many tracks got another one.

    The temporary table `changed` has the tracks that changed, as they were and as they are.
    """
    connection.execute(_ONLY_CANONICAL, {"is": "on"})
    renamed = connection.execute(_NAMELESS, {"everything": everything}).rowcount
    renamed += connection.execute(_ALL if everything else _CHANGED).rowcount
    connection.execute(_ONLY_CANONICAL, {"is": "off"})
    return renamed
