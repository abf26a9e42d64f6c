"""Tracks with audio features that may be trained on, as the estimator sees them.

Estimates are never among them, nor rows that may not be trained on; those are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from recommender.audio import FEATURES, FloatArray, audio_rows
from recommender.tracks import IndexArray
from training.data.data_parts import Part, hash_of, part_of
from training.errors import NothingTrainableError

FEWEST = 50

_EXAMPLES = sa.text(
    f"""
    SELECT t.track_id, t.artist_key, t.genres, {", ".join(f"a.{f}" for f in FEATURES)}
    FROM tracks t JOIN audio_features a USING (track_id)
    WHERE t.trainable AND a.trainable AND NOT a.estimated
    ORDER BY t.track_id COLLATE "C"
    """  # noqa: S608 - the names are constants of recommender.audio
)
_REFUSED = sa.text(
    "SELECT 'audio_features from ' || a.source, count(*) FROM audio_features a"
    " JOIN tracks t USING (track_id) WHERE NOT (a.trainable AND t.trainable)"
    " GROUP BY a.source ORDER BY a.source"
)


@dataclass(frozen=True)
class AudioExamples:
    """n tracks.

    Attributes
    ----------
    audio
        (n, 7) float64 in [0, 1], NaN where a feature is not known.
    artist
        (n,) a number per artist.
    genres
        Of each track, the finest first.
    refused
        Where from -> rows that may not be used.
    parts
        The rows' number and hash.
    """

    track_ids: Sequence[str]
    audio: FloatArray
    artist: IndexArray
    genres: Sequence[tuple[str, ...]]
    refused: Mapping[str, int]
    parts: Mapping[str, Part]

    @property
    def sha256(self) -> str:
        """Of all rows."""
        return hash_of(self.parts)

    def __len__(self) -> int:
        """Return n."""
        return len(self.track_ids)


def read_examples(engine: sa.Engine) -> AudioExamples:
    """Read every track that may be used.

    Raises
    ------
    NothingTrainableError
        There are fewer than 50.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        rows = connection.execute(_EXAMPLES).all()
        refused = {str(name): int(n) for name, n in connection.execute(_REFUSED)}
    if len(rows) < FEWEST:
        counted = ", ".join(f"{n} {name}" for name, n in refused.items()) or "none"
        raise NothingTrainableError(
            f"{len(rows)} tracks with audio features may be trained on, {FEWEST} are needed"
            f" (refused: {counted}): import a catalogue"
        )
    _, artist = np.unique([row[1] for row in rows], return_inverse=True)
    return AudioExamples(
        track_ids=[row[0] for row in rows],
        audio=audio_rows([row[3:] for row in rows]).astype(np.float64),
        artist=artist.astype(np.int64),
        genres=[tuple(row[2]) for row in rows],
        refused=refused,
        parts={"audio_features": part_of(rows)},
    )
