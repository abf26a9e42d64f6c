"""A world for a night: generated listening up to yesterday, and as many rows of feedback.

Every listener said something lately, so that tomorrow's first list is due for all of them: the
worst case of a night.
"""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from benchmarks.generated.feedback import KIND, said
from benchmarks.generated.listening import COLUMNS, Size, plays, write, write_world
from features.imports import append_file, one_at_a_time

YEAR = timedelta(days=365)
CSV = "(FORMAT csv)"

# Each listener says as much as any other, of tracks that many play.
_FEEDBACK = said(
    f"""
    SELECT 'listener-' || lpad((n % :listeners)::text, 6, '0') AS user_id,
           n / :listeners + 1 AS episode,
           'generated-track-' || lpad(floor(:tracks * power(random(), 2.5))::int::text, 7, '0')
               AS track_id,
           {KIND} AS kind,
           CAST(:until AS timestamptz) - interval '1 year'
               * (1 - n::float8 / CAST(:n AS bigint)) - interval '1 hour' AS at
    FROM generate_series(0, CAST(:n AS bigint) - 1) AS n
    """  # noqa: S608 - a constant
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
