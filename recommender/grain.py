"""Co-listening at one grain: what those who play these items (artists, or tracks) play as well.

Two models of the same histories, both closed under numpy: a spectral filter and factors of
implicit feedback. Each folds in a listener who was not in training, and the two add up. Neither
holds anybody's history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.errors import ModelFormatError
from recommender.keys import places, sorted_keys
from recommender.tracks import IndexArray

Factors = NDArray[np.float32]

SHARPNESS = 1.5
"""The spectral part takes shares to this power: what is played most says most."""
SPECTRAL_WEIGHT = 0.5
"""Of the spectral part beside that of the factors, both in standard deviations."""
RARITY_WEIGHT = 0.3
"""Of an item's rarity: without it both parts favour what everybody plays a little too much."""
UNOBSERVED = 0.1
"""What an item that was not played weighs in the factors' loss, beside log shares of up to 1."""
RIDGE = 0.01
"""The factors' penalty per unit of weight that a listener or an item has."""


@dataclass(frozen=True)
class Basis:
    """Y'Y = turn diag(size) turn', worked out once: what every listener's equations share.

    Attributes
    ----------
    turn
        (k, k) orthogonal; rows times `turn` are rows in this basis.
    size
        (k,).
    """

    turn: Factors
    size: NDArray[np.float32]

    @classmethod
    def of(cls, factors: Factors) -> "Basis":
        """Return the basis of (n, k) factors."""
        exact = factors.astype(np.float64)
        size, turn = np.linalg.eigh(exact.T @ exact)
        return cls(turn.astype(np.float32), np.maximum(size, 0.0).astype(np.float32))

    def fold(
        self, mine: Factors, share: NDArray[np.float32], *, others: int
    ) -> NDArray[np.float32]:
        """Return (..., k) in this basis: the u of `Grain.scores`, by the smaller of two systems.

        With b = w size + r (m + w n), the k equations (diag(b) + M' diag(l) M) u = M' (l + w) have
        the same solution as m of them (push-through identity), where m < k and L = diag(sqrt l):

            u = diag(1/b) M' L (I + L M diag(1/b) M' L)^-1 L^-1 (l + w)

        Parameters
        ----------
        mine
            M: (..., m, k) the played items' factors in this basis.
        share
            l: (..., m); 0 in rows that only fill up, so that several listeners fit one array.
        others
            n: how many items there are.

        Examples
        --------
        >>> basis = Basis.of(np.eye(3, dtype=np.float32))
        >>> played = np.array([[1, 0, 0]], dtype=np.float32) @ basis.turn
        >>> u = basis.turn @ basis.fold(played, np.ones(1, dtype=np.float32), others=3)
        >>> expected = (1 + UNOBSERVED) / (1 + UNOBSERVED + RIDGE * (1 + 3 * UNOBSERVED))
        >>> np.allclose(u, [expected, 0, 0], atol=1e-5)
        True
        """
        diagonal, wanted = self.equations(share, others=others)
        across = mine.swapaxes(-1, -2)
        if mine.shape[-2] >= mine.shape[-1]:
            left = (across * share[..., None, :]) @ mine
            left += diagonal[..., None] * np.eye(mine.shape[-1], dtype=np.float32)
            solved: NDArray[np.float32] = np.linalg.solve(left, across @ wanted[..., None])[..., 0]
            return solved
        root = np.sqrt(share)
        reached = mine * root[..., None]
        small = (reached / diagonal[..., None, :]) @ reached.swapaxes(-1, -2)
        small += np.eye(mine.shape[-2], dtype=np.float32)
        right = np.divide(wanted, root, out=np.zeros_like(root), where=share > 0)
        solved = (reached.swapaxes(-1, -2) @ np.linalg.solve(small, right[..., None]))[..., 0]
        unscaled: NDArray[np.float32] = solved / diagonal
        return unscaled

    def equations(
        self, share: NDArray[np.float32], *, others: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return b, (..., k), and l + w, (..., m): 0 in rows that only fill up; see `fold`."""
        played = share > 0
        penalty = RIDGE * (played.sum(axis=-1, keepdims=True) + UNOBSERVED * others)
        diagonal = UNOBSERVED * self.size + penalty.astype(np.float32)
        return diagonal, np.where(played, share + np.float32(UNOBSERVED), np.float32(0))


@dataclass(frozen=True)
class Grain:
    """n items with their factors.

    Attributes
    ----------
    keys
        (n,) sorted UTF-8 bytes.
    spectral_in, spectral_out
        (n, r) float32: a history x scores (x^1.5 @ spectral_in) @ spectral_out.T.
    factors
        (n, k) float32: a listener's own factors u are solved for, the items score u @ factors.T.
    rarity
        (n,) float32: -ln(listeners of the item), in standard deviations from the mean.

    Examples
    --------
    >>> Grain.empty().scores(["abba"], np.ones(1)).shape
    (0,)
    """

    keys: NDArray[np.bytes_]
    spectral_in: Factors
    spectral_out: Factors
    factors: Factors
    rarity: Factors

    def __len__(self) -> int:
        """Return n."""
        return len(self.keys)

    @classmethod
    def empty(cls) -> "Grain":
        """Return a grain that knows no item."""
        none = np.zeros((0, 1), dtype=np.float32)
        return cls(sorted_keys([]), none, none, none, none[:, 0])

    def places(self, keys: Sequence[str]) -> IndexArray:
        """Return each key's row, -1 where it is unknown."""
        return places(self.keys, keys)

    def scores(self, keys: Sequence[str], counts: FloatArray) -> FloatArray:
        """Return (n,) how much a history speaks for every item, 0 the average; all 0 if it is mute.

        With l = ln(1 + count) / ln(1 + the largest count) of the known items,

            S = (l^1.5 @ spectral_in) @ spectral_out.T
            u = (w Y'Y + Y' diag(l) Y + r (m + w n) I)^-1 Y' (l + w),  A = u @ Y.T

        (Y the factors, Y' those of the m known items, w = `UNOBSERVED`, r = `RIDGE`), the result is
        z(A) + .5 z(S) + .3 rarity, z being standard deviations from the mean over what was not
        played. Hu, Koren and Volinsky 2008; the penalty by frequency is that of Rendle et al. 2021.

        Parameters
        ----------
        keys, counts
            The history: what was played, and how often (> 0); unknown keys drop out.
        """
        towards = self.direction(keys, counts)
        if towards is None:
            return np.zeros(len(self))
        return towards.of(self.items)

    def direction(self, keys: Sequence[str], counts: FloatArray) -> "Direction | None":
        """Return what makes a listener's `scores` out of items; None for one who is mute.

        Means and spreads over what was not played come from the sums over all items and those over
        the played ones, so that a few items can be scored without the rest.
        """
        at = self.places(keys)
        known = at >= 0
        at, count = at[known], np.asarray(counts, dtype=np.float64)[known]
        if not len(at):
            return None
        share = (np.log1p(count) / np.log1p(count.max())).astype(np.float32)
        spectral = share**SHARPNESS @ self.spectral_in[at]
        played = np.unique(at)
        turned = (
            (self.fold_in(at, share), self.factors[played], self.sums[0], 1.0),
            (spectral, self.spectral_out[played], self.sums[1], SPECTRAL_WEIGHT),
        )
        parts, offset = [], 0.0
        for one, theirs, sums, weight in turned:
            mean, spread = sums.rest(one.astype(np.float64), theirs)
            parts.append(one * np.float32(weight / spread) if spread > 0 else np.zeros_like(one))
            offset -= weight * mean / spread if spread > 0 else 0.0
        return Direction(parts[0], parts[1], offset)

    @cached_property
    def sums(self) -> tuple["Sums", "Sums"]:
        """Those of the factors, and of the spectral part."""
        return Sums.of(self.factors), Sums.of(self.spectral_out)

    @property
    def items(self) -> "Items":
        """All n items."""
        return Items(self.factors, self.spectral_out, self.rarity)

    def fold_in(self, at: IndexArray, share: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (k,) the factors of a listener who played these rows."""
        basis = self.basis
        return basis.turn @ basis.fold(self.factors[at] @ basis.turn, share, others=len(self))

    @cached_property
    def basis(self) -> "Basis":
        """The directions in which all items' factors are independent."""
        return Basis.of(self.factors)

    def to_files(self, name: str) -> Mapping[str, bytes]:
        """Return the grain's files: an array each."""
        return {f"{name}_{part}.npy": _npy(getattr(self, part)) for part in _PARTS}

    @classmethod
    def from_files(cls, name: str, files: Mapping[str, bytes]) -> "Grain":
        """Read the files that `to_files` wrote.

        Raises
        ------
        ModelFormatError
            A file is missing, no array, or of another size than the rest.
        """
        try:
            arrays = [
                np.load(BytesIO(files[f"{name}_{part}.npy"]), allow_pickle=False) for part in _PARTS
            ]
        except KeyError as missing:
            raise ModelFormatError(f"colisten: {missing} is missing") from None
        except (ValueError, OSError, EOFError) as error:
            raise ModelFormatError(f"colisten: an array of {name} is damaged ({error})") from None
        keys, into, out, factors, rarity = arrays
        if keys.dtype.kind != "S" or any(f.dtype != np.float32 for f in arrays[1:]):
            raise ModelFormatError(f"colisten: the arrays of {name} are of the wrong type")
        if (into.ndim, factors.ndim, rarity.ndim) != (2, 2, 1) or into.shape != out.shape:
            raise ModelFormatError(f"colisten: the arrays of {name} are of the wrong shape")
        if {len(array) for array in arrays} != {len(keys)}:
            raise ModelFormatError(f"colisten: the arrays of {name} do not fit each other")
        is_finite = all(np.isfinite(array).all() for array in arrays[1:])
        if not is_finite or (keys[1:] <= keys[:-1]).any():
            raise ModelFormatError(f"colisten: the arrays of {name} do not hold what they should")
        return cls(keys, into, out, factors, rarity)


_PARTS = ("keys", "spectral_in", "spectral_out", "factors", "rarity")


@dataclass(frozen=True)
class Sums:
    """Sums over n rows: of each column, and of each product of two columns.

    Attributes
    ----------
    rows
        n.
    first, second
        (k,) and (k, k) float64.
    """

    rows: int
    first: FloatArray
    second: FloatArray

    @classmethod
    def of(cls, rows: Factors) -> "Sums":
        """Sum (n, k) rows, some at a time: all of them in float64 would be twice the model."""
        first, second = np.zeros(rows.shape[1]), np.zeros((rows.shape[1], rows.shape[1]))
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[begin : begin + _ROWS_AT_ONCE].astype(np.float64)
            first += part.sum(axis=0)
            second += part.T @ part
        return cls(len(rows), first, second)

    def rest(self, one: FloatArray, out: Factors) -> tuple[float, float]:
        """Return mean and standard deviation of rows @ one without some of the rows.

        Parameters
        ----------
        one
            (k,).
        out
            (m, k) the rows that do not count.

        Returns
        -------
        (0, 0) where nothing is left, or all that is left is the same.

        Examples
        --------
        >>> rows = np.array([[1.0], [3.0], [7.0]], dtype=np.float32)
        >>> Sums.of(rows).rest(np.ones(1), rows[2:])
        (2.0, 1.0)
        """
        n = self.rows - len(out)
        if n <= 0:
            return 0.0, 0.0
        theirs = out.astype(np.float64) @ one
        mean = float(self.first @ one - theirs.sum()) / n
        square = float(one @ self.second @ one - theirs @ theirs) / n
        variance = square - mean * mean
        if variance <= _SAME * square:
            return 0.0, 0.0
        return mean, float(np.sqrt(variance))


@dataclass(frozen=True)
class Items:
    """Some items of a grain, in the columns that a direction is multiplied with."""

    factors: Factors
    spectral_out: Factors
    rarity: Factors

    def take(self, at: IndexArray) -> "Items":
        """Return these."""
        return Items(self.factors[at], self.spectral_out[at], self.rarity[at])


@dataclass(frozen=True)
class Direction:
    """A listener in a grain: factors @ implicit + spectral_out @ spectral + offset + .3 rarity.

    Attributes
    ----------
    implicit, spectral
        (k,) and (r,), divided by the spread of what they give.
    offset
        What brings the mean to 0.
    """

    implicit: NDArray[np.float32]
    spectral: NDArray[np.float32]
    offset: float

    def of(self, items: Items) -> FloatArray:
        """Return (n,) scores."""
        linear = items.factors @ self.implicit + items.spectral_out @ self.spectral
        return linear.astype(np.float64) + self.offset + RARITY_WEIGHT * items.rarity


_ROWS_AT_ONCE = 4096
_SAME = 1e-12
"""A variance that is so small a share of the mean square is rounding."""


def _npy(array: NDArray[np.generic]) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
