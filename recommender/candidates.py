"""Candidates: the few hundred tracks, out of all, that are worth scoring for a listener.

Several sources each propose some; a track proposed twice keeps the source that came first. In
week 1 four of five candidates are popular and one fits the personality; later the listener's own
history speaks.
"""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np

from recommender.audio import cosine
from recommender.cold_start import Stage
from recommender.listener import Listener
from recommender.personality import match
from recommender.tracks import Catalogue, IndexArray


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
        Source.PERSONALITY: 0.3,
        Source.AUDIO: 0.3,
        Source.CATEGORY: 0.2,
        Source.POPULAR: 0.15,
        Source.NEW_RELEASE: 0.05,
    },
    Stage.MONTH_2_PLUS: {
        Source.AUDIO: 0.4,
        Source.PERSONALITY: 0.2,
        Source.CATEGORY: 0.2,
        Source.POPULAR: 0.1,
        Source.NEW_RELEASE: 0.1,
    },
}
"""Stage -> source -> share of the candidates."""


def propose(
    catalogue: Catalogue,
    listener: Listener,
    *,
    size: int = 500,
    within: IndexArray | None = None,
) -> tuple[IndexArray, list[Source]]:
    """Return up to `size` candidates for a listener.

    Parameters
    ----------
    within
        Only these rows, ascending (the tracks of a genre); None: the whole catalogue.

    Returns
    -------
    rows
        Ascending catalogue rows, no row twice.
    sources
        Who proposed each of them first.
    """
    pool = np.arange(len(catalogue)) if within is None else within
    open_ = np.zeros(len(catalogue), dtype=np.bool_)
    open_[pool] = True
    # Heard and disliked tracks would be left out of the list anyway: they take no candidate's place
    # while there is enough else.
    aside = np.union1d(listener.heard, listener.disliked).astype(np.int64)
    if len(pool) - len(aside) >= size:
        open_[aside] = False
    found: dict[int, Source] = {}
    for source, share in SHARES[listener.stage].items():
        order = _ordered(source, catalogue, listener, open_)
        _take(found, order, source, round(share * size), open_)
    if len(found) < size:  # too small a catalogue, or a source that had little to say
        order = catalogue.by_popularity
        _take(found, order[open_[order]], Source.POPULAR, size - len(found), open_)
    rows = np.array(sorted(found), dtype=np.int64)
    return rows, [found[row] for row in rows.tolist()]


def _take(
    found: dict[int, Source], order: IndexArray, source: Source, count: int, open_: np.ndarray
) -> None:
    rows = order[open_[order]][:count]
    open_[rows] = False
    found.update(dict.fromkeys(rows.tolist(), source))


def _ordered(
    source: Source, catalogue: Catalogue, listener: Listener, open_: np.ndarray
) -> IndexArray:
    """Return rows in the order in which a source proposes them."""
    tracks = catalogue.tracks
    if source is Source.POPULAR:
        return catalogue.by_popularity
    if source is Source.NEW_RELEASE:
        return catalogue.by_release
    if source is Source.PERSONALITY:
        return _best(match(listener.traits, tracks.audio, tracks.genre_terms), catalogue)
    if source is Source.AUDIO:
        if not len(listener.history_weight):
            return np.empty(0, dtype=np.int64)
        # The nearest to anything heard, a heavier play reaching further.
        near = cosine(tracks.audio, listener.history_audio)
        weight = (listener.history_weight / listener.history_weight.max()).astype(np.float32)
        return _best(np.nan_to_num(near * weight, nan=0.0).max(axis=1), catalogue)
    share = np.zeros(len(catalogue))
    for code, value in listener.categories.items():
        share[tracks.category == code] = value
    popular = np.nan_to_num(tracks.popularity, nan=0.0)
    return _best(np.where(share > 0, share + popular, -1.0), catalogue, above=0.0)


def _best(value: np.ndarray, catalogue: Catalogue, above: float | None = None) -> IndexArray:
    # Ties by popularity, then by id: a balanced listener gets what is known, not what is first.
    order: IndexArray = np.lexsort(
        (-np.nan_to_num(catalogue.tracks.popularity, nan=0.0), -value)
    ).astype(np.int64)
    return order if above is None else order[value[order] > above]
