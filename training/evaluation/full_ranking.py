"""Full ranking: the best list out of every track of a catalogue, not out of 500 candidates.

The rules are those of `recommender.ranking.rank` (greedy, diversity against what stands above, two
tracks per artist, nothing heard or disliked; ties to the lower row), which compares all pairs of
its candidates. Here only tracks that can still win are looked at, and compared with what was
chosen; a test holds the two together.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recommender.audio import NEUTRAL, AudioArray, FloatArray, cosine
from recommender.components import DIVERSITY, STATIC
from recommender.diversity import NEW_IN_LIST, UNLIKENESS
from recommender.listener import Listener
from recommender.ranking import ARTIST_CAP
from recommender.scoring import Weights
from recommender.tracks import Catalogue, IndexArray, Tracks

LIMIT = 50
HISTORY = "history"


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
        """Return these static components of all n tracks, key -> (n,).

        history is a sum over all that was heard: where no feature is missing, the sum over unit
        rows is taken before the product with each track, equal but for rounding (float32's 1e-7).
        """
        parts = {key: STATIC[key](listener, self.tracks) for key in keys if key != HISTORY}
        if HISTORY in keys:
            heard, weight = _unit(listener.history_audio), listener.history_weight
            if self.unit is None or heard is None or not weight.sum() > 0:
                parts[HISTORY] = STATIC[HISTORY](listener, self.tracks)
            else:
                parts[HISTORY] = np.minimum(1.0, self.unit @ (weight @ heard / weight.sum()))
        return parts

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
        base = np.zeros(len(self.tracks))
        for key in STATIC:
            if weights.get(key):
                base += weights[key] * components[key]
        base[np.isin(self.tracks.row, np.union1d(listener.heard, listener.disliked))] = -np.inf
        places = self._contenders(base, weight, limit)
        ceiling = base[places] + weight * (UNLIKENESS + NEW_IN_LIST)
        artist = self.tracks.artist[places]
        likeness = _Likeness(self, places) if weight else None
        chosen: list[int] = []
        named: dict[int, int] = {}
        while len(chosen) < min(limit, len(places)):
            score = ceiling
            if likeness is not None:
                score = ceiling - likeness.sums(UNLIKENESS * weight / max(1, len(chosen)))
            best = int(score.argmax())
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

    def _contenders(self, base: FloatArray, weight: float, limit: int) -> IndexArray:
        """Return the places of all tracks that some position could take, ascending.

        With t the lowest base of so many tracks that the cap lets `limit` of them stand, one of
        those is open at every position and scores t at least; who stays below t with full
        diversity never stands.
        """
        size = 4 * limit
        while size < len(base):
            top = np.argpartition(-base, size)[:size]
            top = top[base[top] > -np.inf]
            _, counts = np.unique(self.tracks.artist[top], return_counts=True)
            if np.minimum(counts, ARTIST_CAP).sum() >= limit:
                reach = base.take(top).min() - weight * (UNLIKENESS + NEW_IN_LIST)
                return np.flatnonzero(base >= reach - 1e-12)
            size *= 4
        return np.flatnonzero(base > -np.inf)

    @cached_property
    def unit(self) -> FloatArray | None:
        """(n, 7) audio rows of length 1; None where features are missing."""
        return _unit(self.tracks.audio)


class _Likeness:
    """The sum of each contender's cosines with what was chosen."""

    def __init__(self, ranking: FullRanking, places: IndexArray) -> None:
        self._audio = ranking.tracks.audio[places]
        self._unit = None if ranking.unit is None else ranking.unit[places]
        self._direction = np.zeros(self._audio.shape[1])
        self._sums = np.zeros(len(places))

    def sums(self, factor: float) -> FloatArray:
        """Return factor x the sums."""
        if self._unit is not None:
            return np.asarray(self._unit @ (factor * self._direction))
        return factor * self._sums

    def take(self, place: int) -> None:
        """Add one to what was chosen."""
        if self._unit is not None:
            self._direction += self._unit[place]
        else:
            one = self._audio[place : place + 1]
            self._sums += cosine(self._audio, one, unknown=NEUTRAL)[:, 0]


def _unit(audio: AudioArray) -> FloatArray | None:
    rows = audio.astype(np.float64)
    length = np.sqrt((rows * rows).sum(axis=1))
    if not length.all() or np.isnan(length.sum()):
        return None
    unit: FloatArray = rows / length[:, None]
    return unit
