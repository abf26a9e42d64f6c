"""Calibration of the score: which probability of being found a score stands for.

A score ranks; it is no probability. A logistic curve from score to probability, fitted to one half
of the test listeners and read for the other, says what is promised; how often it is kept, by tenth
of the promises, shows whether equal scores mean the same all along the list.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression

from recommender.audio import FloatArray
from recommender.tracks import IndexArray

BINS = 10
WEAKEST = 1e-6
"""Of the ridge on the curve: next to none."""


@dataclass(frozen=True)
class Bin:
    """A tenth of the promises: their mean, the share kept, and its 95% (Wilson) interval."""

    promised: float
    found: float
    low: float
    high: float


def promised_of(score: FloatArray, found: NDArray[np.bool_], listener: IndexArray) -> FloatArray:
    """Return (n,) the probability that each score stands for, as the other half would say.

    Listeners of even number are read by a curve fitted to those of odd number, and the reverse.

    Raises
    ------
    ValueError
        A half has nothing that was found, or nothing else.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> score = rng.uniform(size=20_000)
    >>> found = rng.uniform(size=20_000) < 1 / (1 + np.exp(3 - 2 * score))
    >>> promised = promised_of(score, found, np.arange(20_000))
    >>> bool(abs(promised - 1 / (1 + np.exp(3 - 2 * score))).max() < 0.04)
    True
    """
    promised = np.empty(len(score))
    for half in (0, 1):
        here = listener % 2 == half
        if not here.any():
            continue
        curve = LogisticRegression(C=1 / WEAKEST).fit(score[~here, None], found[~here])
        promised[here] = curve.predict_proba(score[here, None])[:, 1]
    return promised


def bins_of(promised: ArrayLike, found: ArrayLike) -> list[Bin]:
    """Return tenths of the promises, the smallest first; fewer where there are fewer than ten.

    Examples
    --------
    >>> [(b.promised, b.found) for b in bins_of([0.5] * 10, [0, 1] * 5)][:2]
    [(0.5, 0.0), (0.5, 1.0)]
    """
    p, f = np.asarray(promised, dtype=np.float64), np.asarray(found, dtype=np.float64)
    parts = np.array_split(np.argsort(p, kind="stable"), min(BINS, max(1, len(p))))
    return [_bin(p[part], f[part]) for part in parts if len(part)]


def calibration_error(promised: ArrayLike, found: ArrayLike) -> float:
    """Return the mean distance of promised and found over the tenths, in [0, 1].

    Examples
    --------
    >>> calibration_error([0.0, 1.0], [0, 1])
    0.0
    """
    return float(np.mean([abs(one.promised - one.found) for one in bins_of(promised, found)]))


def _bin(promised: FloatArray, found: FloatArray) -> Bin:
    n, share, z = len(found), float(found.mean()), 1.96
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = float(centre - half), float(centre + half)
    return Bin(float(promised.mean()), share, low, high)
