"""Tracks as arrays: what the core needs to judge many of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommender.audio import AudioArray, FloatArray
from recommender.genres import CATEGORY_SLUGS, OTHER
from recommender.keys import places
from recommender.personality import genre_terms
from recommender.qlearning import track_states

IndexArray = NDArray[np.int64]


UNKNOWN_DATE = np.iinfo(np.int64).min

TIE = 1e-6
"""What popularity adds where two tracks are worth the same."""


@dataclass(frozen=True)
class Tracks:
    """n tracks, column by column; row i of every column is the same track.

    Attributes
    ----------
    row
        (n,) int64, the track's row in its catalogue: what it is called in arrays.
    recording
        (n,) int64, the row of the one track that lists name for this recording; mostly `row`.
    audio
        (n, 7) float32 audio rows.
    artist
        (n,) int64, the artist's place in the catalogue's list of artists.
    popularity
        (n,) float64 in [0, 1], NaN where the source has none.
    category
        (n,) int64, a place in `CATEGORY_SLUGS`, -1 for none.
    genre_terms
        (n, 2, 5) bool: liked and avoided genres per trait, from `personality.genre_terms`.
    released
        (n,) int64 days since 1970-01-01, the smallest int64 where unknown.
    """

    row: IndexArray
    recording: IndexArray
    audio: AudioArray
    artist: IndexArray
    popularity: FloatArray
    category: IndexArray
    genre_terms: NDArray[np.bool_]
    released: IndexArray

    def __len__(self) -> int:
        """Return n."""
        return len(self.artist)

    def take(self, rows: IndexArray) -> "Tracks":
        """Return these rows, in the order asked."""
        return Tracks(
            self.row[rows],
            self.recording[rows],
            self.audio[rows],
            self.artist[rows],
            self.popularity[rows],
            self.category[rows],
            self.genre_terms[rows],
            self.released[rows],
        )

    def are_among(self, rows: IndexArray) -> NDArray[np.bool_]:
        """Return (n,) which tracks are recordings of these rows."""
        if not len(rows):
            return np.zeros(len(self), dtype=np.bool_)
        among: NDArray[np.bool_] = np.isin(self.recording, rows)
        return among

    @cached_property
    def fame(self) -> FloatArray:
        """(n,) popularity, 0 where it is unknown."""
        return np.nan_to_num(self.popularity, nan=0.0)

    @cached_property
    def newness(self) -> FloatArray:
        """(n,) days since 1970-01-01 of the release, those of a day by `fame`; -inf if unknown."""
        dated = self.released != UNKNOWN_DATE
        return np.where(dated, self.released + TIE * self.fame, -np.inf)

    @cached_property
    def directions(self) -> AudioArray | None:
        """(7, n) audio columns of length 1, side by side; None where features are missing."""
        length = np.sqrt((self.audio * self.audio).sum(axis=1))
        if not length.all() or np.isnan(length.sum()):
            return None
        return np.ascontiguousarray((self.audio / length[:, None]).T)

    @cached_property
    def states(self) -> tuple[list[str], IndexArray]:
        """The distinct halves of a state that tracks give, and each track's place among them."""
        return track_states(
            self.audio, [CATEGORY_SLUGS[c] if c >= 0 else OTHER for c in self.category.tolist()]
        )


@dataclass(frozen=True)
class Catalogue:
    """Every track that can be recommended, in the order of its id, with what to call things.

    Attributes
    ----------
    ids
        (n,) sorted UTF-8 bytes of fixed width: looked up by bisection, small, no objects.
    tracks
        The columns, row i belonging to ids[i].
    artist_keys
        Sorted fixed-width bytes; `Tracks.artist` points into it.
    genres
        Per track its normalised raw genres, the finest first.
    """

    ids: NDArray[np.bytes_]
    tracks: Tracks
    artist_keys: NDArray[np.bytes_]
    genres: Sequence[tuple[str, ...]]

    def __len__(self) -> int:
        """Return the number of tracks."""
        return len(self.ids)

    def rows_of(self, track_ids: Sequence[str]) -> IndexArray:
        """Return each id's row, -1 for an unknown id."""
        return places(self.ids, track_ids)

    def recordings_of(self, track_ids: Sequence[str]) -> IndexArray:
        """Return the canonical rows of these tracks, ascending and none twice; unknown ids drop."""
        if not track_ids:
            return np.empty(0, dtype=np.int64)
        rows = self.rows_of(track_ids)
        return np.unique(self.tracks.recording[rows[rows >= 0]])

    def artists_of(self, artist_keys: Sequence[str]) -> IndexArray:
        """Return each artist's place, -1 for an artist with no track here."""
        return places(self.artist_keys, artist_keys)

    def id_of(self, row: int) -> str:
        """Return the id of a row."""
        return bytes(self.ids[row]).decode()

    def ids_of(self, rows: IndexArray) -> list[str]:
        """Return the ids of some rows."""
        return [one.decode() for one in self.ids[rows].tolist()]

    def warm(self) -> None:
        """Work out what is kept of the catalogue, so that no first caller waits for it."""
        _ = self.tracks.states, self.is_canonical, self.by_release, self.by_artist
        _ = self.by_genre, self.by_category

    @cached_property
    def by_artist(self) -> tuple[IndexArray, IndexArray]:
        """Rows, an artist's together and the most popular first, and where each artist starts."""
        return self._grouped(self.tracks.artist, len(self.artist_keys))

    def rows_by(self, artists: IndexArray, *, most: int) -> IndexArray:
        """Return up to `most` rows of each of these artists, the most popular ones first."""
        rows, starts = self.by_artist
        spans = [rows[starts[a] : min(starts[a] + most, starts[a + 1])] for a in artists.tolist()]
        return np.concatenate(spans) if spans else rows[:0]

    @cached_property
    def canonical(self) -> IndexArray:
        """Rows that stand for their recording: one under many ids is one track of a list."""
        rows: IndexArray = np.unique(self.tracks.recording)
        return rows

    @cached_property
    def canonical_tracks(self) -> Tracks:
        """The columns of `canonical`: kept, since every list from a small catalogue judges them."""
        return self.tracks.take(self.canonical)

    @cached_property
    def is_canonical(self) -> NDArray[np.bool_]:
        """(n,), True for the rows of `canonical`."""
        is_canonical = np.zeros(len(self), dtype=np.bool_)
        is_canonical[self.canonical] = True
        return is_canonical

    @cached_property
    def by_release(self) -> IndexArray:
        """Dated rows from the newest to the oldest, those of a day by popularity."""
        popular = self.by_popularity
        released = self.tracks.released[popular]
        rows = popular[np.argsort(-released, kind="stable")]
        dated: IndexArray = rows[self.tracks.released[rows] != UNKNOWN_DATE]
        return dated

    @cached_property
    def genre_names(self) -> tuple[str, ...]:
        """Every genre that is some track's finest."""
        return tuple(sorted({genres[0] for genres in self.genres if genres}))

    @cached_property
    def genre(self) -> IndexArray:
        """(n,) each track's finest genre as a place in `genre_names`, -1 for none."""
        code = {name: place for place, name in enumerate(self.genre_names)}
        return np.array([code[g[0]] if g else -1 for g in self.genres], dtype=np.int64)

    @cached_property
    def canonical_genre(self) -> IndexArray:
        """`genre` of the rows of `canonical`."""
        return self.genre[self.canonical]

    @cached_property
    def by_genre(self) -> tuple[IndexArray, IndexArray]:
        """As `by_artist`, by finest genre."""
        return self._grouped(self.genre, len(self.genre_names))

    @cached_property
    def by_category(self) -> tuple[IndexArray, IndexArray]:
        """As `by_artist`, by category."""
        return self._grouped(self.tracks.category, len(CATEGORY_SLUGS))

    def _grouped(self, code: IndexArray, groups: int) -> tuple[IndexArray, IndexArray]:
        popular = self.by_popularity
        popular = popular[code[popular] >= 0]
        rows: IndexArray = popular[np.argsort(code[popular], kind="stable")]
        starts = np.searchsorted(code[rows], np.arange(groups + 1))
        return rows, starts.astype(np.int64)

    @cached_property
    def by_popularity(self) -> IndexArray:
        """Rows from the most popular to the least; ties and unknowns by id."""
        order: IndexArray = np.argsort(
            -np.nan_to_num(self.tracks.popularity, nan=-1), kind="stable"
        )
        return order


def build_tracks(
    *,
    audio: AudioArray,
    artist: IndexArray,
    popularity: FloatArray,
    category: Sequence[str | None],
    genres: Sequence[tuple[str, ...]],
    released: IndexArray,
    recording: IndexArray | None = None,
) -> Tracks:
    """Return `Tracks` from columns in which categories and genres are still words.

    Without `recording`, every track is its own.
    """
    row = np.arange(len(artist), dtype=np.int64)
    code = {name: place for place, name in enumerate(CATEGORY_SLUGS)}
    return Tracks(
        row=row,
        recording=row if recording is None else recording,
        audio=audio,
        artist=artist,
        popularity=popularity,
        category=np.array([code.get(c or "", -1) for c in category], dtype=np.int64),
        genre_terms=genre_terms(genres),
        released=released,
    )
