"""Candidates: the few hundred tracks, out of all, that are worth scoring for a listener.

Several sources each propose some; a track proposed twice keeps the source that came first. In
week 1 four of five candidates are popular and one fits the personality; later the listener's own
history speaks, and that of all who listen alike. A source with nothing to say leaves its share to
the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommender.audio import AudioArray, FloatArray, cosine
from recommender.audio_index import AudioIndex
from recommender.cold_start import Stage
from recommender.genres import CATEGORY_SLUGS
from recommender.listener import Listener
from recommender.personality import match
from recommender.taste import ColistenIn
from recommender.tracks import TIE, Catalogue, IndexArray


class Source(StrEnum):
    """Who proposed a candidate."""

    POPULAR = "popular"
    AUDIO = "audio"
    GENRE = "genre"
    CATEGORY = "category"
    NEW_RELEASE = "new_release"
    COLISTEN = "colisten"
    PERSONALITY = "personality"
    SPOTIFY = "spotify"
    CALLER = "caller"


SHARES: Mapping[Stage, Mapping[Source, float]] = {
    Stage.WEEK_1: {Source.POPULAR: 0.8, Source.PERSONALITY: 0.2},
    Stage.WEEK_2_4: {
        Source.COLISTEN: 0.3,
        Source.PERSONALITY: 0.2,
        Source.AUDIO: 0.15,
        Source.GENRE: 0.1,
        Source.CATEGORY: 0.1,
        Source.POPULAR: 0.1,
        Source.NEW_RELEASE: 0.05,
    },
    Stage.MONTH_2_PLUS: {
        Source.COLISTEN: 0.4,
        Source.AUDIO: 0.2,
        Source.PERSONALITY: 0.1,
        Source.GENRE: 0.1,
        Source.CATEGORY: 0.1,
        Source.POPULAR: 0.05,
        Source.NEW_RELEASE: 0.05,
    },
}
"""Stage -> source -> share of the candidates."""

SPOTIFY_SHARE = 0.1
"""Of the candidates that Spotify may propose before the others share the rest."""

EXACT = 50_000
"""Up to so many tracks every one is judged; of more, an index and orders kept say which."""
ALIKE_ARTISTS = 150
"""Artists whose tracks co-listening looks at, beside those that were heard and audio's."""
TRACKS_PER_ARTIST = 10
FIT_PROBES = 6
_AT_ONCE = 4096
"""Tracks compared with a history at a time: what comes of it stays in the processor's cache."""


def warm(catalogue: Catalogue, joined: ColistenIn | None = None) -> None:
    """Work out what is kept where every track is judged, so that no first caller waits for it."""
    if len(catalogue.canonical) > EXACT:
        return
    tracks = catalogue.canonical_tracks
    _ = tracks.fame, tracks.newness, tracks.directions, catalogue.canonical_genre
    if joined is not None:
        _ = joined.canonical.powers, joined.place


def propose(
    catalogue: Catalogue,
    listener: Listener,
    *,
    size: int = 500,
    within: IndexArray | None = None,
    excluded: IndexArray | None = None,
    index: AudioIndex | None = None,
    spotify: IndexArray | None = None,
) -> tuple[IndexArray, list[Source]]:
    """Return up to `size` candidates for a listener; none only from an empty catalogue.

    Parameters
    ----------
    within
        Only these rows, ascending (the tracks of a genre); None: the whole catalogue.
    excluded
        Rows that the list leaves out anyway: they take no candidate's place while there is enough
        else. None: what the listener heard or disliked.
    index
        Of this catalogue; used where it has more than `EXACT` tracks. None: all are judged.
    spotify
        Rows that Spotify recommends to the listener, best first: the first tenth of `size` of them
        that are open join. None: it was not asked, or is closed.

    Returns
    -------
    rows
        Ascending catalogue rows, no row twice.
    sources
        Who proposed each of them first.
    """
    pool = catalogue.canonical if within is None else np.unique(catalogue.tracks.recording[within])
    if within is None:
        open_ = catalogue.is_canonical.copy()
    else:
        open_ = np.zeros(len(catalogue), dtype=np.bool_)
        open_[pool] = True
    aside = np.union1d(listener.heard, listener.disliked) if excluded is None else excluded
    aside = aside[open_[aside]]
    if len(pool) - len(aside) >= size:
        open_[aside] = False
    exact = index is None or len(pool) <= EXACT
    reach = (
        _Exact(catalogue, listener, pool, open_)
        if exact or index is None
        else _Indexed(catalogue, listener, index, open_)
    )
    asked = {s: share for s, share in SHARES[listener.stage].items() if _speaks(s, listener)}
    total = sum(asked.values())
    found = _Found(np.full(len(catalogue), _NOBODY, dtype=np.int8), open_)
    if spotify is not None and len(spotify):
        rows = catalogue.tracks.recording[spotify]
        rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
        worth = -np.arange(len(rows), dtype=np.float64)
        found.take((rows, worth), Source.SPOTIFY, round(SPOTIFY_SHARE * size))
    shared = size - found.number
    for source, share in asked.items():
        count = min(round(share / total * shared), size - found.number)
        found.take(reach.worth(source, size, count), source, count)
    if found.number < size:  # too small a catalogue, or a source that had little to say
        left = size - found.number
        found.take(reach.worth(Source.POPULAR, size + left, left), Source.POPULAR, left)
    if found.number < min(size, len(pool)):
        found.add(np.flatnonzero(open_)[: size - found.number], Source.POPULAR)
    return found.rows_and_sources()


def _speaks(source: Source, listener: Listener) -> bool:
    return listener.taste is not None if source is Source.COLISTEN else True


_SOURCES, _NOBODY = tuple(Source), -1


@dataclass
class _Found:
    """The candidates so far.

    Attributes
    ----------
    by
        Per row of the catalogue the place in `_SOURCES` of who proposed it, `_NOBODY` for none.
    open_
        Which rows may still be taken.
    number
        How many there are.
    """

    by: NDArray[np.int8]
    open_: NDArray[np.bool_]
    number: int = 0

    def take(self, judged: tuple[IndexArray, FloatArray], source: Source, count: int) -> None:
        """Take the `count` open rows of highest worth; -inf: not proposed at all."""
        rows, worth = judged
        at = np.flatnonzero(self.open_.take(rows) & (worth > -np.inf))
        if count < len(at):
            at = at[np.argpartition(-worth.take(at), count)[:count]] if count else at[:0]
        self.add(rows[at], source)

    def add(self, rows: IndexArray, source: Source) -> None:
        """Take these rows, which are open."""
        self.open_[rows] = False
        self.by[rows] = _SOURCES.index(source)
        self.number += len(rows)

    def rows_and_sources(self) -> tuple[IndexArray, list[Source]]:
        """Return the rows, ascending, and who proposed each."""
        rows = np.flatnonzero(self.by != _NOBODY)
        return rows, [_SOURCES[by] for by in self.by[rows].tolist()]


class _Exact:
    """Every track of a pool, judged by every source."""

    def __init__(
        self,
        catalogue: Catalogue,
        listener: Listener,
        pool: IndexArray,
        open_: NDArray[np.bool_],
    ) -> None:
        self._catalogue, self._listener = catalogue, listener
        self._pool, self._open = pool, open_
        self._everything = pool is catalogue.canonical
        self._tracks = (
            catalogue.canonical_tracks if self._everything else catalogue.tracks.take(pool)
        )
        self._popularity = self._tracks.fame

    def worth(self, source: Source, _: int, count: int) -> tuple[IndexArray, FloatArray]:
        """Return rows, the `count` best open ones among them, and how much a source thinks of them.

        Equals go by popularity: a balanced listener gets what is known, not what comes first.
        """
        tracks, listener, popularity = self._tracks, self._listener, self._popularity
        if source is Source.POPULAR:
            worth = popularity
        elif source is Source.NEW_RELEASE:
            worth = tracks.newness
        elif source is Source.PERSONALITY:
            worth = match(listener.traits, tracks.audio, tracks.genre_terms) + TIE * popularity
        elif source is Source.COLISTEN:
            worth = np.full(len(tracks), -np.inf)
            if listener.taste is not None:
                worth = listener.taste.z(tracks)
        elif source is Source.AUDIO:
            worth = np.full(len(tracks), -np.inf)
            if len(listener.history_weight):
                return self._nearest(count)
        elif source is Source.GENRE:
            genre = self._catalogue.genre
            genre = self._catalogue.canonical_genre if self._everything else genre[self._pool]
            worth = _shared(genre_shares(self._catalogue, listener), genre, popularity)
        else:
            worth = _shared(_category_shares(listener), tracks.category, popularity)
        return self._pool, worth

    def _nearest(self, count: int) -> tuple[IndexArray, FloatArray]:
        """Return how near each track is to anything heard, a heavier play reaching further.

        A play of weight w brings no track nearer than w: once `count` open tracks are nearer than
        that, lighter plays bring none among the best. So the heaviest are looked at first. With
        equals at the edge of the best all are looked at, for `take` to choose among as always.
        """
        tracks, listener = self._tracks, self._listener
        weight = (listener.history_weight / listener.history_weight.max()).astype(np.float32)
        directions, heard = tracks.directions, listener.history_audio
        length = np.sqrt((heard * heard).sum(axis=1))
        by_fame = TIE * self._popularity
        if directions is None or not length.all() or np.isnan(length.sum()):
            near = cosine(heard, tracks.audio, unknown=0.0) * weight[:, None]
            return self._pool, near.max(axis=0).astype(np.float64) + by_fame
        heard = heard * (weight / length)[:, None]
        open_ = np.flatnonzero(self._open.take(self._pool))
        if len(heard) > 2 * _HEAVIEST and 0 < count < len(open_):
            order = np.argsort(-weight, kind="stable")
            nearest = _nearness(heard[order[:_HEAVIEST]], directions)
            lighter = order[_HEAVIEST:]
            lighter = lighter[weight[lighter] >= _edge(nearest.take(open_), count) - _SLACK]
            if len(lighter) < len(heard) // 2:
                if len(lighter):
                    # Not one alone: BLAS rounds the product with a single row in another way.
                    some = lighter if len(lighter) > 1 else order[: _HEAVIEST + 1]
                    np.maximum(nearest, _nearness(heard[some], directions), out=nearest)
                worth = (nearest + by_fame).take(open_)
                best = np.flatnonzero(worth >= _edge(worth, count))
                if len(best) == count:
                    return self._pool[open_[best]], worth[best]
        return self._pool, _nearness(heard, directions) + by_fame


_HEAVIEST = 4
"""Plays that are looked at before it is known which others can matter."""
_SLACK = 1e-4
"""More than rounding and `TIE` together."""


def _edge(worth: FloatArray, count: int) -> float:
    """Return the `count`th largest of more."""
    return float(np.partition(worth, len(worth) - count)[len(worth) - count])


def _nearness(heard: AudioArray, directions: AudioArray) -> FloatArray:
    """Return (n,) the largest product of each direction with any of the heard rows."""
    nearest = np.empty(directions.shape[1])
    for begin in range(0, len(nearest), _AT_ONCE):
        of = slice(begin, begin + _AT_ONCE)
        (heard @ directions[:, of]).max(axis=0, out=nearest[of])
    return nearest


def _shared(share: FloatArray, code: IndexArray, popularity: FloatArray) -> FloatArray:
    """Return (n,) the share of each track's group plus its popularity, -inf without a share."""
    worth: FloatArray = np.where(share > 0, share, -np.inf)[code] + popularity
    return worth


class _Indexed:
    """The same sources over a large catalogue: each looks only at the rows that can be its best."""

    def __init__(
        self,
        catalogue: Catalogue,
        listener: Listener,
        index: AudioIndex,
        open_: NDArray[np.bool_],
    ) -> None:
        self._catalogue, self._listener = catalogue, listener
        self._index, self._open = index, open_

    def worth(self, source: Source, count: int, _: int) -> tuple[IndexArray, FloatArray]:
        """Return rows that hold the `count` best open ones, and their worth."""
        catalogue, listener = self._catalogue, self._listener
        if source in {Source.POPULAR, Source.NEW_RELEASE}:
            newest = source is Source.NEW_RELEASE
            order = catalogue.by_release if newest else catalogue.by_popularity
            rows = self._first(order, count)
            return rows, -np.arange(len(rows), dtype=np.float64)
        if source is Source.AUDIO:
            return self._nearest
        if source is Source.PERSONALITY:
            return self._fitting()
        if source is Source.COLISTEN:
            return self._alike(count)
        if source is Source.GENRE:
            return self._shared(genre_shares(catalogue, listener), catalogue.by_genre, count)
        return self._shared(_category_shares(listener), catalogue.by_category, count)

    def _fitting(self) -> tuple[IndexArray, FloatArray]:
        """Return what fits the personality: centroids have no genres, their tracks do."""
        traits, terms = self._listener.traits, self._catalogue.tracks.genre_terms
        if not traits:
            return self._catalogue.by_popularity[:0], np.empty(0)
        none = np.zeros((len(self._index.centroids), *terms.shape[1:]), dtype=np.bool_)
        rows, _ = self._index.search(lambda audio: match(traits, audio, none), probes=FIT_PROBES)
        rows = rows[self._open[rows]]
        tracks = self._catalogue.tracks
        popularity = np.nan_to_num(tracks.popularity[rows], nan=0.0)
        return rows, match(traits, tracks.audio[rows], terms[rows]) + TIE * popularity

    def _first(self, order: IndexArray, count: int) -> IndexArray:
        """Return the first `count` open rows of an order."""
        reach = 2 * count
        while True:
            rows = order[:reach]
            rows = rows[self._open[rows]]
            if len(rows) >= count or reach >= len(order):
                return rows[:count]
            reach *= 4

    @cached_property
    def _nearest(self) -> tuple[IndexArray, FloatArray]:
        listener = self._listener
        return self._index.nearest(listener.history_audio, listener.history_weight)

    def _shared(
        self, share: FloatArray, orders: tuple[IndexArray, IndexArray], count: int
    ) -> tuple[IndexArray, FloatArray]:
        """Return the most popular of each group that the listener has a share in."""
        order, starts = orders
        groups = np.flatnonzero(share[: len(starts) - 1] > 0)
        spans = [self._first(order[starts[g] : starts[g + 1]], count) for g in groups.tolist()]
        rows = np.concatenate(spans) if spans else order[:0]
        of = np.repeat(share[groups], [len(span) for span in spans])
        return rows, of + np.nan_to_num(self._catalogue.tracks.popularity[rows], nan=0.0)

    def _alike(self, count: int) -> tuple[IndexArray, FloatArray]:
        taste, catalogue = self._listener.taste, self._catalogue
        if taste is None:
            return catalogue.by_popularity[:0], np.empty(0)
        artists = np.union1d(
            taste.alike(ALIKE_ARTISTS), self._listener.heard_artists[:ALIKE_ARTISTS]
        )
        near, worth = self._nearest
        nearest = near
        if count < len(near):
            nearest = near[np.argpartition(-worth, count)[:count]]
        rows = np.union1d(catalogue.rows_by(artists, most=TRACKS_PER_ARTIST), nearest)
        rows = rows[self._open[rows]]
        return rows, taste.z(catalogue.tracks.take(rows))


def _category_shares(listener: Listener) -> FloatArray:
    """(categories + 1,): the last place is that of code -1, no category."""
    share = np.zeros(len(CATEGORY_SLUGS) + 1)
    for code, value in listener.categories.items():
        share[code] = value
    return share


def genre_shares(catalogue: Catalogue, listener: Listener) -> FloatArray:
    """Return (genres + 1,) which finest genres the listener's tracks have, else the artists'.

    The last place is that of tracks without a genre: 0.
    """
    rows = listener.heard
    if not len(rows):
        rows = catalogue.rows_by(listener.heard_artists, most=TRACKS_PER_ARTIST)
    codes = catalogue.genre[rows]
    counts = np.bincount(codes[codes >= 0], minlength=len(catalogue.genre_names) + 1)
    shares: FloatArray = counts / max(1, counts.sum())
    return shares
