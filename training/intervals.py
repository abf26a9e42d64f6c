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
