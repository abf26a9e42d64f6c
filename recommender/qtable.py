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

import numpy as np

from recommender import pooled
from recommender.audio import FloatArray
from recommender.errors import ModelFormatError
from recommender.pooled import Pairs, Sums, own_strength, shrunk, split, total

QTABLE_FILE, SUMS_FILE = "qtable.json", "sums.npy"

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
        none = Sums()
        sums = {
            state: self.sums.get(state, none) + other.sums.get(state, none)
            for state in self.sums.keys() | other.sums.keys()
        }
        return QTable(
            sums,
            {
                category: self.pairs.get(category, Pairs()) + other.pairs.get(category, Pairs())
                for category in self.pairs.keys() | other.pairs.keys()
            },
            max(self.as_of_day, other.as_of_day),
            self.half_life_days,
        )

    @cached_property
    def _levels(self) -> "_Levels":
        factor = 1.0 / float(pooled.decayed_weight(self.as_of_day, self.half_life_days))
        return _Levels({state: sums.scaled(factor) for state, sums in self.sums.items()})

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
        own = own or {}
        strength = own_strength(self.consistency)
        by_category: dict[str, list[float]] = {}
        for state, (weight, reward) in own.items():
            sums = by_category.setdefault(split(state)[1], [0.0, 0.0])
            sums[0] += weight
            sums[1] += reward
        prior = np.array([self._levels.mean(state) for state in states])
        mine = np.array([own.get(state, (0.0, 0.0)) for state in states]).reshape(-1, 2)
        nothing = [0.0, 0.0]
        others = np.array([by_category.get(split(s)[1], nothing) for s in states]).reshape(-1, 2)
        others = others - mine
        start = shrunk(others[:, 1], others[:, 0], prior, strength)
        mean = shrunk(mine[:, 1], mine[:, 0], start, strength)
        verdict = pooled.variance(self._levels.everything)
        return mean, pooled.spread_of(mine[:, 0], verdict, self.consistency)

    def to_files(self) -> Mapping[str, bytes]:
        """Return the model's files: the same table always gives the same bytes."""
        states = sorted(self.sums)
        array = np.array(
            [(s.weight, s.reward, s.square) for s in map(self.sums.__getitem__, states)]
        ).reshape(-1, 3)
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        document = {
            "schema": 1,
            "as_of_day": self.as_of_day,
            "half_life_days": self.half_life_days,
            "pairs": {c: [p.n, p.x, p.y, p.xx, p.xy] for c, p in self.pairs.items()},
            "states": states,
        }
        text = json.dumps(document, indent=1, sort_keys=True) + "\n"
        return {QTABLE_FILE: text.encode(), SUMS_FILE: buffer.getvalue()}

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
            array = np.load(io.BytesIO(files[SUMS_FILE]), allow_pickle=False)
            if document["schema"] != 1:
                raise ModelFormatError(f"qtable: schema {document['schema']} is not known here")
            states = [str(state) for state in document["states"]]
            if array.shape != (len(states), 3) or not np.isfinite(array).all():
                raise ModelFormatError(f"qtable: {SUMS_FILE} does not fit {QTABLE_FILE}")
            half_life = float(document["half_life_days"])
            if not half_life > 0:
                raise ModelFormatError(f"qtable: a half-life of {half_life} days")
            sums = {s: Sums(*row) for s, row in zip(states, array.tolist(), strict=True)}
            pairs = {str(c): Pairs(*map(float, p)) for c, p in document["pairs"].items()}
            return cls(sums, pairs, float(document["as_of_day"]), half_life)
        except KeyError as missing:
            raise ModelFormatError(f"qtable: {missing} is missing") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelFormatError(f"qtable: the files are damaged ({error})") from None


class _Levels:
    """The levels of a table, each a sum of the one below it."""

    def __init__(self, sums: Mapping[str, Sums]) -> None:
        self._states = sums
        self._categories: dict[str, Sums] = {}
        self._personalities: dict[tuple[str, str], Sums] = {}
        none = Sums()
        for state in sorted(sums):
            half, category = split(state)
            found = self._categories.get(category, none)
            self._categories[category] = found + sums[state]
            key = (half, category)
            self._personalities[key] = self._personalities.get(key, none) + sums[state]
        self.everything = total(sums)
        self._known: dict[str, float] = {}

    def mean(self, state: str) -> float:
        """Return the pooled mean of a state, shrunk level by level."""
        if state in self._known:
            return self._known[state]
        half, category = split(state)
        mean = self.everything.reward / (self.everything.weight + pooled.PESSIMISM)
        for sums, strength in (
            (self._categories.get(category), pooled.CATEGORY_STRENGTH),
            (self._personalities.get((half, category)), pooled.PERSONALITY_STRENGTH),
            (self._states.get(state), pooled.STATE_STRENGTH),
        ):
            if sums is not None:
                mean = (sums.reward + strength * mean) / (sums.weight + strength)
        if len(self._known) < 200_000:
            self._known[state] = mean
        return mean


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
