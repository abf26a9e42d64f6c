"""NDCG over lists of rows: how early a score puts what was chosen, many lists at once."""

import numpy as np

from recommender.audio import FloatArray
from recommender.tracks import IndexArray


def ndcg_by_list(
    score: FloatArray, gain: FloatArray, starts: IndexArray, k: int = 10
) -> FloatArray:
    """Return NDCG@k of each list: DCG by score / DCG by gain, in [0, 1]; 0 without any gain.

    DCG = sum over the first k places i of gain / log2(i + 1). Rows of one score share the mean of
    their gains, so that the order in which rows came means nothing.

    Parameters
    ----------
    score, gain
        (n,) float64; gains are 0 or more.
    starts
        (l,) where each list begins.

    Examples
    --------
    The one that was chosen stands second of the first list, and first of the second:
    1 / log2(3) = .6309.

    >>> score, gain = np.array([0.9, 0.7, 0.1, 0.8, 0.2]), np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    >>> ndcg_by_list(score, gain, np.array([0, 3])).round(4)
    array([0.6309, 1.    ])
    """
    if not len(starts):
        return np.empty(0)
    sizes = np.diff(np.append(starts, len(score)))
    which = np.repeat(np.arange(len(starts)), sizes)
    place = np.arange(len(score)) - np.repeat(starts, sizes)
    discount = np.where(place < k, 1 / np.log2(place + 2), 0.0)

    def dcg(by: FloatArray) -> FloatArray:
        order = np.lexsort((-by, which))
        ranked = by[order]
        is_new = np.ones(len(by), dtype=np.bool_)
        is_new[1:] = (ranked[1:] != ranked[:-1]) | (which[1:] != which[:-1])
        ties = np.cumsum(is_new) - 1
        shared = np.bincount(ties, gain[order]) / np.bincount(ties)
        summed: FloatArray = np.zeros(len(starts))
        np.add.at(summed, which, shared[ties] * discount)
        return summed

    best = dcg(gain)
    return np.divide(dcg(score), best, out=np.zeros(len(starts)), where=best > 0)
