"""The catalogue as arrays: every track that can be recommended, read from Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from features.texts import Texts
from recommender.audio import FEATURES, FloatArray, audio_rows
from recommender.tracks import UNKNOWN_DATE, Catalogue, IndexArray, build_tracks

_BUILD = sa.text("SELECT coalesce(max(build_id), 0) FROM feature_builds")
_TRACKS = sa.text(
    f"""
    SELECT t.track_id, t.track_name, t.artist_name, t.artist_key, t.popularity, t.category,
           t.genres, t.duration_ms, t.release_date - DATE '1970-01-01',
           coalesce(t.canonical_id, ''), {", ".join(f"a.{f}" for f in FEATURES)}
    FROM tracks t LEFT JOIN audio_features a USING (track_id)
    ORDER BY t.track_id COLLATE "C"
    """  # noqa: S608 - the names are constants of recommender.audio
)
_AT_ONCE = 2_000
"""Rows between the database and arrays: as objects they take ten times as much."""


@dataclass(frozen=True)
class NamedCatalogue:
    """A catalogue with what a list shows of its tracks.

    Attributes
    ----------
    build_id
        The feature build that it was read at; it changes when the tables do.
    names, artists
        One entry per catalogue row.
    durations_ms
        (n,) per catalogue row, 0 where unknown.
    """

    build_id: int
    catalogue: Catalogue
    names: Sequence[str]
    artists: Sequence[str]
    durations_ms: IndexArray

    def genre_of(self, row: int) -> str | None:
        """Return the finest genre of a track, None where none is known."""
        genres = self.catalogue.genres[row]
        return genres[0] if genres else None

    def duration_ms_of(self, row: int) -> int | None:
        """Return how long a track is, None where it is unknown."""
        return int(self.durations_ms[row]) or None


def build_id(engine: sa.Engine) -> int:
    """Return the number of the latest feature build, 0 before the first."""
    with engine.connect() as connection:
        return int(connection.execute(_BUILD).scalar_one())


@dataclass(frozen=True)
class _Part:
    """Some tracks, column by column."""

    ids: NDArray[np.bytes_]
    names: Texts
    artists: Texts
    artist_keys: NDArray[np.bytes_]
    popularity: FloatArray
    category: Sequence[str | None]
    genres: Sequence[tuple[str, ...]]
    durations: IndexArray
    released: IndexArray
    canonical: NDArray[np.bytes_]
    audio: FloatArray

    @classmethod
    def of(cls, rows: Sequence[sa.Row[tuple[object, ...]]], known: dict[object, object]) -> "_Part":
        """Return rows as columns; `known` holds each category and each set of genres once."""
        columns: list[Sequence] = list(zip(*rows, strict=True)) or [()] * (10 + len(FEATURES))  # type: ignore[type-arg]
        ids, names, artists, keys, popularity, category, genres, durations, released = columns[:9]
        each = known.setdefault
        return cls(
            _bytes(ids),
            Texts.of(names),
            Texts.of(artists),
            _bytes(keys),
            np.array(popularity, dtype=np.float64) / 100.0,
            [each(one, one) for one in category],  # type: ignore[misc]
            [each(one, one) for one in map(tuple, genres)],  # type: ignore[misc]
            np.array([one or 0 for one in durations], dtype=np.int64),
            np.array([UNKNOWN_DATE if d is None else d for d in released], dtype=np.int64),
            _bytes(columns[9]),
            np.array(columns[10:], dtype=np.float64).T,
        )


def _bytes(texts: Sequence[str]) -> NDArray[np.bytes_]:
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def load_catalogue(engine: sa.Engine) -> NamedCatalogue:
    """Read all tracks with their audio features, in the order of their ids' bytes."""
    known: dict[object, object] = {}
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        build = int(connection.execute(_BUILD).scalar_one())
        streamed = connection.execution_options(stream_results=True, max_row_buffer=_AT_ONCE)
        with streamed.execute(_TRACKS) as rows:
            parts = [_Part.of(some, known) for some in rows.partitions(_AT_ONCE)]
    parts = parts or [_Part.of([], known)]
    ids = np.concatenate([part.ids for part in parts])
    artist_keys, artist = np.unique(
        np.concatenate([part.artist_keys for part in parts]), return_inverse=True
    )
    genres = [one for part in parts for one in part.genres]
    tracks = build_tracks(
        audio=audio_rows(np.concatenate([part.audio for part in parts])),
        artist=artist.astype(np.int64),
        popularity=np.concatenate([part.popularity for part in parts]),
        category=[one for part in parts for one in part.category],
        genres=genres,
        recording=_recording(ids, np.concatenate([part.canonical for part in parts])),
        released=np.concatenate([part.released for part in parts]),
    )
    return NamedCatalogue(
        build,
        Catalogue(ids=ids, tracks=tracks, artist_keys=artist_keys, genres=genres),
        Texts.joined([part.names for part in parts]),
        Texts.joined([part.artists for part in parts]),
        np.concatenate([part.durations for part in parts]),
    )


def _recording(ids: NDArray[np.bytes_], canonical: NDArray[np.bytes_]) -> IndexArray:
    """Return the row of each track's canonical one: its own where there is none."""
    own = np.arange(len(ids), dtype=np.int64)
    if not len(ids):
        return own
    at = np.minimum(np.searchsorted(ids, canonical), len(ids) - 1)
    return np.where(ids[at] == canonical, at, own).astype(np.int64)
