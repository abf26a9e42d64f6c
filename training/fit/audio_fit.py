"""The fit of `audio_estimator`: ridge regression on genres, then shrinkage of artists' means."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from recommender.audio import FEATURES, FloatArray
from recommender.audio_estimator import AudioEstimator
from recommender.tracks import IndexArray

RIDGE = 10.0
"""In tracks: a genre of as many counts half."""
MOST_GENRES, FEWEST_TRACKS = 2_000, 5
LARGEST_SHRINKAGE = 1_000.0


@dataclass(frozen=True)
class Tags:
    """The raw genres of n tracks as numbers, so that parts of the tracks need not be read anew.

    Attributes
    ----------
    names
        The distinct genres, ascending.
    genre
        Places in `names`, track by track, each track's in the order given.
    ends
        (n + 1,) where a track's begin and end.

    Examples
    --------
    >>> tags = Tags.of([("rock", "folk"), (), ("folk",)])
    >>> tags.names, tags.genre.tolist(), tags.take(np.array([2, 1])).ends.tolist()
    (('folk', 'rock'), [1, 0, 0], [0, 1, 1])
    """

    names: tuple[str, ...]
    genre: IndexArray
    ends: IndexArray

    @classmethod
    def of(cls, genres: Sequence[Sequence[str]]) -> "Tags":
        """Give each genre of some tracks a number."""
        names = sorted({name for names in genres for name in names})
        place = {name: number for number, name in enumerate(names)}
        flat = np.array([place[name] for names in genres for name in names], dtype=np.int64)
        ends = np.cumsum([0, *map(len, genres)])
        return cls(tuple(names), flat, ends)

    def take(self, rows: IndexArray) -> "Tags":
        """Return these tracks alone."""
        begins, lengths = self.ends[rows], np.diff(self.ends)[rows]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(ends[-1]) + np.repeat(begins - ends[:-1], lengths)
        return Tags(self.names, self.genre[at], ends)

    @property
    def common(self) -> IndexArray:
        """The genres that most tracks have, ascending; of equals those that come first."""
        found, first = np.unique(self.genre, return_index=True)
        count = np.bincount(self.genre, minlength=len(self.names))[found]
        order = np.lexsort((first, -count))[:MOST_GENRES]
        return np.sort(found[order][count[order] >= FEWEST_TRACKS])

    def design(self, known: IndexArray) -> csr_matrix:
        """Return (n, known): 1 / (number of a track's known genres) in their columns."""
        place = np.full(len(self.names), -1, dtype=np.int64)
        place[known] = np.arange(len(known))
        tracks, width = len(self.ends) - 1, max(1, len(known))
        track, column = np.repeat(np.arange(tracks), np.diff(self.ends)), place[self.genre]
        # A track that names a genre twice has it once.
        track, column = np.divmod(np.unique((track * width + column)[column >= 0]), width)
        count = np.bincount(track, minlength=tracks)
        ends = np.concatenate([[0], np.cumsum(count)])
        return csr_matrix((1 / count[track], column, ends), shape=(tracks, len(known)))


def fit(audio: FloatArray, artist: IndexArray, genres: Sequence[Sequence[str]]) -> AudioEstimator:
    """Fit to tracks whose audio is known: see `fit_tagged`."""
    return fit_tagged(audio, artist, Tags.of(genres))


def fit_tagged(audio: FloatArray, artist: IndexArray, tags: Tags) -> AudioEstimator:
    """Fit to tracks whose audio is known.

    Genres: x is 1 / (number of the track's known genres) in the columns of these; coefficients
    minimise sum (y - b0 - x b)^2 + RIDGE |b|^2, feature by feature, over tracks that have it.
    Artists: k = variance of the residuals within artists / variance between them (one-way analysis
    of variance): a mean of k tracks is worth as much as the genre.
    """
    known = tags.common
    x = tags.design(known)
    features = len(FEATURES)
    coefficients, intercept = np.zeros((len(known), features)), np.zeros(features)
    shrinkage = np.zeros(features)
    systems: dict[bytes, _System] = {}  # most often every track has all features: one system
    for f in range(features):
        has = ~np.isnan(audio[:, f])
        y = audio[has, f]
        if not len(y):
            intercept[f], shrinkage[f] = 0.5, LARGEST_SHRINKAGE
            continue
        which = np.packbits(has).tobytes()
        system = systems[which] = systems.get(which) or _System.of(x[has])
        mean_y = y.mean()
        coefficients[:, f] = np.linalg.solve(system.normal, system.x.T @ (y - mean_y))
        intercept[f] = mean_y - system.mean @ coefficients[:, f]
        residual = y - intercept[f] - system.x @ coefficients[:, f]
        shrinkage[f] = _shrinkage(residual, artist[has])
    names = tuple(tags.names[genre] for genre in known.tolist())
    return AudioEstimator(names, coefficients, intercept, shrinkage)


@dataclass(frozen=True)
class _System:
    """What the equations of features of the same tracks share."""

    x: csr_matrix
    mean: FloatArray
    normal: FloatArray

    @classmethod
    def of(cls, x: csr_matrix) -> "_System":
        mean = np.asarray(x.mean(axis=0)).ravel()
        normal = (x.T @ x).toarray() - x.shape[0] * np.outer(mean, mean)
        return cls(x, mean, normal + RIDGE * np.eye(x.shape[1]))


def _shrinkage(residual: FloatArray, artist: IndexArray) -> float:
    """Return within / between, from the mean squares of a one-way analysis of variance.

    Examples
    --------
    Two artists at -1 and 1, their tracks .1 around: within .02, between (4 - .02) / 2.

    >>> residual = np.array([-1.1, -0.9, 0.9, 1.1])
    >>> round(_shrinkage(residual, np.array([0, 0, 1, 1])), 3)
    0.01
    """
    _, group, count = np.unique(artist, return_inverse=True, return_counts=True)
    groups, n = len(count), len(residual)
    if groups < 2 or n == groups:
        return LARGEST_SHRINKAGE
    mean = np.bincount(group, residual) / count
    within = float(((residual - mean[group]) ** 2).sum() / (n - groups))
    between_square = float((count * (mean - residual.mean()) ** 2).sum() / (groups - 1))
    typical = (n - float((count.astype(np.float64) ** 2).sum()) / n) / (groups - 1)
    between = (between_square - within) / typical
    if between <= 0:
        return LARGEST_SHRINKAGE
    return min(LARGEST_SHRINKAGE, within / between)


def artist_means(
    audio: FloatArray, artist: IndexArray, wanted: IndexArray
) -> tuple[FloatArray, IndexArray]:
    """Return the mean audio of each wanted artist (m, 7) and over how many tracks (m,)."""
    size = int(max(artist.max(initial=0), wanted.max(initial=0))) + 1
    tracks = np.bincount(artist, minlength=size)
    means = np.full((size, audio.shape[1]), np.nan)
    for f in range(audio.shape[1]):
        has = ~np.isnan(audio[:, f])
        count = np.bincount(artist[has], minlength=size)
        total = np.bincount(artist[has], audio[has, f], minlength=size)
        means[count > 0, f] = total[count > 0] / count[count > 0]
    return means[wanted], tracks[wanted].astype(np.int64)
