"""Sums per state in columns: a table of a million states takes 32 MB, and no object for each.

A state is the listener's half and the rest, the track's half. There are some hundred of the one and
some thousand of the other, however many of their pairs were met: each name stands once, and a pair
is a number.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.pooled import Sums, category_of, halves_of

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StateSums(Mapping[str, Sums]):
    """State -> sums of weight, reward and square, in the order of `pairs`.

    Attributes
    ----------
    halves, rests
        The distinct names, each ascending.
    pairs
        (n,) int64 ascending: place in `halves` x number of `rests` + place in `rests`.
    totals
        (n, 3) float64 sums.

    Examples
    --------
    >>> sums = StateSums.of(["b", "a", "b"], np.array([[1., 1., 1.], [1., 0., 0.], [1., 1., 1.]]))
    >>> dict(sums)
    {'a': Sums(weight=1.0, reward=0.0, square=0.0), 'b': Sums(weight=2.0, reward=2.0, square=2.0)}
    """

    halves: tuple[str, ...] = ()
    rests: tuple[str, ...] = ()
    pairs: Places = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    totals: FloatArray = field(default_factory=lambda: np.zeros((0, 3)))

    @classmethod
    def of(cls, states: Sequence[str], values: FloatArray) -> "StateSums":
        """Return n states with their (n, 3) sums; what stands twice adds up in the order given."""
        halves: dict[str, int] = {}
        rests: dict[str, int] = {}
        half_at, rest_at = [], []
        for state in states:
            half, rest = halves_of(state)
            half_at.append(halves.setdefault(half, len(halves)))
            rest_at.append(rests.setdefault(rest, len(rests)))
        return _summed(
            list(halves),
            list(rests),
            np.array(half_at, dtype=np.int64),
            np.array(rest_at, dtype=np.int64),
            values,
        )

    @classmethod
    def from_mapping(cls, sums: Mapping[str, Sums]) -> "StateSums":
        """Return the columns of any mapping."""
        if isinstance(sums, cls):
            return sums
        rows = [(s.weight, s.reward, s.square) for s in sums.values()]
        return cls.of(list(sums), np.array(rows, dtype=np.float64).reshape(-1, 3))

    @classmethod
    def merged(cls, tables: Iterable["StateSums"]) -> "StateSums":
        """Return the sums of all, added in this order."""
        halves: dict[str, int] = {}
        rests: dict[str, int] = {}
        found: list[tuple[Places, Places, FloatArray]] = []
        for table in tables:
            of_half = _places(halves, table.halves)
            of_rest = _places(rests, table.rests)
            found.append((of_half[table.half], of_rest[table.rest], table.totals))
        if not found:
            return cls()
        half, rest, values = (np.concatenate(column) for column in zip(*found, strict=True))
        return _summed(list(halves), list(rests), half, rest, values)

    def scaled(self, factor: float) -> "StateSums":
        """Return them as of another time."""
        return replace(self, totals=self.totals * factor)

    @property
    def is_sound(self) -> bool:
        """Whether the columns, read from somewhere, fit each other."""
        pairs, states = self.pairs, len(self.halves) * len(self.rests)
        return bool(
            pairs.dtype == np.int64
            and pairs.shape == (len(self.totals),)
            and (not len(pairs) or (pairs[0] >= 0 and pairs[-1] < states))
            and (np.diff(pairs) > 0).all()
        )

    @cached_property
    def half(self) -> Places:
        """(n,) places in `halves`."""
        return self.pairs // max(1, len(self.rests))

    @cached_property
    def rest(self) -> Places:
        """(n,) places in `rests`."""
        return self.pairs % max(1, len(self.rests))

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The distinct categories, ascending."""
        return tuple(sorted({category_of(rest) for rest in self.rests}))

    @cached_property
    def category_of_rest(self) -> Places:
        """(number of rests,) places in `categories`."""
        place = {category: at for at, category in enumerate(self.categories)}
        return np.array([place[category_of(rest)] for rest in self.rests], dtype=np.int64)

    @cached_property
    def category(self) -> Places:
        """(n,) places in `categories`."""
        return self.category_of_rest[self.rest]

    @cached_property
    def _place_of(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        names = (self.halves, self.rests, self.categories)
        half, rest, category = ({name: at for at, name in enumerate(each)} for each in names)
        return half, rest, category

    def find(self, states: Sequence[str]) -> tuple[Places, Places, Places]:
        """Return for h states the row, the place of the half, and that of the category; or -1.

        Examples
        --------
        >>> one = StateSums.of(["x|energy_low|genre_folk"], np.ones((1, 3)))
        >>> [places.tolist() for places in one.find(["x|energy_high|genre_folk", "y"])]
        [[-1, -1], [0, -1], [0, -1]]
        """
        halves, rests, categories = self._place_of
        parts = [halves_of(state) for state in states]
        half_at = np.array([halves.get(half, -1) for half, _ in parts], dtype=np.int64)
        rest_at = np.array([rests.get(rest, -1) for _, rest in parts], dtype=np.int64)
        category_at = np.full(len(states), -1)
        category_at[rest_at >= 0] = self.category_of_rest[rest_at[rest_at >= 0]]
        for at in np.flatnonzero(rest_at < 0).tolist():
            category_at[at] = categories.get(category_of(parts[at][1]), -1)
        wanted = half_at * len(self.rests) + rest_at
        row = np.minimum(np.searchsorted(self.pairs, wanted), max(0, len(self.pairs) - 1))
        known = (half_at >= 0) & (rest_at >= 0)
        if len(self.pairs):
            known &= self.pairs[row] == wanted
        return np.where(known, row, -1), half_at, category_at

    def __getitem__(self, state: str) -> Sums:
        """Return a state's sums."""
        row = int(self.find([state])[0][0])
        if row < 0:
            raise KeyError(state)
        return Sums(*self.totals[row].tolist())

    def __iter__(self) -> Iterator[str]:
        """Yield the states."""
        for half, rest in zip(self.half.tolist(), self.rest.tolist(), strict=True):
            yield self.halves[half] + self.rests[rest]

    def __len__(self) -> int:
        """Return how many states there are."""
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        """Return whether the other holds the very same sums."""
        if not isinstance(other, StateSums):
            return super().__eq__(other)
        return (
            (self.halves, self.rests) == (other.halves, other.rests)
            and np.array_equal(self.pairs, other.pairs)
            and np.array_equal(self.totals, other.totals)
        )

    __hash__ = None  # type: ignore[assignment]


def _places(known: dict[str, int], names: Sequence[str]) -> Places:
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def _summed(
    halves: list[str], rests: list[str], half: Places, rest: Places, values: FloatArray
) -> StateSums:
    """Return the sums of rows, names ascending and without those that no row has."""
    halves, half = _ascending(halves, half)
    rests, rest = _ascending(rests, rest)
    pairs, row = np.unique(half * max(1, len(rests)) + rest, return_inverse=True)
    # bincount adds in the order of the rows: the same rows end in the same bits.
    sums = np.empty((len(pairs), values.shape[1]))
    for column in range(values.shape[1]):
        sums[:, column] = np.bincount(row, values[:, column], minlength=len(pairs))
    return StateSums(tuple(halves), tuple(rests), pairs, sums)


def _ascending(names: list[str], place: Places) -> tuple[list[str], Places]:
    used = np.bincount(place, minlength=len(names)) > 0
    kept = sorted(compress(names, used.tolist()))
    at = {name: number for number, name in enumerate(kept)}
    return kept, np.array([at.get(name, -1) for name in names], dtype=np.int64)[place]
