"""Policies: how the explored slots of a list are filled, with the chance of what was shown.

A share of a list's positions is explored, those at which floor(position x share) steps up: never
the first, since the share is at most 1/2. Every other position takes the best track, with
propensity 1. At an explored position a policy sees each eligible track's score and the spread
(standard deviation) of what is believed of it, and returns a choice with its exact probability.

Rows are choices made at once (the simulator asks for many listeners, a list for one); -inf marks
what may not stand.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.errors import RecommenderError

EPSILON = 0.1
"""SEED.md's exploration rate, here the share of positions that are explored."""

OPTIMISM = 1.0
"""How many spreads `Ucb` adds to a score."""

NODES = 65
"""Points at which `Thompson` integrates."""

UNSEEN = 1e-6
"""The probability that `Race` may leave below its nodes."""

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


@dataclass(frozen=True)
class Thompson(Slots):
    """Thompson sampling: each is shown as often as it is believed to be the best.

    The probabilities come first (`best_probabilities`) and the draw is made from them: the logged
    propensity is the very number that was drawn with, whatever the integration rounds off.

    Examples
    --------
    Equally good, one of them unknown: either may be the best.

    >>> policy = Thompson(0.1, np.random.default_rng(7))
    >>> policy.choose(np.array([[0.3, 0.3, 0.0]]), np.array([[0.1, 0.3, 0.0]]))[1].round(2)
    array([0.5])
    """

    kind = "thompson"
    _races: "list[Race]" = field(default_factory=list, init=False, repr=False, compare=False)
    """The list's, once it was drawn for."""

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Return draws from the probabilities of being the best."""
        return drawn(best_probabilities(score, spread), self.rng)

    def draw(self, score: FloatArray, beliefs: Beliefs) -> tuple[int, float]:
        """Choose a state as `Slots` does; what does not change within a list is worked out once."""
        groups, first, place = np.unique(beliefs.group, return_index=True, return_inverse=True)
        mean, spread = beliefs.mean[first], beliefs.spread[first]
        probabilities = self._races[0].won_by(groups, mean, spread) if self._races else None
        if probabilities is None:
            self._races[:] = [Race.of(groups, mean, spread)]
            probabilities = self._races[0].won_by(groups, mean, spread)
            if probabilities is None:
                probabilities = best_probabilities(mean[None], spread[None])[0]
        choice, chance = drawn(probabilities[None], self.rng)
        best = np.where(place == choice[0], score, -np.inf)
        return int(best.argmax()), float(chance[0])


@dataclass(frozen=True)
class Race:
    """Who of some normals is the largest, whichever of them take part; see `best_probabilities`.

    Attributes
    ----------
    groups
        (c,) int64 ascending names.
    mean, spread
        (c,) of each.
    density, log_below
        (c, NODES) of each the chance to lie in the cell round a node by that to lie below it, and
        the logarithm of the latter.
    """

    groups: NDArray[np.int64]
    mean: FloatArray
    spread: FloatArray
    density: FloatArray
    log_below: FloatArray

    @classmethod
    def of(cls, groups: NDArray[np.int64], mean: FloatArray, spread: FloatArray) -> "Race":
        """Return the race of all of them."""
        sd = np.maximum(spread, 1e-6)
        x, half = _nodes(mean[None], sd[None])
        density, below = _cells(x, half, mean[None], sd[None])
        return cls(groups, mean, spread, density[0], np.log(below[0]))

    def won_by(
        self, groups: NDArray[np.int64], mean: FloatArray, spread: FloatArray
    ) -> FloatArray | None:
        """Return the probability of each of these to be their largest.

        None where that cannot be told from this race: one of them did not take part, or all of them
        may well lie below its nodes.

        Examples
        --------
        >>> race = Race.of(np.arange(3), np.array([1.0, 0.0, 0.0]), np.ones(3))
        >>> race.won_by(np.arange(2), np.array([1.0, 0.0]), np.ones(2)).round(3)
        array([0.76, 0.24])
        """
        at = np.minimum(np.searchsorted(self.groups, groups), len(self.groups) - 1)
        among = np.array_equal(self.groups[at], groups)
        if not (
            among
            and np.array_equal(self.mean[at], mean)
            and np.array_equal(self.spread[at], spread)
        ):
            return None
        log_below = self.log_below[at].sum(axis=0)
        if log_below[0] > math.log(UNSEEN):
            return None
        chance = self.density[at] @ np.exp(log_below)
        total = chance.sum()
        return chance / total if total > 0 else None


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
    x, half = _nodes(mean, sd)
    log_below = np.zeros(x.shape)
    density = np.empty((*score.shape, NODES))
    # As many columns at a time as stay small: all of one list's, few of a simulation's.
    step = max(1, _AT_ONCE // x.size)
    for begin in range(0, score.shape[1], step):
        part = slice(begin, begin + step)
        density[:, part], below = _cells(x, half, mean[:, part], sd[:, part])
        log_below += np.log(below).sum(axis=1)
    chance = np.einsum("nck,nk->nc", density, np.exp(log_below)) * finite
    total = chance.sum(axis=1, keepdims=True)
    best = mean == mean.max(axis=1, keepdims=True)
    sure = best / best.sum(axis=1, keepdims=True)
    probabilities: FloatArray = np.where(total > 0, chance / np.where(total > 0, total, 1.0), sure)
    return probabilities


def _nodes(mean: FloatArray, sd: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (n, NODES) nodes and (n,) half the distance of two."""
    high = (mean + 4 * sd).max(axis=1)
    low = np.minimum((mean - 4 * sd).max(axis=1), high - 1e-6)  # below it something surely stands
    x = low[:, None] + np.linspace(0, 1, NODES) * (high - low)[:, None]
    return x, 0.5 * (x[:, 1] - x[:, 0])


def _cells(
    x: FloatArray, half: FloatArray, mean: FloatArray, sd: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (n, c, NODES) chances to lie in each cell, by those to lie below its node, and these.

    The probability that X_i falls into the cell round a node is right also where the spread is far
    smaller than the distance of nodes.
    """
    width = sd[:, :, None]
    z = (x[:, None, :] - mean[:, :, None]) / width
    below = np.maximum(normal_cdf(z), 1e-300)
    cell = half[:, None, None] / width
    return (normal_cdf(z + cell) - normal_cdf(z - cell)) / below, below


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
