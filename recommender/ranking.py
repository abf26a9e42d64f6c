"""Ranking: the greedy choice of a list, one position after the other.

Every position takes the eligible track with the highest score, its diversity measured against
what already stands above it. Ties go to the lower catalogue row: the order of candidates means
nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.audio import AudioArray, FloatArray
from recommender.components import DIVERSITY, KEYS, STATIC
from recommender.diversity import (
    NEW_IN_LIST,
    UNLIKENESS,
    diversity,
    diversity_by_similarity,
    pairwise_similarity,
)
from recommender.entropy import EntropyFloor
from recommender.exploration import Beliefs, Policy
from recommender.scoring import Weights
from recommender.tracks import IndexArray, Tracks

ARTIST_CAP = 2

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """What may stand in a list; candidates by mask, True where the rule speaks against one.

    Attributes
    ----------
    never
        Disliked, or excluded by the caller: never relaxed.
    heard, shown
        Left out while there is enough else.
    artist_cap
        Tracks per artist; None: no cap.
    """

    never: Mask
    heard: Mask
    shown: Mask
    artist_cap: int | None = ARTIST_CAP


@dataclass(frozen=True)
class Ranking:
    """A list, best first: k tracks and everything their scores are made of.

    Attributes
    ----------
    place
        (k,) places in the candidates that were ranked.
    score, rl_adjustment, propensity
        (k,) float64.
    components
        Key -> (k,) float64, diversity as it was when the track was chosen.
    relaxed
        Which rules had to give way (artist_cap, shown, heard), and from which position on.
    """

    place: IndexArray
    score: FloatArray
    rl_adjustment: FloatArray
    propensity: FloatArray
    components: Mapping[str, FloatArray]
    relaxed: Mapping[str, int]


def rank(
    tracks: Tracks,
    components: Mapping[str, FloatArray],
    *,
    weights: Weights,
    rl_adjustment: FloatArray,
    rules: Rules,
    policy: Policy,
    limit: int = 50,
    floor: EntropyFloor | None = None,
    beliefs: Beliefs | None = None,
) -> Ranking:
    """Choose and order up to `limit` of n candidates.

    Where the rules leave fewer than `limit`, they give way one by one: first the artist cap, then
    shown, then heard. What stands already stays.

    Parameters
    ----------
    tracks
        The candidates, in ascending order of `Tracks.row`.
    components
        The static components, key -> (n,).
    weights
        Component key -> weight, diversity among them.
    rl_adjustment
        (n,) in [-0.05, 0.05].
    floor
        Leaves out, at every position, what would put the list's entropy out of reach.
    beliefs
        Of the candidates, for the policy; None: nothing is believed of any.

    Returns
    -------
    Ranking
        With score = sum of weight x component + rl_adjustment at every position.
    """
    base = rl_adjustment + sum(weights.get(key, 0.0) * components[key] for key in STATIC)
    diversity_weight = weights.get(DIVERSITY, 0.0)
    likeness = _Likeness(tracks.audio, diversity_weight) if diversity_weight else None
    open_places = _OpenPlaces(tracks, base, diversity_weight, rules)
    places: list[int] = []
    propensities: list[float] = []

    wanted, position = min(limit, len(tracks)), 1
    while position <= wanted:
        score = open_places.ceiling
        if likeness is not None:
            score = likeness.lowered(score)
        chosen, propensity = int(score.argmax()), 1.0
        if score.item(chosen) == -np.inf:
            if not open_places.relax(position):
                break
            continue
        if floor is not None:
            chosen = floor.best(score)
        if policy.explores(position):
            open_now = open_places.ceiling > -np.inf
            eligible = np.flatnonzero(open_now if floor is None else floor.allowed(open_now))
            drawn, propensity = policy.draw(score[eligible], believed(beliefs, eligible))
            chosen = int(eligible[drawn])
        open_places.take(chosen)
        if floor is not None:
            floor.take(chosen)
        if likeness is not None:
            likeness.take(chosen)
        places.append(chosen)
        propensities.append(propensity)
        position += 1

    at = np.array(places, dtype=np.int64)
    parts = {key: components[key][at] for key in STATIC} | {
        DIVERSITY: diversity_by_similarity(
            pairwise_similarity(tracks.audio, among=at), tracks.artist[at]
        )
    }
    return Ranking(
        place=at,
        score=base[at] + diversity_weight * parts[DIVERSITY],
        rl_adjustment=rl_adjustment[at],
        propensity=np.array(propensities),
        components={key: parts[key] for key in KEYS},
        relaxed=open_places.relaxed,
    )


def believed(beliefs: Beliefs | None, places: IndexArray) -> Beliefs:
    """Return the beliefs of some candidates."""
    if beliefs is None:
        zeros = np.zeros(len(places))
        return Beliefs(zeros, zeros, np.arange(len(places)))
    return Beliefs(beliefs.mean[places], beliefs.spread[places], beliefs.group[places])


class _Likeness:
    """How like the list so far every candidate is; only asked where diversity has a weight."""

    def __init__(self, audio: AudioArray, diversity_weight: float) -> None:
        self._similarity = pairwise_similarity(audio)
        self._sum = np.zeros(len(audio))
        self._lowered = np.empty(len(audio))
        self._factor, self._listed = -UNLIKENESS * diversity_weight, 0

    def lowered(self, ceiling: FloatArray) -> FloatArray:
        """Return the scores that have these ceilings; valid until the next call."""
        np.multiply(self._sum, self._factor / max(1, self._listed), out=self._lowered)
        return np.add(self._lowered, ceiling, out=self._lowered)

    def take(self, chosen: int) -> None:
        """Put a candidate into the list."""
        self._sum += self._similarity[chosen]
        self._listed += 1


class _OpenPlaces:
    """Which candidates may stand next, and their scores but for the likeness to the list.

    `ceiling` is base + weight x diversity at likeness 0, -inf where a candidate may not stand. Only
    what one choice changes is brought up to date after it.
    """

    def __init__(
        self, tracks: Tracks, base: FloatArray, diversity_weight: float, rules: Rules
    ) -> None:
        self._base = base
        self._weight = diversity_weight
        # Artists by small codes, so that a count per artist is an array.
        self._artist = np.unique(tracks.artist, return_inverse=True)[1]
        self._codes = self._artist.tolist()
        self._order = np.argsort(self._artist, kind="stable")
        sizes = np.bincount(self._artist)
        self._per_artist = [0] * len(sizes)
        self._sizes, self._ends = sizes.tolist(), np.cumsum(sizes).tolist()
        self._free = ~rules.never
        self._cap, self._barred = rules.artist_cap, rules.heard | rules.shown
        self._steps = _relaxations(rules)
        self.relaxed: dict[str, int] = {}
        self.ceiling = self._ceilings()

    def _ceilings(self) -> FloatArray:
        eligible = self._free & ~self._barred
        listed = np.array(self._per_artist, dtype=np.int64)[self._artist]
        if self._cap is not None:
            eligible &= listed < self._cap
        unlike = diversity(0.0, listed == 0)
        ceiling: FloatArray = np.where(eligible, self._base + self._weight * unlike, -np.inf)
        return ceiling

    def take(self, chosen: int) -> None:
        """Close a place, and what its artist's cap closes with it."""
        code = self._codes[chosen]
        self._free[chosen] = False
        self.ceiling[chosen] = -np.inf
        count = self._per_artist[code] + 1
        self._per_artist[code] = count
        size = self._sizes[code]
        if size > 1:
            end = self._ends[code]
            members = self._order[end - size : end]
            if count == self._cap:
                self.ceiling[members] = -np.inf
            elif count == 1 and self._weight:
                self.ceiling[members] -= NEW_IN_LIST * self._weight

    def relax(self, position: int) -> bool:
        """Let the next rule give way at a position; return False once none is left."""
        step = next(self._steps, None)
        if step is None:
            return False
        name, self._cap, self._barred = step
        self.ceiling = self._ceilings()
        if (self.ceiling > -np.inf).any():
            self.relaxed[name] = position
        return True


def _relaxations(rules: Rules) -> Iterator[tuple[str, None, Mask]]:
    if rules.artist_cap is not None:
        yield "artist_cap", None, rules.heard | rules.shown
    if rules.shown.any():
        yield "shown", None, rules.heard
    if rules.heard.any():
        yield "heard", None, np.zeros_like(rules.heard)
