"""Full ranking: the best list out of every track of a catalogue, not out of 500 candidates.

The rules are those of `recommender.ranking.rank` (greedy, diversity against what stands above, two
tracks per artist, nothing heard or disliked; ties to the lower row), which compares all pairs of
its candidates. Here only tracks that can still win are looked at, and compared with what was
chosen; a test holds the two together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recommender.audio import NEUTRAL, FloatArray, cosine
from recommender.candidates import EXACT
from recommender.components import DIVERSITY, STATIC
from recommender.diversity import NEW_IN_LIST, UNLIKENESS
from recommender.listener import Listener
from recommender.ranking import ARTIST_CAP
from recommender.scoring import Weights
from recommender.tracks import Catalogue, IndexArray, Tracks
from training.evaluation.all_tracks import AllTracks, colisten_bounds

LIMIT = 50
COLISTEN = "colisten"
FEWEST_LOOKED_AT = 256
ROUNDING = 1e-9
"""More than sums of components differ for being added in another order."""


@dataclass(frozen=True)
class FullRanking:
    """Every track that stands for its recording, ready to be ranked for anybody."""

    tracks: Tracks

    @classmethod
    def of(cls, catalogue: Catalogue) -> "FullRanking":
        """Return the ranking of a catalogue."""
        return cls(catalogue.canonical_tracks)

    def components(
        self, listener: Listener, keys: Collection[str] = tuple(STATIC)
    ) -> dict[str, FloatArray]:
        """Return these static components of all n tracks, see `AllTracks`."""
        return self._all.components(listener, keys)

    def warm(self) -> None:
        """Work out what is the same for everybody, so that all processes share it."""
        self._all.warm()

    @property
    def unit(self) -> FloatArray | None:
        """(n, 7) audio rows of length 1; None where features are missing."""
        return self._all.unit

    @cached_property
    def _all(self) -> AllTracks:
        return AllTracks(self.tracks)

    def lists(
        self, listener: Listener, weights: Sequence[Weights], limit: int = LIMIT
    ) -> list[IndexArray]:
        """Return the best list by each of these weights, as `best` does.

        Of a large catalogue, what co-listening says is worked out for the tracks that may stand:
        how near a track is to what was heard takes longest, and bounds on it rule most tracks out.
        """
        keys = [key for key in STATIC if any(one.get(key) for one in weights)]
        taste = listener.taste
        if COLISTEN not in keys or taste is None or len(self.tracks) <= EXACT:
            components = self.components(listener, keys)
            return [self.best(listener, components, one, limit) for one in weights]
        keys.remove(COLISTEN)
        components = self.components(listener, keys)
        lowest, highest = colisten_bounds(taste, self.tracks)
        may_stand = np.zeros(len(self.tracks), dtype=np.bool_)
        for one in weights:
            base, weight = self._base(listener, components, one), one.get(COLISTEN, 0.0)
            reach = self._reach(base + weight * lowest, one.get(DIVERSITY, 0.0), limit)
            may_stand |= base + weight * highest >= reach
        at = np.flatnonzero(may_stand)
        few = FullRanking(self.tracks.take(at))
        of_few = {key: values[at] for key, values in components.items()}
        of_few[COLISTEN] = STATIC[COLISTEN](listener, few.tracks)
        return [few.best(listener, of_few, one, limit) for one in weights]

    def best(
        self,
        listener: Listener,
        components: Mapping[str, FloatArray],
        weights: Weights,
        limit: int = LIMIT,
    ) -> IndexArray:
        """Return the catalogue rows of the best list, best first.

        It is shorter than `limit` only where the artist cap leaves no more.
        """
        weight = weights.get(DIVERSITY, 0.0)
        base = self._base(listener, components, weights)
        places = np.flatnonzero(base >= self._reach(base, weight, limit))
        # By base, of equals the lower row first: whatever a position takes stands near the top.
        places = places[np.argsort(-base[places], kind="stable")]
        full = weight * (UNLIKENESS + NEW_IN_LIST)
        highest = base[places] + full
        ceiling = highest.copy()
        artist = self.tracks.artist[places]
        likeness = _Likeness(self, places) if weight else None
        chosen: list[int] = []
        named: dict[int, int] = {}
        size = FEWEST_LOOKED_AT
        while len(chosen) < min(limit, len(places)):
            factor = UNLIKENESS * weight / max(1, len(chosen))
            while True:
                score = ceiling[:size]
                if likeness is not None:
                    score = score - likeness.sums(size, factor)
                best = int(score.argmax())
                # Nobody further down scores more than they would in full diversity.
                reach = score[best] - ROUNDING
                if size >= len(places) or highest[size] < reach:
                    break
                size = max(2 * size, int(np.searchsorted(-highest, -reach, side="right")))
            if ceiling[best] == -np.inf:
                break
            chosen.append(best)
            of_artist = int(artist[best])
            named[of_artist] = count = named.get(of_artist, 0) + 1
            ceiling[best] = -np.inf
            others = np.flatnonzero(artist == of_artist)
            ceiling[others] -= np.inf if count == ARTIST_CAP else NEW_IN_LIST * weight
            if likeness is not None:
                likeness.take(best)
        return self.tracks.row[places[chosen]]

    def _base(
        self, listener: Listener, components: Mapping[str, FloatArray], weights: Weights
    ) -> FloatArray:
        """Return (n,) weight x component, summed; -inf where a track may not stand."""
        base = np.zeros(len(self.tracks))
        for key in STATIC:
            if weights.get(key) and key in components:
                base += weights[key] * components[key]
        closed = np.union1d(listener.heard, listener.disliked)
        at = np.searchsorted(self.tracks.row, closed)
        is_here = at < len(self.tracks)
        is_here[is_here] = self.tracks.row[at[is_here]] == closed[is_here]
        base[at[is_here]] = -np.inf
        return base

    def _reach(self, base: FloatArray, weight: float, limit: int) -> float:
        """Return what the base of a track must reach for any position to take it.

        With t the lowest base of so many tracks that the cap lets `limit` of them stand, one of
        those is open at every position and scores t at least; who stays below t with full
        diversity never stands. `base` may be a lower bound: t is one then.
        """
        size = 4 * limit
        while size < len(base):
            top = np.argpartition(-base, size)[:size]
            top = top[base[top] > -np.inf]
            _, counts = np.unique(self.tracks.artist[top], return_counts=True)
            if np.minimum(counts, ARTIST_CAP).sum() >= limit:
                lowest = float(base.take(top).min())
                return lowest - weight * (UNLIKENESS + NEW_IN_LIST) - ROUNDING
            size *= 4
        return -np.finfo(np.float64).max


class _Likeness:
    """The sum of each contender's cosines with what was chosen."""

    def __init__(self, ranking: FullRanking, places: IndexArray) -> None:
        self._audio = ranking.tracks.audio[places]
        self._unit = None if ranking.unit is None else ranking.unit[places]
        self._direction = np.zeros(self._audio.shape[1])
        self._sums = np.zeros(len(places))

    def sums(self, size: int, factor: float) -> FloatArray:
        """Return factor x the sums of the first `size`."""
        if self._unit is not None:
            return np.asarray(self._unit[:size] @ (factor * self._direction))
        return factor * self._sums[:size]

    def take(self, place: int) -> None:
        """Add one to what was chosen."""
        if self._unit is not None:
            self._direction += self._unit[place]
        else:
            one = self._audio[place : place + 1]
            self._sums += cosine(self._audio, one, unknown=NEUTRAL)[:, 0]
