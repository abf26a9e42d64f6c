"""A world for a night: generated listening up to yesterday, and as many rows of feedback.

Every listener said something lately, so that tomorrow's first list is due for all of them: the
worst case of a night.
"""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from benchmarks.generated.listening import COLUMNS, Size, plays, write, write_world
from features.imports import append_file, one_at_a_time
from recommender.qlearning import STATE_FEATURES, STATE_TRAITS

YEAR = timedelta(days=365)
CSV = "(FORMAT csv)"

_BANDS = "(ARRAY['low', 'med', 'high'])[1 + least(2, floor(3 * ({0}))::int)]"
_HALF = " || '|' || ".join(
    f"'{trait}_' || {_BANDS.format(f'w.{trait} / 100.0')}" for trait in STATE_TRAITS
)
_SOUND = " || '|' || ".join(
    f"'{name}_' || {_BANDS.format('(a.tempo - 50) / 150' if name == 'tempo' else f'a.{name}')}"
    for name in STATE_FEATURES
)
# Each listener says as much as any other, of tracks that many play; half of it is plays.
_FEEDBACK = sa.text(
    f"""
    INSERT INTO music_interactions (event_id, user_id, episode, track_id, feedback_type, reward,
        state, listen_duration_ms, track_duration_ms, occurred_at, received_at, source, trainable)
    SELECT gen_random_uuid(), s.user_id, s.episode, s.track_id, s.kind,
           CASE s.kind WHEN 'play' THEN 0.8 WHEN 'like' THEN 1 WHEN 'skip' THEN -0.35 ELSE -1 END,
           {_HALF} || '|' || {_SOUND} || '|genre_' || t.category,
           CASE s.kind WHEN 'play' THEN 180000 ELSE 20000 END, 200000, s.at, s.at, 'api', true
    FROM (
        SELECT 'listener-' || lpad((n % :listeners)::text, 6, '0') AS user_id,
               n / :listeners + 1 AS episode,
               'generated-track-' || lpad(floor(:tracks * power(random(), 2.5))::int::text, 7, '0')
                   AS track_id,
               (ARRAY['play', 'skip', 'like', 'play', 'dislike', 'play'])
                   [1 + floor(6 * random())::int] AS kind,
               CAST(:until AS timestamptz) - interval '1 year'
                   * (1 - n::float8 / CAST(:n AS bigint)) - interval '1 hour' AS at
        FROM generate_series(0, CAST(:n AS bigint) - 1) AS n
    ) s
    JOIN tracks t USING (track_id) JOIN audio_features a USING (track_id)
    JOIN personality_scores w ON w.user_id = s.user_id AND w.is_active
    """  # noqa: S608 - constants of recommender.qlearning
)


def load_night(engine: sa.Engine, folder: Path, size: Size, *, until: datetime, seed: int) -> None:
    """Load tracks, listeners, a year of plays before `until`, and as many rows of feedback."""
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
        asked = {"n": size.plays, "listeners": size.listeners, "tracks": size.tracks}
        connection.execute(_FEEDBACK, asked | {"until": until})
        connection.execute(sa.text("ANALYZE music_interactions"))
    for path in files.values():
        path.unlink()
