"""The pooled rule: sums of decayed reward over all listeners, and what to believe from them.

Settled question 10. Per state there stand three sums over feedback: weight w, w x reward and
w x reward^2, with w = 2^((t - REFERENCE) / half-life). The reference never moves, so that sums of
any parts of a log, in any order, add up to those of the whole; a reader scales them to its own
time. What is believed of a state is shrunk level by level:

    global -> category -> personality and category -> state -> the listener's own visits
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from recommender.audio import FloatArray

HALF_LIFE_DAYS = 90.0
REFERENCE_DAY = 20_454
"""2026-01-01, in days since 1970: where weights are 1."""

VISITS_PER_DAY = 10
"""Feedback of one listener in one state on one UTC day that enters the sums; the rest of a burst
does not. A burst moves the mean of a state of weight W by at most 3.7 x 10 / (W + 10) per day, 3.7
being the range of rewards."""

PESSIMISM = 20.0
"""Visits of reward 0, that of not recommending, mixed into the global mean."""
CATEGORY_STRENGTH = 10.0
PERSONALITY_STRENGTH = 50.0
STATE_STRENGTH = 20.0
"""How many visits the level above is worth, at each level. Published effects of personality are
small (|r| <= .155), so that level takes over late."""

CONSISTENCY = 0.15
"""How far one verdict of a listener on a category predicts the next, before it was measured."""
CONSISTENCY_RANGE = (0.03, 0.6)
PAIRS_NEEDED = 200.0


def decayed_weight(days: FloatArray | float, half_life_days: float = HALF_LIFE_DAYS) -> FloatArray:
    """Return 2^((days - REFERENCE_DAY) / half-life), `days` since 1970.

    Examples
    --------
    >>> float(decayed_weight(REFERENCE_DAY + 90.0))
    2.0
    """
    since = np.asarray(days, dtype=np.float64) - REFERENCE_DAY
    return np.asarray(np.exp2(since / half_life_days))


@dataclass(frozen=True)
class Sums:
    """Sums over feedback: of weight, of weight x reward, of weight x reward^2.

    Examples
    --------
    >>> Sums(1.0, 1.0, 1.0) + Sums(1.0, -0.4, 0.16)
    Sums(weight=2.0, reward=0.6, square=1.16)
    """

    weight: float = 0.0
    reward: float = 0.0
    square: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        """Add up."""
        return Sums(
            self.weight + other.weight, self.reward + other.reward, self.square + other.square
        )

    def scaled(self, factor: float) -> "Sums":
        """Return them as of another time."""
        return Sums(self.weight * factor, self.reward * factor, self.square * factor)


@dataclass(frozen=True)
class Pairs:
    """Sums over consecutive verdicts (x, then y) of one listener on one category.

    Their regression slope is how far a verdict predicts the next: the share of the variance that
    lies between listeners. It holds also where a policy came back only to what had pleased:
    choosing by x leaves the slope of y on x what it was.
    """

    n: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def __add__(self, other: "Pairs") -> "Pairs":
        """Add up."""
        return Pairs(
            self.n + other.n,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
        )


def consistency_of(pairs: Iterable[Pairs]) -> float:
    """Return how far a listener's verdict predicts their next on the same category.

    The slope within categories, sum_c cov_c / sum_c var_c: what categories differ in is popularity,
    not consistency. Drawn to `CONSISTENCY` as `PAIRS_NEEDED` pairs would, and kept in range.

    Parameters
    ----------
    pairs
        One per category.

    Examples
    --------
    >>> consistency_of([])
    0.15
    >>> round(consistency_of([Pairs(n=400, x=0, y=0, xx=400, xy=160)] * 2), 2)
    0.35

    Two categories, one liked by all and one by nobody, say nothing of listeners:

    >>> hit, flop = Pairs(300, 300, 300, 301, 300), Pairs(300, -300, -300, 301, 300)
    >>> round(consistency_of([hit, flop]), 4)
    0.0376
    """
    n = covariance = variance = 0.0
    for each in pairs:
        if each.n > 1:
            n += each.n - 1
            variance += max(0.0, each.xx - each.x * each.x / each.n)
            covariance += each.xy - each.x * each.y / each.n
    slope = CONSISTENCY
    if variance > 1e-12 * n:
        slope = (n * covariance / variance + PAIRS_NEEDED * CONSISTENCY) / (n + PAIRS_NEEDED)
    low, high = CONSISTENCY_RANGE
    return min(high, max(low, slope))


def shrunk(
    reward: FloatArray, weight: FloatArray, prior: FloatArray | float, strength: FloatArray | float
) -> FloatArray:
    """Return (reward + strength x prior) / (weight + strength): a mean that starts at its prior.

    Parameters
    ----------
    reward, weight
        Sums of w x reward and of w, of one shape.

    Examples
    --------
    >>> shrunk(np.array([0.0, 9.0]), np.array([0.0, 10.0]), 0.1, 10.0)
    array([0.1, 0.5])
    """
    value: FloatArray = (reward + strength * prior) / (weight + strength)
    return value


def own_strength(consistency: float) -> float:
    """Return how many visits of one's own the pooled belief is worth: (1 - c) / c.

    With verdicts q + noise, c is the variance of q among listeners by the variance of a verdict;
    then the best linear guess of q after n verdicts weighs them n to (1 - c) / c.

    Examples
    --------
    >>> own_strength(0.2)
    4.0
    """
    return (1.0 - consistency) / consistency


def variance(sums: Sums, default: float = 0.5) -> float:
    """Return the variance of one verdict; `default` before there are two.

    Examples
    --------
    >>> variance(Sums(4.0, 2.0, 4.0))
    0.75
    """
    if sums.weight <= 1.0:
        return default
    mean = sums.reward / sums.weight
    return max(1e-3, sums.square / sums.weight - mean * mean)


def spread_of(weight: FloatArray, verdict_variance: float, consistency: float) -> FloatArray:
    """Return how unsure the belief is after `weight` visits of one's own, as a standard deviation.

    sqrt(v (1 - c) / (weight + (1 - c) / c)); with no visit sqrt(v c), the spread among listeners.

    Examples
    --------
    >>> spread_of(np.array([0.0, 12.0]), 0.5, 0.2).round(3)
    array([0.316, 0.158])
    """
    return np.sqrt(verdict_variance * (1 - consistency) / (weight + own_strength(consistency)))


def halves_of(state: str) -> tuple[str, str]:
    """Return the listener's half of a state and the rest; together they are the state.

    Examples
    --------
    >>> halves_of("openness_med|energy_low|genre_folk"), halves_of("genre_folk")
    (('openness_med', '|energy_low|genre_folk'), ('', 'genre_folk'))
    """
    at = state.find("|energy_")
    return (state[:at], state[at:]) if at >= 0 else ("", state)


def category_of(rest: str) -> str:
    """Return the category in the rest of a state; what names none is one of its own."""
    return rest.rpartition("genre_")[2]


def split(state: str) -> tuple[str, str]:
    """Return the (listener half, category) of a state; what has no such parts is a state alone.

    Examples
    --------
    >>> split("extraversion_high|openness_med|energy_low|genre_folk")
    ('extraversion_high|openness_med', 'folk')
    """
    half, rest = halves_of(state)
    return half, category_of(rest)
