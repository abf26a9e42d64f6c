"""The catalogue as arrays: every track that can be recommended, read from Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from recommender.audio import FEATURES, audio_rows
from recommender.tracks import UNKNOWN_DATE, Catalogue, build_tracks

_BUILD = sa.text("SELECT coalesce(max(build_id), 0) FROM feature_builds")
_TRACKS = sa.text(
    f"""
    SELECT t.track_id, t.track_name, t.artist_name, t.artist_key, t.popularity, t.category,
           t.genres, t.duration_ms, t.release_date - DATE '1970-01-01', t.canonical_id,
           {", ".join(f"a.{f}" for f in FEATURES)}
    FROM tracks t LEFT JOIN audio_features a USING (track_id)
    ORDER BY t.track_id COLLATE "C"
    """  # noqa: S608 - the names are constants of recommender.audio
)


@dataclass(frozen=True)
class NamedCatalogue:
    """A catalogue with what a list shows of its tracks.

    Attributes
    ----------
    build_id
        The feature build that it was read at; it changes when the tables do.
    names, artists, durations_ms
        One entry per catalogue row; a duration may be None.
    """

    build_id: int
    catalogue: Catalogue
    names: Sequence[str]
    artists: Sequence[str]
    durations_ms: Sequence[int | None]

    def genre_of(self, row: int) -> str | None:
        """Return the finest genre of a track, None where none is known."""
        genres = self.catalogue.genres[row]
        return genres[0] if genres else None


def build_id(engine: sa.Engine) -> int:
    """Return the number of the latest feature build, 0 before the first."""
    with engine.connect() as connection:
        return int(connection.execute(_BUILD).scalar_one())


def load_catalogue(engine: sa.Engine) -> NamedCatalogue:
    """Read all tracks with their audio features, in the order of their ids' bytes."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        build = int(connection.execute(_BUILD).scalar_one())
        rows = connection.execute(_TRACKS).all()
    columns: list[Sequence] = list(zip(*rows, strict=True)) if rows else [()] * (10 + len(FEATURES))  # type: ignore[type-arg]
    ids, names, artists, keys, popularity, category, genres, durations, released = columns[:9]
    place = {track_id: row for row, track_id in enumerate(ids)}
    recording = [place.get(c, row) for row, c in enumerate(columns[9])]
    artist_keys, artist = np.unique(
        np.array([key.encode() for key in keys], dtype=np.bytes_), return_inverse=True
    )
    raw_genres = [tuple(g) for g in genres]
    tracks = build_tracks(
        audio=audio_rows(np.array(columns[10:], dtype=np.float64).T),
        artist=artist.astype(np.int64),
        popularity=np.array(popularity, dtype=np.float64) / 100.0,
        category=category,
        genres=raw_genres,
        recording=np.array(recording, dtype=np.int64),
        released=np.array([UNKNOWN_DATE if d is None else d for d in released], dtype=np.int64),
    )
    catalogue = Catalogue(
        ids=np.array([i.encode() for i in ids], dtype=np.bytes_),
        tracks=tracks,
        artist_keys=artist_keys,
        genres=raw_genres,
    )
    return NamedCatalogue(build, catalogue, names, artists, durations)
