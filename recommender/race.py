"""Races of normals: how likely each of them is the largest. Thompson sampling draws from that."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray

NODES = 65
"""Points at which `Thompson` integrates."""

UNSEEN = 1e-4
"""The probability that `Race` may leave below its nodes; where all take part, 3e-5 at most."""

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
    x, half = _nodes(mean, sd)
    # What does not reach so far up is never the best: 0, and no work.
    reaches = mean + 4 * sd > x[:, :1]
    near = np.argsort(~reaches, axis=1, kind="stable")[:, : int(reaches.sum(axis=1).max())]
    chance = np.zeros(score.shape)
    mean_near, sd_near = (np.take_along_axis(values, near, axis=1) for values in (mean, sd))
    found = _among(x, half, mean_near, sd_near)
    np.put_along_axis(chance, near, found, axis=1)
    chance *= finite & reaches
    total = chance.sum(axis=1, keepdims=True)
    best = mean == mean.max(axis=1, keepdims=True)
    sure = best / best.sum(axis=1, keepdims=True)
    probabilities: FloatArray = np.where(total > 0, chance / np.where(total > 0, total, 1.0), sure)
    return probabilities


def _among(x: FloatArray, half: FloatArray, mean: FloatArray, sd: FloatArray) -> FloatArray:
    """Return (n, c): in proportion to the chance of each to be the largest."""
    log_below = np.zeros(x.shape)
    density = np.empty((*mean.shape, NODES))
    # As many columns at a time as stay small: all of one list's, few of a simulation's.
    step = max(1, _AT_ONCE // x.size)
    for begin in range(0, mean.shape[1], step):
        part = slice(begin, begin + step)
        density[:, part], below = _cells(x, half, mean[:, part], sd[:, part])
        log_below += np.log(below).sum(axis=1)
    chance: FloatArray = np.einsum("nck,nk->nc", density, np.exp(log_below))
    return chance


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
_CDF_STEP = np.diff(_CDF)


def normal_cdf(z: FloatArray) -> FloatArray:
    """Return the normal distribution's Phi(z), from a table, to 1e-6.

    Examples
    --------
    >>> normal_cdf(np.array([0.0, 1.96])).round(3)
    array([0.5  , 0.975])
    """
    at = (np.clip(z, -6.0, 6.0) + 6.0) * ((len(_Z) - 1) / 12.0)
    left = np.minimum(at.astype(np.int64), len(_Z) - 2)
    value: FloatArray = _CDF.take(left) + (at - left) * _CDF_STEP.take(left)
    return value


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
        among = self.groups[at] == groups
        if not (among & (self.mean[at] == mean) & (self.spread[at] == spread)).all():
            return None
        log_below = self.log_below[at].sum(axis=0)
        if log_below[0] > math.log(UNSEEN):
            return None
        chance = self.density[at] @ np.exp(log_below)
        total = chance.sum()
        return chance / total if total > 0 else None
