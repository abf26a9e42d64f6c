"""Policies: how the explored slots of a list are filled, with the chance of what was shown.

A share of a list's positions is explored, those at which floor(position x share) steps up: never
the first, since the share is at most 1/2. Every other position takes the best track, with
propensity 1. At an explored position a policy sees each eligible track's score and the spread
(standard deviation) of what is believed of it, and returns a choice with its exact probability.

Rows are choices made at once (the simulator asks for many listeners, a list for one); -inf marks
what may not stand.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.errors import RecommenderError

EPSILON = 0.1
"""SEED.md's exploration rate, here the share of positions that are explored."""

OPTIMISM = 1.0
"""How many spreads `Ucb` adds to a score."""

TEMPER = 0.25
"""What `Thompson` multiplies spreads by. Draws from the posterior itself pay for evidence that a
listener's few dozen verdicts never repay; Chapelle and Li (An Empirical Evaluation of Thompson
Sampling, 2011) found .25 to .5 to regret less. Measured in docs/decisions/40."""

NODES = 65
"""Points at which `Thompson` integrates."""

Choices = tuple[NDArray[np.int64], FloatArray]


@dataclass(frozen=True)
class Beliefs:
    """What is believed of candidates, apart from their scores.

    Attributes
    ----------
    mean, spread
        (n,) what Q(s, recommend) is believed to be, and its standard deviation.
    group
        (n,) int64: candidates of one state share a belief, and are drawn as one.
    """

    mean: FloatArray
    spread: FloatArray
    group: NDArray[np.int64]


class Policy(Protocol):
    """What ranking and simulation need of a policy."""

    @property
    def name(self) -> str:
        """What the log of impressions calls it: kind, version where it has one, share."""
        ...

    def explores(self, position: int) -> bool:
        """Return whether this position (from 1) is explored."""
        ...

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Return per row of (n, c) scores which column to show, and the probability of that."""
        ...

    def draw(self, score: FloatArray, beliefs: Beliefs) -> tuple[int, float]:
        """Return which of n eligible tracks to show at an explored position, and how likely."""
        ...


@dataclass(frozen=True)
class Slots:
    """Which positions are explored, and where draws come from.

    Attributes
    ----------
    share
        Share of positions explored, in [0, 0.5]; 0 explores nothing.
    rng
        Where draws come from.

    Examples
    --------
    >>> slots = Slots(0.1, np.random.default_rng(7))
    >>> [position for position in range(1, 51) if slots.explores(position)]
    [10, 20, 30, 40, 50]
    >>> forty = Slots(0.4, np.random.default_rng(7))
    >>> [position for position in range(1, 11) if forty.explores(position)]
    [3, 5, 8, 10]
    >>> Slots(0.0, np.random.default_rng(7)).explores(10)
    False
    """

    kind: ClassVar[str] = "slots"
    share: float
    rng: np.random.Generator

    def __post_init__(self) -> None:
        """Refuse a share that would explore the first position."""
        if not 0.0 <= self.share <= 0.5:
            raise RecommenderError(f"a share of {self.share} explores the first position: 0 to 0.5")

    def explores(self, position: int) -> bool:
        """Return whether this position (from 1) is explored."""
        if not self.share:
            return False
        return math.floor(position * self.share + 1e-9) > math.floor(
            (position - 1) * self.share + 1e-9
        )

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Return per row of (n, c) scores which column to show, and the probability of that."""
        raise NotImplementedError

    def draw(self, score: FloatArray, beliefs: Beliefs) -> tuple[int, float]:
        """Choose a state by what is believed of it, and its best track by score.

        Examples
        --------
        >>> beliefs = Beliefs(np.array([.1, .5, .5]), np.zeros(3), np.array([0, 1, 1]))
        >>> Ucb(0.1, np.random.default_rng(7)).draw(np.array([0.9, 0.6, 0.7]), beliefs)
        (2, 1.0)
        """
        _, first, place = np.unique(beliefs.group, return_index=True, return_inverse=True)
        choice, chance = self.choose(beliefs.mean[None, first], beliefs.spread[None, first])
        best = np.where(place == choice[0], score, -np.inf)
        return int(best.argmax()), float(chance[0])

    @property
    def name(self) -> str:
        """What the log of impressions calls it."""
        return f"{self.kind}:{self.share:g}" if self.share else "greedy"


class Greedy(Slots):
    """The best everywhere."""

    kind = "greedy"

    @property
    def name(self) -> str:
        """What the log of impressions calls it."""
        return self.kind

    def explores(self, position: int) -> bool:
        """Return False: nothing is explored."""
        return False

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Return the best; the first of equals."""
        return score.argmax(axis=1), np.ones(len(score))


class EpsilonSlots(Slots):
    """The seed's epsilon-greedy, by slots: an explored one is drawn uniformly.

    Examples
    --------
    >>> policy = EpsilonSlots(0.1, np.random.default_rng(7))
    >>> policy.name
    'epsilon_slots:0.1'
    >>> policy.choose(np.array([[0.3, -np.inf, 0.5, 0.1]]), np.zeros((1, 4)))[1].round(3)
    array([0.333])
    """

    kind = "epsilon_slots"

    def draw(self, score: FloatArray, beliefs: Beliefs) -> tuple[int, float]:
        """Return a uniform draw of the tracks, whatever is believed of them."""
        return int(self.rng.integers(len(score))), 1.0 / len(score)

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Return a uniform draw from what may stand."""
        eligible = score > -np.inf
        return drawn(eligible / eligible.sum(axis=1, keepdims=True), self.rng)


class Ucb(Slots):
    """The upper confidence bound: score + OPTIMISM x spread; nothing is drawn, propensity 1.

    Examples
    --------
    >>> policy = Ucb(0.1, np.random.default_rng(7))
    >>> policy.choose(np.array([[0.3, 0.2]]), np.array([[0.0, 0.2]]))
    (array([1]), array([1.]))
    """

    kind = "ucb"

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Return the highest bound."""
        return (score + OPTIMISM * spread).argmax(axis=1), np.ones(len(score))


class Thompson(Slots):
    """Tempered Thompson sampling: each is shown as often as it is believed to be the best.

    Spreads count `temper` times. The probabilities come first (`best_probabilities`) and the draw
    is made from them: the logged propensity is the very number that was drawn with, whatever the
    integration rounds off.

    Examples
    --------
    Equally good, one of them unknown: either may be the best.

    >>> policy = Thompson(0.1, np.random.default_rng(7))
    >>> policy.choose(np.array([[0.3, 0.3, 0.0]]), np.array([[0.1, 0.3, 0.0]]))[1].round(2)
    array([0.5])

    Better by one spread: the untempered would show the second as often as .24.

    >>> policy.probabilities(np.array([[0.3, 0.2]]), np.array([[0.1, 0.1]])).round(4)
    array([[0.9977, 0.0023]])
    """

    kind = "thompson_tempered"
    temper: ClassVar[float] = TEMPER

    def probabilities(self, score: FloatArray, spread: FloatArray) -> FloatArray:
        """Return how likely each of (n, c) is shown."""
        return best_probabilities(score, self.temper * spread)

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Return draws from the probabilities of being the best."""
        return drawn(self.probabilities(score, spread), self.rng)


class UntemperedThompson(Thompson):
    """Thompson sampling from the posterior as it is; compared, and not served."""

    kind = "thompson"
    temper = 1.0


POLICIES: dict[str, type[Slots]] = {
    "greedy": Greedy,
    "epsilon": EpsilonSlots,
    "ucb": Ucb,
    "thompson": Thompson,
}
"""What BONDHU_POLICY may name."""


_AT_ONCE = 50_000
"""Numbers in an array of `best_probabilities`: they stay in the processor's cache."""


def best_probabilities(score: FloatArray, spread: FloatArray) -> FloatArray:
    """Return for each row the probability that each column is the largest.

    With independent X_i ~ N(score_i, spread_i): P(i) = integral of phi_i(x) prod_(j != i) Phi_j(x),
    over `NODES` cells between the largest score - 4 spread and the largest score + 4 spread (of
    each: the chance that X_i falls into it, the others at its middle), then divided by their sum.
    What ends below these (score + 4 spread) has probability 0.

    Parameters
    ----------
    score, spread
        (n, c) float64; a score of -inf may not stand and has probability 0.

    Returns
    -------
    (n, c) float64, rows summing to 1.

    Examples
    --------
    The larger of N(1, 1) and N(0, 1): Phi(1 / sqrt 2) = .7602.

    >>> best_probabilities(np.array([[1.0, 0.0]]), np.ones((1, 2))).round(3)
    array([[0.76, 0.24]])
    """
    sd = np.maximum(spread, 1e-6)
    finite = score > -np.inf
    mean = np.where(finite, score, -1e9)
    high = (mean + 4 * sd).max(axis=1)
    low = np.minimum((mean - 4 * sd).max(axis=1), high - 1e-6)  # below it something surely stands
    # What does not reach so far up is never the best: 0, and no work.
    reaches = mean + 4 * sd > low[:, None]
    near = np.argsort(~reaches, axis=1, kind="stable")[:, : int(reaches.sum(axis=1).max())]
    chance = np.zeros(score.shape)
    mean_near, sd_near = (np.take_along_axis(values, near, axis=1) for values in (mean, sd))
    found = _among(mean_near, sd_near, low, high)
    np.put_along_axis(chance, near, found, axis=1)
    chance *= finite & reaches
    total = chance.sum(axis=1, keepdims=True)
    best = mean == mean.max(axis=1, keepdims=True)
    sure = best / best.sum(axis=1, keepdims=True)
    probabilities: FloatArray = np.where(total > 0, chance / np.where(total > 0, total, 1.0), sure)
    return probabilities


def _among(mean: FloatArray, sd: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    x = low[:, None] + np.linspace(0, 1, NODES) * (high - low)[:, None]
    half = 0.5 * (x[:, 1] - x[:, 0])[:, None, None]
    log_below = np.zeros(x.shape)
    density = np.empty((*mean.shape, NODES))
    # As many columns at a time as stay small: all of one list's, few of a simulation's.
    step = max(1, _AT_ONCE // x.size)
    for begin in range(0, mean.shape[1], step):
        part = slice(begin, begin + step)
        width = sd[:, part, None]
        z = (x[:, None, :] - mean[:, part, None]) / width
        below = np.maximum(normal_cdf(z), 1e-300)
        log_below += np.log(below).sum(axis=1)
        # The probability that X_i falls into the cell round a node: right also where the spread is
        # far smaller than the distance of nodes.
        cell = half / width
        density[:, part] = (normal_cdf(z + cell) - normal_cdf(z - cell)) / below
    chance: FloatArray = np.einsum("nck,nk->nc", density, np.exp(log_below))
    return chance


_Z = np.linspace(-6.0, 6.0, 4097)
_CDF = np.array([0.5 * (1.0 + math.erf(z / math.sqrt(2.0))) for z in _Z.tolist()])


def normal_cdf(z: FloatArray) -> FloatArray:
    """Return the normal distribution's Phi(z), from a table, to 1e-6.

    Examples
    --------
    >>> normal_cdf(np.array([0.0, 1.96])).round(3)
    array([0.5  , 0.975])
    """
    at = (np.clip(z, -6.0, 6.0) + 6.0) * ((len(_Z) - 1) / 12.0)
    left = np.minimum(at.astype(np.int64), len(_Z) - 2)
    value: FloatArray = _CDF[left] + (at - left) * (_CDF[left + 1] - _CDF[left])
    return value


def drawn(probabilities: FloatArray, rng: np.random.Generator) -> Choices:
    """Draw one column per row of probabilities; return it with its probability."""
    ladder = probabilities.cumsum(axis=1)
    u = rng.random(len(probabilities))[:, None] * ladder[:, -1:]
    choice = np.minimum((ladder <= u).sum(axis=1), probabilities.shape[1] - 1)
    return choice, probabilities[np.arange(len(choice)), choice]
