"""Fitting a grain: which items go together in all histories."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd

from recommender.grain import SHARPNESS, Factors, Grain
from recommender.keys import places, sorted_keys
from training.data.listening import Counts
from training.fit.alternating import fit_factors

MOST_ITEMS = 20_000
FEWEST_LISTENERS = 2
"""An item in one history alone goes with nothing that others could play."""
RANK, FACTORS = 256, 128
SPECTRAL_RIDGE = 10.0
POPULAR_IN, POPULAR_OUT = 0.25, 0.1
"""Powers of an item's weight in all histories: how far its hits are damped, and lifted again."""


def fit_grain(
    histories: Sequence[Counts],
    *,
    seed: int,
    rank: int = RANK,
    factors: int = FACTORS,
    spectral_ridge: float = SPECTRAL_RIDGE,
) -> Grain:
    """Return the grain of some histories; empty where no item is in two of them.

    With X the log shares (see `Grain.scores`), c = (sum of an item's column of X^1.5)^-.25 and
    X^1.5 diag(c) = U diag(s) V', the spectral part is the ridge of X^1.5 diag(c) on itself, cut
    to the `rank` largest s:

        spectral_in = diag(c) V diag(s^2 / (s^2 + ridge)),  spectral_out = diag(c^-.4) V

    The factors minimise sum_u sum_i (x_ui + w) (1 - y_u . y_i)^2 over what was played and
    w (y_u . y_i)^2 over the rest, with a penalty of `RIDGE` x (n_u + w N) |y_u|^2 and the same for
    items, by alternating least squares (`alternating`).

    The same histories and seed give the same bytes, if the caller pins the threads.
    """
    seen: dict[str, int] = {}
    for history in histories:
        for item in history:
            seen[item] = seen.get(item, 0) + 1
    common = sorted(
        (item for item, n in seen.items() if n >= FEWEST_LISTENERS),
        key=lambda item: (-seen[item], item),
    )
    if not common:
        return Grain.empty()
    keys = sorted_keys(common[:MOST_ITEMS])
    shares = _shares(histories, keys)
    return Grain(
        keys,
        *_spectral(shares, rank, spectral_ridge, seed),
        fit_factors(shares, factors, seed),
        _rarity(shares),
    )


def _shares(histories: Sequence[Counts], keys: np.ndarray) -> sp.csr_matrix:
    """Return (histories, items) log shares of the items that are known; empty rows drop out."""
    data, columns, ends = [], [], [0]
    for history in histories:
        at = places(keys, list(history))
        counts = np.array(list(history.values()), dtype=np.float64)[at >= 0]
        if len(counts):
            data.append(np.log1p(counts) / np.log1p(counts.max()))
            columns.append(at[at >= 0])
            ends.append(ends[-1] + len(counts))
    matrix = sp.csr_matrix(
        (np.concatenate(data).astype(np.float32), np.concatenate(columns), ends),
        shape=(len(ends) - 1, len(keys)),
    )
    matrix.sort_indices()
    return matrix


def _spectral(shares: sp.csr_matrix, rank: int, ridge: float, seed: int) -> tuple[Factors, Factors]:
    sharp = shares.power(SHARPNESS)
    weight = np.asarray(sharp.sum(axis=0)).ravel()
    damp = weight**-POPULAR_IN
    scaled = sharp.multiply(damp[None, :]).tocsr().astype(np.float32)
    rank = min(rank, *scaled.shape)
    _, s, vt = randomized_svd(scaled, rank, n_iter=4, random_state=seed)
    kept = s**2 / (s**2 + ridge)
    into = (damp[:, None] * vt.T) * kept
    out = weight[:, None] ** POPULAR_OUT * vt.T
    return into.astype(np.float32), out.astype(np.float32)


def _rarity(shares: sp.csr_matrix) -> Factors:
    rarity = -np.log(np.bincount(shares.indices, minlength=shares.shape[1]))
    spread = rarity.std()
    result: Factors = ((rarity - rarity.mean()) / (spread if spread > 0 else 1)).astype(np.float32)
    return result
