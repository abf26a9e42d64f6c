"""Alternating least squares by conjugate gradients: the factors of a grain.

In the eigenbasis of the other side's Y'Y (see `recommender.grain.Basis`) a row's equations are
(diag(b) + M' diag(l) M) u = M' (l + w). Their diagonal preconditions them so well that a few steps
from where the row stood in the round before solve them to float32: 4 m k numbers a step for a row
of m entries, where an exact solution takes m k^2 or m^2 k. Takacs, Pilaszy and Tikk 2011.
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recommender.grain import Basis, Factors
from recommender.tracks import IndexArray

ROUNDS = 8
STEPS = 3
"""More change nothing that a list would show: the loss is that of exact solutions to seven digits,
see docs/decisions/80-fit-of-co-listening.md."""
_AT_ONCE = 250_000
"""Numbers in an array of one batch: a megabyte stays near a core."""
_WIDER = 1.25
"""How much longer the longest row of a batch may be than the shortest, which is filled up."""


def fit_factors(shares: sp.csr_matrix, size: int, seed: int) -> Factors:
    """Return (items, size) factors of (listeners, items) log shares, see `grains.fit_grain`.

    Equal shares and seed give equal bytes, if the caller pins the threads.
    """
    rng = np.random.default_rng(seed)
    listeners, items = shares.shape
    scale = 0.1 / np.sqrt(size)
    of_listeners = (scale * rng.standard_normal((listeners, size))).astype(np.float32)
    of_items: Factors = (scale * rng.standard_normal((items, size))).astype(np.float32)
    by_item = shares.T.tocsr()
    for _ in range(ROUNDS):
        of_listeners = _improved(shares, of_listeners, of_items)
        of_items = _improved(by_item, of_items, of_listeners)
    return of_items


def _improved(shares: sp.csr_matrix, rows: Factors, given: Factors) -> Factors:
    """Return each row at its best, the other side given."""
    basis = Basis.of(given)
    turned, solved = given @ basis.turn, rows @ basis.turn
    length = np.diff(shares.indptr)

    for batch in _batches(length, given.shape[1]):
        width = int(length[batch[-1]])
        is_own = np.arange(width) < length[batch][:, None]
        at = np.where(is_own, shares.indptr[batch][:, None] + np.arange(width), 0)
        share = np.where(is_own, shares.data[at], np.float32(0))
        mine = turned[shares.indices[at]]
        solved[batch] = approach(basis, mine, share, solved[batch], others=len(given))
    return np.asarray(solved @ basis.turn.T, dtype=np.float32)


def _batches(length: IndexArray, size: int) -> Iterator[IndexArray]:
    """Part rows into batches of about the same length."""
    order = np.argsort(length, kind="stable")
    ascending = length[order]
    begin = 0
    while begin < len(order):
        widest = max(int(ascending[begin]) + 4, int(ascending[begin] * _WIDER))
        alike = int(np.searchsorted(ascending, widest, side="right"))
        most = max(1, _AT_ONCE // (size * max(1, int(ascending[alike - 1]))))
        end = min(alike, begin + most)
        yield order[begin:end]
        begin = end


def approach(
    basis: Basis,
    mine: Factors,
    share: NDArray[np.float32],
    start: Factors,
    *,
    others: int,
    steps: int = STEPS,
) -> Factors:
    """Return (n, k) in this basis: what `Basis.fold` solves exactly, after some steps from `start`.

    Parameters
    ----------
    mine
        (n, m, k): the played items' factors in this basis.
    share
        (n, m); 0 where a row only fills up.
    start
        (n, k).
    others
        How many items there are.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> items = rng.standard_normal((50, 4)).astype(np.float32)
    >>> basis = Basis.of(items)
    >>> mine, share = (items @ basis.turn)[None, :6], np.full((1, 6), 0.5, dtype=np.float32)
    >>> near = approach(basis, mine, share, np.zeros((1, 4), np.float32), others=50, steps=4)
    >>> np.allclose(near, basis.fold(mine, share, others=50), atol=1e-5)
    True
    """
    diagonal, wanted = basis.equations(share, others=others)
    across = mine.swapaxes(-1, -2)
    seen = (mine @ start[..., None])[..., 0]
    left = (across @ (wanted - share * seen)[..., None])[..., 0] - diagonal * start
    solved: NDArray[np.floating] = start
    direction = eased = left / diagonal
    size = (left * eased).sum(axis=-1, keepdims=True)
    for _ in range(steps):
        seen = (mine @ direction[..., None])[..., 0]
        pushed = (across @ (share * seen)[..., None])[..., 0] + diagonal * direction
        length = _ratio(size, (direction * pushed).sum(axis=-1, keepdims=True))
        solved = solved + length * direction
        left = left - length * pushed
        eased = left / diagonal
        before, size = size, (left * eased).sum(axis=-1, keepdims=True)
        direction = eased + _ratio(size, before) * direction
    return np.asarray(solved, dtype=np.float32)


def _ratio(over: NDArray[np.float32], under: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return over / under, 0 where a row is solved already."""
    return np.asarray(np.divide(over, under, out=np.zeros_like(over), where=under > 0), np.float32)
