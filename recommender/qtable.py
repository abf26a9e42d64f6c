"""The model `qtable`: what all listeners' feedback says of each state, and where a new one starts.

Settled question 10. It holds the sums of `recommender.pooled`; a listener's own visits are added
when it is asked.
"""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender import pooled
from recommender.audio import FloatArray
from recommender.errors import ModelFormatError
from recommender.pooled import Pairs, Sums, category_of, halves_of, own_strength, shrunk
from recommender.state_sums import StateSums

QTABLE_FILE, PAIRS_FILE, SUMS_FILE = "qtable.json", "pairs.npy", "sums.npy"

OwnSums = Mapping[str, tuple[float, float]]
"""State -> (number of a listener's verdicts, their sum)."""

REWARD_RANGE = 3.7


@dataclass(frozen=True)
class QTable:
    """Sums per state, as of `REFERENCE_DAY`.

    Attributes
    ----------
    sums
        State -> sums of decayed weight, reward and squared reward.
    pairs
        Category -> sums over consecutive verdicts, for `pooled.consistency_of`.
    as_of_day
        The day (since 1970) that it is read at: weights count from there.
    half_life_days
        Of a verdict's weight.

    Examples
    --------
    Two tables of parts of a log add up to that of the whole:

    >>> day = float(pooled.REFERENCE_DAY)
    >>> part = QTable.of([("s", day, 1.0)]) + QTable.of([("s", day, -0.4), ("t", day, 0.8)])
    >>> part.sums == QTable.of([("t", day, 0.8), ("s", day, 1.0), ("s", day, -0.4)]).sums
    True
    """

    sums: Mapping[str, Sums] = field(default_factory=dict)
    pairs: Mapping[str, Pairs] = field(default_factory=dict)
    as_of_day: float = float(pooled.REFERENCE_DAY)
    half_life_days: float = pooled.HALF_LIFE_DAYS

    @classmethod
    def of(
        cls,
        log: Iterable[tuple[str, float, float]],
        *,
        pairs: Mapping[str, Pairs] | None = None,
        as_of_day: float = float(pooled.REFERENCE_DAY),
        half_life_days: float = pooled.HALF_LIFE_DAYS,
    ) -> "QTable":
        """Return the table of a log of (state, day since 1970, reward)."""
        terms: dict[str, list[tuple[float, float]]] = {}
        for state, day, reward in log:
            weight = float(pooled.decayed_weight(day, half_life_days))
            terms.setdefault(state, []).append((weight, reward))
        sums = {
            state: Sums(
                math.fsum(w for w, _ in rows),
                math.fsum(w * r for w, r in rows),
                math.fsum(w * r * r for w, r in rows),
            )
            for state, rows in terms.items()
        }
        return cls(sums, pairs or {}, as_of_day, half_life_days)

    def __add__(self, other: "QTable") -> "QTable":
        """Merge two tables of disjoint parts of a log.

        Raises
        ------
        ModelFormatError
            Their half-lives differ.
        """
        if self.half_life_days != other.half_life_days:
            raise ModelFormatError("qtable: tables of different half-lives do not add up")
        return QTable(
            StateSums.merged((self.columns, other.columns)),
            {
                category: self.pairs.get(category, Pairs()) + other.pairs.get(category, Pairs())
                for category in self.pairs.keys() | other.pairs.keys()
            },
            max(self.as_of_day, other.as_of_day),
            self.half_life_days,
        )

    @cached_property
    def columns(self) -> StateSums:
        """The sums in columns."""
        return StateSums.from_mapping(self.sums)

    @cached_property
    def _levels(self) -> "_Levels":
        factor = 1.0 / float(pooled.decayed_weight(self.as_of_day, self.half_life_days))
        return _Levels(self.columns, factor)

    @cached_property
    def consistency(self) -> float:
        """How far one verdict of a listener on a category predicts the next."""
        return pooled.consistency_of(self.pairs[category] for category in sorted(self.pairs))

    def believed(
        self, states: Sequence[str], own: OwnSums | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return what Q(s, recommend) is believed to be for one listener, and how surely.

        The pooled mean of a state starts at that of its personality and category, that one at its
        category's, that one at the global mean, and that at 0 (`pooled.shrunk` at each step). Then
        the listener's own verdicts: first those on the category's other states, then those on the
        state itself, each against `own_strength(consistency)` visits of what stood before.

        Parameters
        ----------
        states
            h states.
        own
            The listener's own sums.

        Returns
        -------
        (h,) means and (h,) standard deviations.

        Examples
        --------
        Nothing is known of anything; then one like of 1.19, against (1 - .15) / .15 = 5.67 visits:

        >>> QTable().believed(["genre_folk"])[0]
        array([0.])
        >>> QTable().believed(["genre_folk"], {"genre_folk": (1.0, 1.19)})[0].round(4)
        array([0.1785])
        """
        if not own:
            nothing_said = np.zeros((len(states), 2))
            return self.with_own(states, nothing_said, nothing_said)
        by_category: dict[str, list[float]] = {}
        for state, (weight, reward) in own.items():
            sums = by_category.setdefault(category(state), [0.0, 0.0])
            sums[0] += weight
            sums[1] += reward
        nothing = [0.0, 0.0]
        mine = np.array([own.get(state, (0.0, 0.0)) for state in states]).reshape(-1, 2)
        of_category = np.array([by_category.get(category(s), nothing) for s in states])
        return self.with_own(states, mine, of_category.reshape(-1, 2))

    def with_own(
        self, states: Sequence[str], own: FloatArray, of_category: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the same as `believed` for h states of any listeners.

        Parameters
        ----------
        states
            h states, each asked for one listener.
        own
            (h, 2) the listener's verdicts on the state: their number, and their sum.
        of_category
            (h, 2) those on all states of its category.
        """
        strength = own_strength(self.consistency)
        others = of_category - own
        start = shrunk(others[:, 1], others[:, 0], self._levels.means(states), strength)
        mean = shrunk(own[:, 1], own[:, 0], start, strength)
        verdict = pooled.variance(self._levels.everything)
        return mean, pooled.spread_of(own[:, 0], verdict, self.consistency)

    def to_files(self) -> Mapping[str, bytes]:
        """Return the model's files: the same table always gives the same bytes."""
        columns = self.columns
        document = {
            "schema": 2,
            "as_of_day": self.as_of_day,
            "half_life_days": self.half_life_days,
            "pairs": {c: [p.n, p.x, p.y, p.xx, p.xy] for c, p in self.pairs.items()},
            "halves": columns.halves,
            "rests": columns.rests,
        }
        text = json.dumps(document, indent=1, sort_keys=True) + "\n"
        return {
            QTABLE_FILE: text.encode(),
            PAIRS_FILE: _to_npy(columns.pairs),
            SUMS_FILE: _to_npy(columns.totals),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "QTable":
        """Read the model's files.

        Raises
        ------
        ModelFormatError
            They are not a table's.

        Examples
        --------
        >>> table = QTable.of([("s", 20_500.0, 1.0)])
        >>> QTable.from_files(table.to_files()) == table
        True
        """
        try:
            document = json.loads(files[QTABLE_FILE])
            values = _from_npy(files[SUMS_FILE])
            if document["schema"] not in (1, 2):
                raise ModelFormatError(f"qtable: schema {document['schema']} is not known here")
            if values.shape[1:] != (3,) or not np.isfinite(values).all():
                raise ModelFormatError(f"qtable: {SUMS_FILE} does not fit {QTABLE_FILE}")
            half_life = float(document["half_life_days"])
            if not half_life > 0:
                raise ModelFormatError(f"qtable: a half-life of {half_life} days")
            if document["schema"] == 1:  # with each state's name
                states = [str(state) for state in document["states"]]
                if len(states) != len(values):
                    raise ModelFormatError(f"qtable: {SUMS_FILE} does not fit {QTABLE_FILE}")
                sums = StateSums.of(states, values)
            else:
                sums = StateSums(
                    tuple(map(str, document["halves"])),
                    tuple(map(str, document["rests"])),
                    _from_npy(files[PAIRS_FILE]),
                    values,
                )
                if not sums.is_sound:
                    raise ModelFormatError(f"qtable: {PAIRS_FILE} does not fit {QTABLE_FILE}")
            pairs = {str(c): Pairs(*map(float, p)) for c, p in document["pairs"].items()}
            return cls(sums, pairs, float(document["as_of_day"]), half_life)
        except KeyError as missing:
            raise ModelFormatError(f"qtable: {missing} is missing") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelFormatError(f"qtable: the files are damaged ({error})") from None


class _Levels:
    """The levels of a table, each a sum of the one below it, as of the table's day."""

    def __init__(self, columns: StateSums, factor: float) -> None:
        self._columns = columns
        self._states = columns.totals * factor
        number = max(1, len(columns.categories))
        self._number = number
        self._categories = _added(columns.category, self._states, len(columns.categories))
        self._personalities, row = np.unique(
            columns.half * number + columns.category, return_inverse=True
        )
        self._by_personality = _added(row, self._states, len(self._personalities))
        # Exact to the last bit, in whatever order the states stand.
        self.everything = Sums(*(math.fsum(column) for column in self._states.T.tolist()))

    def means(self, states: Sequence[str]) -> FloatArray:
        """Return the pooled means of h states, shrunk level by level."""
        row, half, category = self._columns.find(states)
        mean = np.full(
            len(states), self.everything.reward / (self.everything.weight + pooled.PESSIMISM)
        )
        wanted = half * self._number + category
        last = max(0, len(self._personalities) - 1)
        at = np.minimum(np.searchsorted(self._personalities, wanted), last)
        is_met = (half >= 0) & (category >= 0)
        if len(self._personalities):
            is_met &= self._personalities[at] == wanted
        for sums, place, strength in (
            (self._categories, category, pooled.CATEGORY_STRENGTH),
            (self._by_personality, np.where(is_met, at, -1), pooled.PERSONALITY_STRENGTH),
            (self._states, row, pooled.STATE_STRENGTH),
        ):
            known = place >= 0
            found = sums[place[known]]
            mean[known] = shrunk(found[:, 1], found[:, 0], mean[known], strength)
        return mean


def category(state: str) -> str:
    """Return the category of a state."""
    return category_of(halves_of(state)[1])


def _added(place: NDArray[np.int64], values: FloatArray, number: int) -> FloatArray:
    """Return (number, 3) sums of the rows of each place."""
    return np.stack([np.bincount(place, column, minlength=number) for column in values.T], axis=1)


def _to_npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _from_npy(content: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def burst_bound(state_weight: float, days: int = 1) -> float:
    """Return how far one listener can move the mean of a state in so many days.

    n = `VISITS_PER_DAY` x days verdicts move sum / weight by at most REWARD_RANGE n / (weight + n).

    Examples
    --------
    >>> round(burst_bound(360.0), 4)
    0.1
    """
    n = pooled.VISITS_PER_DAY * days
    return REWARD_RANGE * n / (state_weight + n)
