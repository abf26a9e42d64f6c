"""Learners: rules that value categories for listeners and learn from what those say.

Each holds all listeners at once, as arrays (n listeners, c categories).
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recommender import pooled
from recommender.audio import FloatArray
from recommender.pooled import Pairs, Sums
from recommender.qlearning import LEARNING_RATE, band_codes, updated
from recommender.replay import replayed_episodes

IndexArray = NDArray[np.int64]


class Learner(Protocol):
    """A rule."""

    def values(self) -> tuple[FloatArray, FloatArray]:
        """Return (n, c) means and (n, c) spreads of what is believed now."""
        ...

    def learn(
        self, listener: IndexArray, category: IndexArray, reward: FloatArray, propensity: FloatArray
    ) -> None:
        """Take in verdicts, at most one per listener: a list is told position by position."""
        ...


class SeedRule:
    """The seed's rule per listener: Q += .1 (r - Q), with its replay every tenth episode."""

    def __init__(self, n: int, c: int, *, seed: int = 0) -> None:
        self._q = np.zeros((n, c))
        self._log: list[list[tuple[int, float]]] = [[] for _ in range(n)]
        self._seed = seed

    def values(self) -> tuple[FloatArray, FloatArray]:
        """Return Q and no spread."""
        return self._q, np.zeros_like(self._q)

    def learn(
        self, listener: IndexArray, category: IndexArray, reward: FloatArray, propensity: FloatArray
    ) -> None:
        """Apply the rule, one listener after the other."""
        self._q[listener, category] += LEARNING_RATE * (reward - self._q[listener, category])
        for u, c, r in zip(listener.tolist(), category.tolist(), reward.tolist(), strict=True):
            log = self._log[u]
            log.append((c, r))
            for episode in replayed_episodes(f"{self._seed}-{u}", len(log)):
                c_again, r_again = log[episode - 1]
                self._q[u, c_again] = updated(float(self._q[u, c_again]), r_again)


class SharedSeedRule:
    """The seed's rule with one table for all: its constant step, in the order of arrival."""

    def __init__(self, n: int, c: int) -> None:
        self._n, self._q = n, np.zeros(c)

    def values(self) -> tuple[FloatArray, FloatArray]:
        """Return Q for everybody."""
        q = np.broadcast_to(self._q, (self._n, len(self._q)))
        return q, np.zeros(q.shape)

    def learn(
        self, listener: IndexArray, category: IndexArray, reward: FloatArray, propensity: FloatArray
    ) -> None:
        """Apply the rule, one verdict after the other."""
        for c, r in zip(category.tolist(), reward.tolist(), strict=True):
            self._q[c] = updated(float(self._q[c]), r)


class PooledRule:
    """The pooled rule (`recommender.pooled`), as far as its levels are asked for.

    Parameters
    ----------
    traits
        (n, 5) in [0, 1].
    levels
        "category": popularity alone; "own": with each listener's own visits; "personality": and
        with the personality level between the two.
    start
        Sums that stand at the beginning, of `category_sums`: a consolidated table.
    learns_together
        Whether the listeners' feedback enters the table that all start from (by day in service,
        list by list here).
    """

    def __init__(
        self,
        traits: FloatArray,
        c: int,
        *,
        levels: str = "personality",
        start: "PooledRule | None" = None,
        learns_together: bool = True,
    ) -> None:
        n = len(traits)
        self._levels, self._together = levels, learns_together
        codes = band_codes(traits) @ np.array([256, 64, 16, 4, 1])
        self._cells = codes
        self._table = np.zeros((3, c))
        self._per_cell: dict[int, FloatArray] = {}
        self._pairs = np.zeros((5, c))
        if start is not None:
            self._table = start._table.copy()
            self._per_cell = {cell: sums.copy() for cell, sums in start._per_cell.items()}
            self._pairs = start._pairs.copy()
        self._own = np.zeros((2, n, c))
        self._last = np.full((n, c), np.nan)
        distinct, self._cell_of = np.unique(codes, return_inverse=True)
        self._distinct = distinct.tolist()

    def values(self) -> tuple[FloatArray, FloatArray]:
        """Return what is believed: shrunk from the global mean down to the listener."""
        weight, reward = self._table[:2]
        everything = Sums(*self._table.sum(axis=1).tolist())
        n, c = self._own.shape[1:]
        overall = everything.reward / (everything.weight + pooled.PESSIMISM)
        category = pooled.shrunk(reward, weight, overall, pooled.CATEGORY_STRENGTH)
        consistency = pooled.consistency_of(Pairs(*row) for row in self._pairs.T.tolist())
        noise = pooled.variance(everything)
        if self._levels == "category":
            return np.broadcast_to(category, (n, c)), np.broadcast_to(
                np.sqrt(noise / (weight + pooled.CATEGORY_STRENGTH)), (n, c)
            )
        prior = np.broadcast_to(category, (n, c))
        if self._levels == "personality":
            empty = np.zeros((2, c))
            cells = np.stack([self._per_cell.get(cell, empty) for cell in self._distinct])
            shrunk = pooled.shrunk(cells[:, 1], cells[:, 0], category, pooled.PERSONALITY_STRENGTH)
            prior = shrunk[self._cell_of]
        own_weight, own_reward = self._own
        strength = pooled.own_strength(consistency)
        mean = pooled.shrunk(own_reward, own_weight, prior, strength)
        return mean, pooled.spread_of(own_weight, noise, consistency)

    def learn(
        self, listener: IndexArray, category: IndexArray, reward: FloatArray, propensity: FloatArray
    ) -> None:
        """Add to the sums."""
        self._own[0, listener, category] += 1.0
        self._own[1, listener, category] += reward
        if not self._together:
            return
        for row, value in enumerate((np.ones_like(reward), reward, reward**2)):
            np.add.at(self._table[row], category, value)
        for cell in np.unique(self._cells[listener]).tolist():
            among = self._cells[listener] == cell
            sums = self._per_cell.setdefault(cell, np.zeros((2, self._table.shape[1])))
            np.add.at(sums[0], category[among], 1.0)
            np.add.at(sums[1], category[among], reward[among])
        before = self._last[listener, category]
        known = ~np.isnan(before)
        x, y = before[known], reward[known]
        for row, value in enumerate((np.ones_like(x), x, y, x * x, x * y)):
            np.add.at(self._pairs[row], category[known], value)
        self._last[listener, category] = reward


class LinearRule:
    """A linear contextual bandit: per category a ridge regression on the traits, for all listeners.

    Disjoint LinUCB's estimate (Li et al. 2010): A_c = I + sum x x', b_c = sum r x, mean =
    x' A^-1 b, spread = sqrt(v x' A^-1 x) with v the variance of a verdict.
    """

    def __init__(self, traits: FloatArray, c: int) -> None:
        self._x = np.hstack([np.ones((len(traits), 1)), 2 * traits - 1])
        d = self._x.shape[1]
        self._a = np.tile(np.eye(d), (c, 1, 1))
        self._b = np.zeros((c, d))
        self._sums = Sums()

    def values(self) -> tuple[FloatArray, FloatArray]:
        """Return the regressions' predictions."""
        inverse = np.linalg.inv(self._a)
        theta = np.einsum("cij,cj->ci", inverse, self._b)
        doubt = np.einsum("ni,cij,nj->nc", self._x, inverse, self._x, optimize=True)
        return self._x @ theta.T, np.sqrt(pooled.variance(self._sums) * doubt)

    def learn(
        self, listener: IndexArray, category: IndexArray, reward: FloatArray, propensity: FloatArray
    ) -> None:
        """Add to the regressions."""
        x = self._x[listener]
        np.add.at(self._a, category, x[:, :, None] * x[:, None, :])
        np.add.at(self._b, category, reward[:, None] * x)
        self._sums += Sums(float(len(reward)), float(reward.sum()), float((reward * reward).sum()))
