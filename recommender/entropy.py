"""A floor under a list's variety: its entropy over finest genres, in bits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.tracks import IndexArray


def entropy(genres: Sequence[int]) -> float:
    """Return -sum p ln2 p over the genres of a list, in bits; 0 for an empty one.

    Examples
    --------
    Two genres twice each: 1 bit.

    >>> entropy([3, 3, 8, 8])
    1.0
    """
    return _bits(np.unique(np.asarray(genres), return_counts=True)[1])


def _bits(counts: IndexArray) -> float:
    total = counts.sum()
    if total == 0:
        return 0.0
    share = counts[counts > 0] / total
    return float(-(share * np.log2(share)).sum()) + 0.0


class EntropyFloor:
    """Which genres may stand next, if a list of `length` is to reach `bits` in the end.

    A genre may stand if, after it, spreading what is left as evenly as the candidates allow still
    reaches the floor. Where nothing can, every genre may: a floor is a wish, an empty place is not.

    Parameters
    ----------
    genre
        (n,) the candidates' genres, -1 for none: those count as one.

    Examples
    --------
    Two places, one bit: after genre 0 only another one reaches it.

    >>> floor = EntropyFloor(np.array([0, 0, 1]), bits=1.0, length=2)
    >>> floor.take(0)
    >>> floor.allowed(np.array([False, True, True])).tolist()
    [False, False, True]
    """

    def __init__(self, genre: IndexArray, *, bits: float, length: int) -> None:
        names, self._code = np.unique(genre, return_inverse=True)
        self._counts = np.zeros(len(names), dtype=np.int64)
        self._bits, self._left = bits, length

    def take(self, place: int) -> None:
        """Count a candidate that was chosen."""
        self._counts[self._code[place]] += 1
        self._left -= 1

    def best(self, score: FloatArray) -> int:
        """Return the allowed candidate of the highest score; -inf: not eligible."""
        chosen = int(score.argmax())
        if self._left <= 0 or score[chosen] == -np.inf:
            return chosen
        stock, left = self._stock(score > -np.inf), score
        best = chosen
        while not self._reaches(int(self._code[best]), stock):
            left = np.where(self._code == self._code[best], -np.inf, left)
            best = int(left.argmax())
            if left[best] == -np.inf:
                return chosen
        return best

    def _stock(self, eligible: NDArray[np.bool_]) -> IndexArray:
        stock: IndexArray = np.bincount(self._code[eligible], minlength=len(self._counts))
        return stock

    def _reaches(self, code: int, stock: IndexArray) -> bool:
        counts, rest = self._counts.copy(), stock.copy()
        counts[code] += 1
        rest[code] -= 1
        return _best(counts, rest, self._left - 1) >= self._bits - 1e-9

    def allowed(self, eligible: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return (n,) which of the eligible candidates keep the floor within reach."""
        if self._left <= 0:
            return eligible
        stock = self._stock(eligible)
        may = np.zeros(len(stock), dtype=np.bool_)
        for code in np.flatnonzero(stock).tolist():
            may[code] = self._reaches(code, stock)
        allowed: NDArray[np.bool_] = eligible & may[self._code]
        return allowed if allowed.any() else eligible


def _best(counts: IndexArray, stock: IndexArray, left: int) -> float:
    """Return the highest entropy that `left` more of a stock can give: always to the rarest."""
    counts, most = counts.copy(), counts + stock
    for _ in range(left):
        open_ = counts < most
        if not open_.any():
            break
        counts[np.where(open_, counts, counts.max() + 1).argmin()] += 1
    return _bits(counts)
