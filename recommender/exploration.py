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
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.errors import RecommenderError
from recommender.race import Race, best_probabilities
from recommender.tracks import IndexArray

EPSILON = 0.1
"""SEED.md's exploration rate, here the share of positions that are explored."""

OPTIMISM = 1.0
"""How many spreads `Ucb` adds to a score."""

TEMPER = 0.25
"""What `Thompson` multiplies spreads by. Draws from the posterior itself pay for evidence that a
listener's few dozen verdicts never repay; Chapelle and Li (An Empirical Evaluation of Thompson
Sampling, 2011) found .25 to .5 to regret less. Measured in docs/decisions/40."""

Choices = tuple[NDArray[np.int64], FloatArray]


@dataclass(frozen=True)
class Beliefs:
    """What is believed of candidates, apart from their scores.

    Attributes
    ----------
    mean, spread
        (n,) what Q(s, recommend) is believed to be, and its standard deviation.
    group
        (n,) int64 from 0: candidates of one state share a belief, and are drawn as one.
    """

    mean: FloatArray
    spread: FloatArray
    group: NDArray[np.int64]

    def states(self) -> tuple[IndexArray, IndexArray]:
        """Return the distinct groups, ascending, and the first candidate of each.

        What `np.unique` says, by counting in place of sorting: a list asks at every explored slot.

        Examples
        --------
        >>> one = Beliefs(np.zeros(3), np.zeros(3), np.array([4, 0, 4]))
        >>> [part.tolist() for part in one.states()]
        [[0, 4], [1, 0]]
        """
        first = np.full(int(self.group.max(initial=-1)) + 1, -1)
        # From the last to the first: of several writes to one place the last one stays.
        first[self.group[::-1]] = np.arange(len(self.group))[::-1]
        groups = np.flatnonzero(first >= 0)
        return groups, first[groups]

    def best(self, group: int, score: FloatArray) -> int:
        """Return the candidate of a group that scores highest."""
        return int(np.where(self.group == group, score, -np.inf).argmax())


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
        return _steps_up(position, self.share)

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
        groups, first = beliefs.states()
        choice, chance = self.choose(beliefs.mean[None, first], beliefs.spread[None, first])
        return beliefs.best(int(groups[choice[0]]), score), float(chance[0])

    @property
    def name(self) -> str:
        """What the log of impressions calls it."""
        return f"{self.kind}:{self.share:g}" if self.share else "greedy"


@lru_cache(maxsize=4096)
def _steps_up(position: int, share: float) -> bool:
    if not share:
        return False
    return math.floor(position * share + 1e-9) > math.floor((position - 1) * share + 1e-9)


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
    _races: "list[Race]" = field(default_factory=list, init=False, repr=False, compare=False)
    """The list's, once it was drawn for."""

    def probabilities(self, score: FloatArray, spread: FloatArray) -> FloatArray:
        """Return how likely each of (n, c) is shown."""
        return best_probabilities(score, self.temper * spread)

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Return draws from the probabilities of being the best."""
        return drawn(self.probabilities(score, spread), self.rng)

    def draw(self, score: FloatArray, beliefs: Beliefs) -> tuple[int, float]:
        """Choose a state as `Slots` does; what does not change within a list is worked out once."""
        groups, first = beliefs.states()
        mean, spread = beliefs.mean[first], self.temper * beliefs.spread[first]
        probabilities = self._races[0].won_by(groups, mean, spread) if self._races else None
        if probabilities is None:
            self._races[:] = [Race.of(groups, mean, spread)]
            probabilities = self._races[0].won_by(groups, mean, spread)
            if probabilities is None:
                probabilities = best_probabilities(mean[None], spread[None])[0]
        choice, chance = drawn(probabilities[None], self.rng)
        return beliefs.best(int(groups[choice[0]]), score), float(chance[0])


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


def drawn(probabilities: FloatArray, rng: np.random.Generator) -> Choices:
    """Draw one column per row of probabilities; return it with its probability."""
    ladder = probabilities.cumsum(axis=1)
    u = rng.random(len(probabilities))[:, None] * ladder[:, -1:]
    choice = np.minimum((ladder <= u).sum(axis=1), probabilities.shape[1] - 1)
    return choice, probabilities[np.arange(len(choice)), choice]
