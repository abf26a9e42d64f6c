"""The conditional logit behind the weights: its likelihood, its maximum, and its bootstrap.

Of the rows of a list l, each shown for m_i candidates, row i is chosen with
P_i = m_i exp(theta . x_i) / sum_j in l m_j exp(theta . x_j). With targets t >= 0 (1 for a chosen
row, more where the choice was less likely to be seen),

    loss(theta) = - sum_i m_i t_i log P_i / sum_i m_i t_i + ridge |theta|^2,     theta >= 0,

which is convex. Its Hessian is small (components squared), so that Newton's method with the bounds
kept takes a handful of passes over the rows; McFadden 1974 for the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from recommender.audio import FloatArray
from recommender.tracks import IndexArray

PASSES = 100
TOLERANCE = 1e-10
"""Newton's method ends where a step promises less than this of the loss."""
BLOCK_ROWS = 32_768
"""Rows worked on at once, so that what lies between stays in the processor's cache."""


@dataclass(frozen=True)
class Lists:
    """n rows in lists, in the order of lists; l lists of u listeners.

    Attributes
    ----------
    x
        (n, d) float64.
    target
        (n,) float64, m_i t_i: how much each row was chosen.
    log_exposure
        (n,) float64, log m_i.
    starts
        (l,) int64, where each list begins.
    listener
        (l,) int64 in [0, u), whose list it is.
    """

    x: FloatArray
    target: FloatArray
    log_exposure: FloatArray
    starts: IndexArray
    listener: IndexArray

    @property
    def listeners(self) -> int:
        """U."""
        return int(self.listener.max()) + 1 if len(self.listener) else 0

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Yield (rows, lists) of whole lists, near `BLOCK_ROWS` rows each."""
        ends = np.append(self.starts[1:], len(self.x))
        first = 0
        while first < len(self.starts):
            row = int(self.starts[first])
            last = int(np.searchsorted(ends, row + BLOCK_ROWS, side="right"))
            last = max(last, first + 1)
            yield slice(row, int(ends[last - 1])), slice(first, last)
            first = last


@dataclass(frozen=True)
class Curvature:
    """The loss, its gradient and Hessian by listener, not yet divided by the targets' sum.

    Attributes
    ----------
    loss, total
        (u,) the listener's part of the loss, and of the targets' sum.
    gradient
        (u, d).
    hessian
        (u, d, d).
    """

    loss: FloatArray
    total: FloatArray
    gradient: FloatArray
    hessian: FloatArray

    def summed(
        self, times: FloatArray, theta: FloatArray, ridge: float
    ) -> tuple[float, FloatArray, FloatArray]:
        """Return (loss, gradient, Hessian) with each listener taken so many times.

        Parameters
        ----------
        times
            (u,) float64 >= 0.
        """
        whole = float(times @ self.total)
        loss = float(times @ self.loss) / whole + ridge * float(theta @ theta)
        gradient = times @ self.gradient / whole + 2 * ridge * theta
        hessian = np.tensordot(times, self.hessian, axes=1) / whole
        return loss, gradient, hessian + 2 * ridge * np.eye(len(theta))


def curvature(lists: Lists, theta: FloatArray, times: FloatArray | None = None) -> Curvature:
    """Return what the rows say at theta, by listener; with `times`, summed into one listener."""
    d = lists.x.shape[1]
    parts = lists.listeners if times is None else 1
    loss, total = np.zeros(parts), np.zeros(parts)
    gradient, hessian = np.zeros((parts, d)), np.zeros((parts, d, d))
    for rows, in_lists in lists.blocks():
        x, t = lists.x[rows], lists.target[rows]
        starts = lists.starts[in_lists] - rows.start
        sizes = np.diff(np.append(starts, len(x)))
        z = x @ theta + lists.log_exposure[rows]
        top = np.maximum.reduceat(z, starts)
        raised = np.exp(z - np.repeat(top, sizes))
        mass = np.add.reduceat(raised, starts)
        chance = raised / np.repeat(mass, sizes)
        of_list = np.add.reduceat(t, starts)
        list_loss = of_list * (top + np.log(mass)) - np.add.reduceat(t * z, starts)
        mean = np.add.reduceat(chance[:, None] * x, starts)
        who = lists.listener[in_lists]
        if times is not None:
            w = times[who]
            t_list = w * of_list
            loss[0] += w @ list_loss
            total[0] += t_list.sum()
            gradient[0] += t_list @ mean - (np.repeat(w, sizes) * t) @ x
            weighted = np.repeat(t_list, sizes) * chance
            hessian[0] += (weighted[:, None] * x).T @ x - (t_list[:, None] * mean).T @ mean
            continue
        squares = np.add.reduceat((chance[:, None] * x)[:, :, None] * x[:, None, :], starts)
        squares -= mean[:, :, None] * mean[:, None, :]
        np.add.at(loss, who, list_loss)
        np.add.at(total, who, of_list)
        chosen = np.add.reduceat(t[:, None] * x, starts)
        np.add.at(gradient, who, of_list[:, None] * mean - chosen)
        np.add.at(hessian, who, of_list[:, None, None] * squares)
    return Curvature(loss, total, gradient, hessian)


def maximise(
    lists: Lists,
    ridge: float,
    *,
    times: FloatArray | None = None,
    start: FloatArray | None = None,
) -> FloatArray:
    """Return the theta >= 0 of the smallest loss, (d,).

    Parameters
    ----------
    times
        (u,) how often each listener counts; None: once each.
    start
        Where to begin; the result does not depend on it.
    """
    times = np.ones(lists.listeners) if times is None else times
    theta = np.zeros(lists.x.shape[1]) if start is None else start
    one = np.ones(1)

    def at(theta: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        return curvature(lists, theta, times).summed(one, theta, ridge)

    loss, gradient, hessian = at(theta)
    for _ in range(PASSES):
        step = bounded_step(theta, gradient, hessian)
        promised = -float(gradient @ step)
        if promised <= TOLERANCE * max(1.0, abs(loss)):
            break
        share = 1.0
        while True:
            there = at(theta + share * step)
            if there[0] <= loss - 1e-4 * share * promised or share < 1e-6:
                break
            share /= 2
        if there[0] >= loss:  # rounding: nothing is left to gain
            break
        theta = np.maximum(theta + share * step, 0.0)
        loss, gradient, hessian = there
    return theta


def bounded_step(theta: FloatArray, gradient: FloatArray, hessian: FloatArray) -> FloatArray:
    """Return the d that minimises g . d + d . H d / 2 with theta + d >= 0.

    With H = L L', it is the non-negative least squares of |L' (theta + d) - (L' theta - L^-1 g)|.

    Examples
    --------
    Alone, the second would go to -1; held at 0, it moves the first as well.

    >>> bounded_step(np.zeros(2), np.array([-2.0, 2.0]), np.eye(2) * 2)
    array([1., 0.])
    """
    lower = np.linalg.cholesky(hessian)
    goal = lower.T @ theta - solve_triangular(lower, gradient, lower=True)
    moved: FloatArray = nnls(lower.T, goal)[0]
    return moved - theta


def resampled(
    lists: Lists, theta: FloatArray, ridge: float, *, resamples: int, seed: int
) -> FloatArray:
    """Return (resamples, d): theta where listeners are drawn anew with replacement.

    One bounded Newton step from the fit for each draw. All of them use the gradient and the Hessian
    of each listener, taken in a single pass over the rows; `refitted` goes all the way, and a test
    and `make bench-training` hold the two together.
    """
    by_listener = curvature(lists, theta)
    found = np.empty((resamples, len(theta)))
    for row, times in enumerate(draws(lists.listeners, resamples, seed)):
        _, gradient, hessian = by_listener.summed(times, theta, ridge)
        found[row] = theta + bounded_step(theta, gradient, hessian)
    return found


def refitted(
    lists: Lists, theta: FloatArray, ridge: float, *, resamples: int, seed: int
) -> FloatArray:
    """Return what `resampled` approximates: a whole fit for each draw, begun at the fit."""
    return np.array(
        [
            maximise(lists, ridge, times=times, start=theta)
            for times in draws(lists.listeners, resamples, seed)
        ]
    ).reshape(resamples, len(theta))


def draws(listeners: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Yield how often each listener was drawn, (u,), for each resample."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = rng.integers(listeners, size=listeners)
        yield np.bincount(drawn, minlength=listeners).astype(np.float64)
