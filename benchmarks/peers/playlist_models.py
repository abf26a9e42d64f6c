"""Peers that continue a playlist; each returns (tracks,) scores for one playlist."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Known:
    """What all peers know: training playlists, and every track's artist, audio and popularity.

    Attributes
    ----------
    membership
        (playlists, tracks) 0 or 1, the training playlists alone.
    artist
        (tracks,) codes.
    subgenre
        (playlists, subgenres) 0 or 1.
    audio
        (tracks, f) standardised.
    popularity
        (tracks,) in [0, 1], the source's own.
    """

    membership: NDArray[np.float32]
    artist: Rows
    subgenre: NDArray[np.float32]
    audio: NDArray[np.float32]
    popularity: Floats

    def __post_init__(self) -> None:
        """Work out what all playlists share."""
        artists = int(self.artist.max()) + 1
        by_artist = np.zeros((len(self.membership), artists), dtype=np.float32)
        for row, tracks in enumerate(self.membership):
            np.add.at(by_artist[row], self.artist[tracks > 0], 1)
        shared = {
            "by_artist": by_artist,
            "has_artist": (by_artist > 0).astype(np.float32),
            "counts": self.membership.sum(axis=0),
            "subgenres_of_artist": by_artist.T @ self.subgenre,
        }
        for name, value in shared.items():
            object.__setattr__(self, name, value)

    by_artist: NDArray[np.float32] = None  # type: ignore[assignment]
    has_artist: NDArray[np.float32] = None  # type: ignore[assignment]
    counts: NDArray[np.float32] = None  # type: ignore[assignment]
    subgenres_of_artist: NDArray[np.float32] = None  # type: ignore[assignment]


def artist_cooccurrence(
    known: Known, seen: Rows, *, damping: float, own: float, tie: float
) -> Floats:
    """Return sum over the seen artists of (playlists with both) / (playlists with c's)^damping.

    `own` is what a seen track of the same artist adds, in units of the largest sum; `tie` times the
    source's popularity orders an artist's tracks.
    """
    mine = np.bincount(known.artist[seen], minlength=known.by_artist.shape[1]).astype(np.float32)
    with_both = known.has_artist.T @ (known.has_artist @ np.minimum(mine, 1))
    score = with_both / np.maximum(known.has_artist.sum(axis=0), 1) ** damping
    score = score / max(float(score.max()), 1e-9) + own * np.log1p(mine)
    result: Floats = (score[known.artist] + tie * known.popularity).astype(np.float64)
    return result


def artist_and_subgenre(
    known: Known,
    seen: Rows,
    subgenre: NDArray[np.float32],
    *,
    share: float,
    damping: float,
    own: float,
    tie: float,
) -> Floats:
    """Return `artist_cooccurrence` + share x ln(1 + training tracks of the artist in it)."""
    inside = known.subgenres_of_artist @ (subgenre / max(float(subgenre.sum()), 1))
    artists = artist_cooccurrence(known, seen, damping=damping, own=own, tie=tie)
    return artists + share * np.log1p(inside)[known.artist]


def track_knn(known: Known, seen: Rows, *, shrink: float, power: float) -> Floats:
    """Return the sum over seen tracks of (playlists with both) / ((n_i n_j)^power + shrink)."""
    x = known.membership
    with_both = x[:, seen].T @ x
    n = known.counts
    similarity = with_both / np.maximum((n[seen][:, None] * n[None]) ** power + shrink, 1e-9)
    return np.asarray(similarity.sum(axis=0), dtype=np.float64)


def audio_neighbours(known: Known, seen: Rows, *, nearest: int, tie: float) -> Floats:
    """Return minus the mean distance to the `nearest` seen tracks (0: all), standardised audio."""
    x, y = known.audio, known.audio[seen]
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * (x @ y.T)
    distance = np.sqrt(np.maximum(squares, 0))
    if nearest and nearest < len(seen):
        distance = np.partition(distance, nearest - 1, axis=1)[:, :nearest]
    result: Floats = (tie * known.popularity - distance.mean(axis=1)).astype(np.float64)
    return result
