"""A world for a night: generated listening up to yesterday, and as many rows of feedback.

Every listener said something lately, so that tomorrow's first list is due for all of them: the
worst case of a night.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from benchmarks.generated.listening import COLUMNS, Size, plays, write, write_world
from features.imports import append_file, one_at_a_time
from features.sources.interactions import import_interactions

YEAR = timedelta(days=365)
KINDS = ("play", "skip", "like", "play", "dislike", "play")
"""Of feedback, drawn alike: half of it says that a track was played."""
CSV = "(FORMAT csv)"
_CHUNK = 100_000


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
    said = folder / "interactions.csv"
    with said.open("w", encoding="utf-8") as file:
        file.writelines(_feedback(rng, size, until))
    import_interactions(engine, said, now=until)
    for path in (*files.values(), said):
        path.unlink()


def _feedback(rng: np.random.Generator, size: Size, until: datetime) -> Iterator[str]:
    """Yield lines: each listener says as much as any other, of tracks that many play."""
    yield "user_id,track_id,feedback_type,occurred_at,listen_duration_ms,track_duration_ms\n"
    last = until - timedelta(days=1)
    for start in range(0, size.plays, _CHUNK):
        n = min(_CHUNK, size.plays - start)
        track = (size.tracks * rng.random(n) ** 2.5).astype(np.int64)
        kind = rng.integers(len(KINDS), size=n)
        ago = rng.uniform(0, YEAR.total_seconds(), size=n)
        heard = rng.integers(5_000, 200_000, size=n)
        for i in range(n):
            at = (last - timedelta(seconds=float(ago[i]))).isoformat(timespec="milliseconds")
            yield (
                f"listener-{(start + i) % size.listeners:06d},generated-track-{track[i]:07d},"
                f"{KINDS[kind[i]]},{at},{heard[i]},200000\n"
            )
