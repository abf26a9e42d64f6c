"""Exploration: a few slots of a list are drawn at random, with the chance of each draw kept.

SEED.md's epsilon-greedy, by slots: a share epsilon of a list's positions, the last of each run of
round(1 / epsilon), is drawn uniformly from everything eligible there; the others take the best.
Every propensity is therefore exact, and the first position always holds the best track.
"""

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
        return self.share > 0 and position % round(1 / self.share) == 0

    def draw(self, eligible: int) -> tuple[int, float]:
        """Return which of the eligible tracks to show, and the probability of that."""
        return int(self.rng.integers(eligible)), 1.0 / eligible
