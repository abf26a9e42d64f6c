"""The fit of `audio_estimator`: ridge regression on genres, then shrinkage of artists' means."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from recommender.audio import FEATURES, FloatArray
from recommender.audio_estimator import AudioEstimator
from recommender.tracks import IndexArray

RIDGE = 10.0
"""In tracks: a genre of as many counts half."""
MOST_GENRES, FEWEST_TRACKS = 2_000, 5
LARGEST_SHRINKAGE = 1_000.0


def fit(audio: FloatArray, artist: IndexArray, genres: Sequence[Sequence[str]]) -> AudioEstimator:
    """Fit to tracks whose audio is known.

    Genres: x is 1 / (number of the track's known genres) in the columns of these; coefficients
    minimise sum (y - b0 - x b)^2 + RIDGE |b|^2, feature by feature, over tracks that have it.
    Artists: k = variance of the residuals within artists / variance between them (one-way analysis
    of variance): a mean of k tracks is worth as much as the genre.
    """
    counted = Counter(name for names in genres for name in names)
    named = [name for name, n in counted.most_common(MOST_GENRES) if n >= FEWEST_TRACKS]
    known = tuple(sorted(named))
    x = _design(genres, known)
    features = len(FEATURES)
    coefficients, intercept = np.zeros((len(known), features)), np.zeros(features)
    shrinkage = np.zeros(features)
    for f in range(features):
        has = ~np.isnan(audio[:, f])
        y = audio[has, f]
        if not len(y):
            intercept[f], shrinkage[f] = 0.5, LARGEST_SHRINKAGE
            continue
        inside = x[has]
        mean_x, mean_y = np.asarray(inside.mean(axis=0)).ravel(), y.mean()
        normal = (inside.T @ inside).toarray() - len(y) * np.outer(mean_x, mean_x)
        normal += RIDGE * np.eye(len(known))
        coefficients[:, f] = np.linalg.solve(normal, inside.T @ (y - mean_y))
        intercept[f] = mean_y - mean_x @ coefficients[:, f]
        residual = y - intercept[f] - inside @ coefficients[:, f]
        shrinkage[f] = _shrinkage(residual, artist[has])
    return AudioEstimator(known, coefficients, intercept, shrinkage)


def _design(genres: Sequence[Sequence[str]], known: Sequence[str]) -> csr_matrix:
    place = {name: column for column, name in enumerate(known)}
    columns, shares, ends = list[int](), list[float](), [0]
    for names in genres:
        found = sorted({place[name] for name in names if name in place})
        columns += found
        shares += [1 / len(found) for _ in found]
        ends.append(len(columns))
    return csr_matrix((shares, columns, ends), shape=(len(genres), len(known)))


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
