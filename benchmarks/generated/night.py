"""A world for a night: generated listening up to yesterday, as many rows of feedback and of lists.

A tenth of the feedback names a list. Every listener said something lately, so that tomorrow's first
list is due for all of them: the worst case of a night.
"""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from benchmarks.generated.feedback import KIND, said
from benchmarks.generated.listening import COLUMNS, Size, plays, write, write_world
from features.imports import append_file, one_at_a_time
from recommender.components import KEYS

YEAR = timedelta(days=365)
CSV = "(FORMAT csv)"

PLACES = 50
SAID_OF = 5
"""Of a list's places, so many are answered."""
SHOWN_DAYS = 30
TRACK = "'generated-track-' || lpad(floor(:tracks * {0})::int::text, 7, '0')"
_LISTENER = "'listener-' || lpad((n % :listeners)::text, 6, '0')"
_COMPONENTS = ", ".join(f"'{key}', round(random()::numeric, 4)" for key in KEYS)

# Lists of a month that have had their time to be answered; every fifth place is explored.
_IMPRESSIONS = sa.text(
    f"""
    WITH lists AS MATERIALIZED (
        SELECT gen_random_uuid() AS id, {_LISTENER} AS user_id,
               CAST(:until AS timestamptz) - interval '3 days'
                   - random() * interval '{SHOWN_DAYS} days' AS at
        FROM generate_series(0, CAST(:lists AS bigint) - 1) AS n
    )
    INSERT INTO music_recommendations (recommendation_id, user_id, position, track_id, score,
        components, rl_adjustment, propensity, policy, model_versions, state, created_at)
    SELECT id, user_id, place, {TRACK.format(f"(place - 1 + random()) / {PLACES}")}, 0.5,
           jsonb_build_object({_COMPONENTS}), 0,
           CASE place % 5 WHEN 0 THEN 0.02 + 0.48 * random() ELSE 1 END,
           'thompson:0.2', '{{"scorer": 1}}', 'generated', at
    FROM lists, generate_series(1, {PLACES}) AS place
    """  # noqa: S608 - constants
)
# Each listener says as much as any other of tracks that many play; and of some places of their
# lists, where they like what suits them.
_FEEDBACK = said(
    f"""
    SELECT user_id, row_number() OVER (PARTITION BY user_id ORDER BY at, track_id) AS episode,
           track_id, kind, at, recommendation_id, position
    FROM (
        SELECT {_LISTENER} AS user_id, {TRACK.format("power(random(), 2.5)")} AS track_id,
               {KIND} AS kind,
               CAST(:until AS timestamptz) - interval '1 year'
                   * (1 - n::float8 / CAST(:n AS bigint)) - interval '1 hour' AS at,
               CAST(NULL AS uuid) AS recommendation_id, CAST(NULL AS smallint) AS position
        FROM generate_series(0, CAST(:n AS bigint) - 1) AS n
        UNION ALL
        SELECT user_id, track_id,
               CASE WHEN random() < (components ->> 'personality')::float8
                    THEN 'like' ELSE 'skip' END,
               created_at + random() * interval '1 day', recommendation_id, position
        FROM music_recommendations
        WHERE (position + get_byte(uuid_send(recommendation_id), 0)) % {PLACES // SAID_OF} = 0
    ) events
    """  # noqa: S608 - constants
)


def load_night(engine: sa.Engine, folder: Path, size: Size, *, until: datetime, seed: int) -> None:
    """Load tracks, listeners, a year of plays before `until`, as many rows of feedback, and lists.

    Lists have as many places in all, what .6 lists of a listener and day come to in three days.
    """
    files = write_world(folder, size, seed=seed)
    rng = np.random.default_rng([seed, 2])
    since_ms = int((until - YEAR).timestamp() * 1000)
    files["plays"] = write(
        folder / "plays.csv", "plays", plays(rng, size, size.plays, since_ms=since_ms)
    )
    with one_at_a_time(engine) as connection:
        for name, path in files.items():
            with path.open("rb") as file:
                append_file(connection, name, COLUMNS[name], file, CSV)
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL work_mem = '256MB'"))
        asked = {"listeners": size.listeners, "tracks": size.tracks, "until": until}
        lists = size.plays // PLACES
        connection.execute(_IMPRESSIONS, asked | {"lists": lists})
        connection.execute(_FEEDBACK, asked | {"n": size.plays - lists * SAID_OF})
        connection.execute(sa.text("ANALYZE music_interactions, music_recommendations"))
    for path in files.values():
        path.unlink()
