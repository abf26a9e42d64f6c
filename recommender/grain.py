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
        at = self.places(keys)
        known = at >= 0
        at, count = at[known], np.asarray(counts, dtype=np.float64)[known]
        if not len(at):
            return np.zeros(len(self))
        share = (np.log1p(count) / np.log1p(count.max())).astype(np.float32)
        spectral = (share**SHARPNESS @ self.spectral_in[at]) @ self.spectral_out.T
        implicit = self.fold_in(at, share) @ self.factors.T
        new = np.ones(len(self), dtype=np.bool_)
        new[at] = False
        return (
            _standardised(implicit, new)
            + SPECTRAL_WEIGHT * _standardised(spectral, new)
            + RARITY_WEIGHT * self.rarity
        )

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


def _standardised(scores: NDArray[np.float32], new: NDArray[np.bool_]) -> FloatArray:
    rest = scores[new]
    spread = float(rest.std()) if len(rest) else 0.0
    if spread <= 0:
        return np.zeros(len(scores))
    return (scores.astype(np.float64) - float(rest.mean())) / spread


def _npy(array: NDArray[np.generic]) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
