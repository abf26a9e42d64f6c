"""Intervals: how far a mean over listeners could be off by chance."""

from dataclasses import dataclass

import numpy as np

from recommender.audio import FloatArray

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95% percentile bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it for a line of text.

        Examples
        --------
        >>> print(Interval(0.0213, -0.0049, 0.04))
        +0.0213 [-0.0049, +0.0400]
        """
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def bootstrap(values: FloatArray, seed: int) -> Interval:
    """Return the mean over listeners, with what it is when listeners are drawn anew 2000 times.

    Give it each listener's difference between two models: the interval is then paired.

    Parameters
    ----------
    values
        (n,) one value per listener, n >= 1.

    Examples
    --------
    >>> bootstrap(np.array([0.25, 0.25, 0.25]), seed=7)
    Interval(mean=0.25, low=0.25, high=0.25)
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    means = [values[rng.integers(n, size=n)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def bootstrap_columns(values: FloatArray, seed: int) -> list[Interval]:
    """Return `bootstrap` of each column, with the same draws of listeners for all of them.

    Parameters
    ----------
    values
        (n, m) one row per listener, n >= 1.

    Examples
    --------
    >>> values = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    >>> columns = bootstrap_columns(np.stack([values, 1 - values], axis=1), seed=7)
    >>> columns[0] == bootstrap(values, seed=7), round(columns[1].mean, 3)
    (True, 0.4)
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    means = np.empty((RESAMPLES, values.shape[1]))
    for begin in range(0, RESAMPLES, 100):  # 100 at a time: 10,000 listeners stay within 8 MB
        drawn = [np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(100)]
        means[begin : begin + 100] = np.array(drawn, dtype=np.float64) @ values / n
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    ends = zip(values.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return [Interval(*one) for one in ends]


def effective_n(weights: FloatArray) -> float:
    """Return Kish's effective sample size (sum w)^2 / sum w^2; 0 where all weights are 0.

    As many equal weights would tell as much.

    Examples
    --------
    >>> effective_n(np.array([1.0, 1.0, 1.0])), round(effective_n(np.array([8.0, 1.0, 1.0])), 2)
    (3.0, 1.52)
    """
    squares = float((weights * weights).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0
