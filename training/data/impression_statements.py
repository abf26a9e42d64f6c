"""Which lists are drawn, and what stands in them, in SQL."""

import sqlalchemy as sa

from recommender.components import KEYS
from training.data.holdout import DRAW

_COMPONENTS = ", ".join(f"coalesce((r.components ->> '{key}')::float8, 0)" for key in KEYS)
_IN_WINDOW = """r.created_at >= :since
    AND r.created_at <= CAST(:until AS timestamptz) - make_interval(days => :days)"""
# Lists by their listener and moment, which are an index of their own, so that none is opened here.
# What a listener played is in the components: where a part of it may not be used, none of them may.
DRAWN = sa.text(
    f"""
    WITH closed AS (
        SELECT user_id, min(kind) AS kind FROM (
            SELECT user_id, 'plays from ' || source AS kind FROM plays WHERE NOT trainable
            UNION ALL
            SELECT user_id, 'artist_plays from ' || source FROM artist_plays WHERE NOT trainable
        ) parts GROUP BY user_id
    ), drawn AS MATERIALIZED (
        -- In the order of the hash, looking no further than needed. Listeners of whom nothing may
        -- be used come last: they are counted where there is place.
        SELECT u.user_id, u.closed, u.is_closed, u.draw
        FROM (SELECT user_id, c.kind AS closed, c.user_id IS NOT NULL AS is_closed,
                     {DRAW.format("user_id")} AS draw
              FROM users LEFT JOIN closed c USING (user_id) ORDER BY is_closed, draw) u,
             LATERAL (SELECT FROM music_recommendations r
                      WHERE r.user_id = u.user_id AND {_IN_WINDOW} LIMIT 1) was_shown_something
        ORDER BY u.is_closed, u.draw LIMIT :listeners
    )
    SELECT user_id, created_at, closed
    FROM (
        -- Everybody's latest first, then everybody's second ...: nobody's many lists take the
        -- places of others.
        SELECT user_id, created_at, closed,
               sum(places) OVER (ORDER BY is_closed, nth, draw) AS so_far
        FROM (
            SELECT d.user_id, d.closed, d.is_closed, d.draw, r.created_at, count(*) AS places,
                   row_number() OVER (PARTITION BY d.user_id ORDER BY r.created_at DESC) AS nth
            FROM drawn d JOIN music_recommendations r ON r.user_id = d.user_id AND {_IN_WINDOW}
            GROUP BY d.user_id, d.closed, d.is_closed, d.draw, r.created_at
        ) latest
    ) counted
    WHERE so_far <= :most
    """  # noqa: S608 - constants of this module and of holdout
)
FIRST = 10
"""Columns of the answer before the components."""
# Arrays, so that the server knows how many lists there are; what was said is looked up place by
# place, since no index and no guess leads from a list to it.
ROWS = sa.text(
    f"""
    WITH shown AS MATERIALIZED (
        SELECT r.recommendation_id, r.position, r.user_id, r.track_id, r.propensity, r.created_at,
               r.components, m.closed
        FROM unnest(CAST(:users AS text[]), CAST(:moments AS timestamptz[]),
                    CAST(:closed AS text[])) AS m (user_id, created_at, closed)
        JOIN music_recommendations r USING (user_id, created_at)
    ), lists AS MATERIALIZED (
        -- Lists made ahead that nobody got are none; once they have expired, cleaning removes them.
        SELECT s.recommendation_id, u.created_at AS joined,
               (SELECT min(p.played_at) FROM plays p WHERE p.user_id = s.user_id) AS first_played,
               (SELECT count(DISTINCT a.artist_key) FROM artist_plays a
                WHERE a.user_id = s.user_id AND a.imported_at < s.created_at) AS undated
        FROM (SELECT DISTINCT recommendation_id, user_id, created_at FROM shown) s
        JOIN users u USING (user_id)
        WHERE NOT coalesce((SELECT was_never_shown(c.recommendation_id, c.user_id, c.servings)
                            FROM recommendations_cache c
                            WHERE c.recommendation_id = s.recommendation_id), false)
    )
    SELECT r.user_id, CAST(r.recommendation_id AS text), r.position, r.propensity, r.created_at,
           l.joined, l.first_played, l.undated, said.reward,
           CASE WHEN NOT t.trainable THEN 'tracks from ' || t.source
                WHEN NOT (coalesce(a.trainable, true) OR a.estimated)
                    THEN 'audio_features from ' || a.source
                ELSE coalesce(said.kind, r.closed) END AS barred,
           {_COMPONENTS}
    FROM shown r
    JOIN lists l USING (recommendation_id)
    JOIN tracks t USING (track_id)
    LEFT JOIN audio_features a USING (track_id)
    CROSS JOIN LATERAL (
        SELECT sum(i.reward) AS reward,
               min('music_interactions from ' || i.source) FILTER (WHERE NOT i.trainable) AS kind
        FROM music_interactions i
        WHERE i.user_id = r.user_id AND i.track_id = r.track_id
          AND i.recommendation_id = r.recommendation_id AND i.received_at > r.created_at
          AND i.received_at <= r.created_at + make_interval(days => :days)
    ) said
    ORDER BY r.user_id COLLATE "C", r.created_at, r.recommendation_id, r.position
    """  # noqa: S608 - the names are constants of recommender.components
)
# An answer of which all is read: without it a cursor's plan is made for its first tenth.
ALL_OF_IT = sa.text("SET LOCAL cursor_tuple_fraction = 1")
