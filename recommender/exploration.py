"""Exploration: a few slots of a list are drawn at random, with the chance of each draw kept.

SEED.md's epsilon-greedy, by slots: a share epsilon of a list's positions, those at which
floor(position x epsilon) steps up, is drawn uniformly from everything eligible there; the others
take the best.
Every propensity is therefore exact, and the first position always holds the best track.
"""

import math
from dataclasses import dataclass

import numpy as np

EPSILON = 0.1


@dataclass(frozen=True)
class EpsilonSlots:
    """The policy `epsilon_slots`.

    Attributes
    ----------
    share
        Share of positions explored, in [0, 0.5]; 0 draws nothing.
    rng
        Where draws come from.

    Examples
    --------
    >>> policy = EpsilonSlots(0.1, np.random.default_rng(7))
    >>> [position for position in range(1, 51) if policy.explores(position)]
    [10, 20, 30, 40, 50]
    >>> forty = EpsilonSlots(0.4, np.random.default_rng(7))
    >>> [position for position in range(1, 11) if forty.explores(position)]
    [3, 5, 8, 10]
    >>> EpsilonSlots(0.0, np.random.default_rng(7)).explores(10)
    False
    """

    share: float
    rng: np.random.Generator

    @property
    def name(self) -> str:
        """What the log of impressions calls it."""
        return f"epsilon_slots:{self.share:g}" if self.share else "greedy"

    def explores(self, position: int) -> bool:
        """Return whether this position (from 1) is drawn."""
        if not self.share:
            return False
        return math.floor(position * self.share + 1e-9) > math.floor(
            (position - 1) * self.share + 1e-9
        )

    def draw(self, eligible: int) -> tuple[int, float]:
        """Return which of the eligible tracks to show, and the probability of that."""
        return int(self.rng.integers(eligible)), 1.0 / eligible
