"""Audio features for tracks that have none, looked for in order of trust.

| trust | where | kept as |
|---|---|---|
| 1 | the source that told of the track | what it is |
| 2 | the same recording under another id | a copy, with its source and whether it is trainable |
| 3 | Spotify, where the application may ask | source spotify, never trainable |
| 4 | the model audio_estimator | source audio_estimator, `estimated`, never trainable |
| 5 | nowhere | missing |

A better source takes the place of a worse one whenever it turns up.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from features.imports import merge
from recommender.audio import FEATURES, TEMPO, audio_rows
from recommender.audio_estimator import MODEL, AudioEstimator

SOURCE = MODEL
_COLUMNS = ("track_id", *FEATURES, "source", "trainable")
_ALL = (*FEATURES, "loudness", "liveness", "key", "mode")
_BATCH = 50_000

_FROM_RECORDINGS = sa.text(
    f"""
    INSERT INTO audio_features AS old (track_id, {", ".join(_ALL)}, source, trainable, updated_at)
    SELECT DISTINCT ON (t.track_id) t.track_id, {", ".join(f"a.{name}" for name in _ALL)},
           a.source, a.trainable AND twin.trainable AND t.trainable, CAST(:now AS timestamptz)
    FROM tracks t
    LEFT JOIN audio_features own ON own.track_id = t.track_id
    JOIN tracks twin ON coalesce(twin.canonical_id, twin.track_id)
                        = coalesce(t.canonical_id, t.track_id) AND twin.track_id <> t.track_id
    JOIN audio_features a ON a.track_id = twin.track_id AND NOT a.estimated
    WHERE own.track_id IS NULL OR own.estimated
    ORDER BY t.track_id, a.trainable DESC, twin.track_id COLLATE "C"
    ON CONFLICT (track_id) DO UPDATE
    SET {", ".join(f"{name} = excluded.{name}" for name in (*_ALL, "source", "trainable"))},
        updated_at = excluded.updated_at
    """  # noqa: S608 - the names are constants
)
_MISSING = sa.text(
    f"""
    SELECT t.track_id, t.genres, m.track_count, {", ".join(f"m.{name}" for name in FEATURES)}
    FROM tracks t
    LEFT JOIN audio_features a USING (track_id)
    LEFT JOIN artist_audio_features m USING (artist_key)
    WHERE (a.track_id IS NULL OR a.estimated) AND t.track_id > :after
    ORDER BY t.track_id LIMIT {_BATCH}
    """  # noqa: S608 - the names are constants
)
_WANTED = sa.text(
    """
    SELECT t.track_id FROM tracks t LEFT JOIN audio_features a USING (track_id)
    WHERE (a.track_id IS NULL OR a.estimated) AND t.track_id ~ '^[0-9A-Za-z]{22}$'
    ORDER BY t.popularity DESC NULLS LAST, t.track_id LIMIT :most
    """
)


@dataclass(frozen=True)
class Estimates:
    """How many tracks got an estimate that is new or changed, and how many cannot have one."""

    written: int
    missing: int


def copy_from_recordings(engine: sa.Engine, *, now: datetime) -> int:
    """Give tracks the audio features of the same recording under another id; return how many."""
    with engine.begin() as connection:
        return connection.execute(_FROM_RECORDINGS, {"now": now}).rowcount


def tracks_to_ask_for(engine: sa.Engine, most: int) -> list[str]:
    """Return the ids of tracks without audio features that may be Spotify's, the popular first."""
    with engine.connect() as connection:
        return list(connection.scalars(_WANTED, {"most": most}))


def write_estimates(engine: sa.Engine, estimator: AudioEstimator, *, now: datetime) -> Estimates:
    """Estimate what is still missing, and bring earlier estimates up to date."""
    written, missing, after = 0, 0, ""
    while True:
        with engine.begin() as connection:
            rows = connection.execute(_MISSING, {"after": after}).all()
            if not rows:
                return Estimates(written, missing)
            after = rows[-1][0]
            means = audio_rows(np.array([row[3:] for row in rows], dtype=np.float64))
            counts = np.array([row[2] or 0 for row in rows], dtype=np.int64)
            estimates = estimator.estimate(means, counts, [row[1] for row in rows]).round(4)
            estimates[:, TEMPO] = (50 + 150 * estimates[:, TEMPO]).round(2)
            unknown: list[bool] = np.isnan(estimates.sum(axis=1)).tolist()
            missing += sum(unknown)
            wanted: Iterable[tuple[object, ...]] = (
                (row[0], *values, SOURCE, False)
                for row, values, is_unknown in zip(rows, estimates.tolist(), unknown, strict=True)
                if not is_unknown
            )
            changed = merge(connection, "audio_features", _COLUMNS, wanted, key="track_id", now=now)
            written += len(changed)
