"""Candidates: the few hundred tracks, out of all, that are worth scoring for a listener.

Several sources each propose some; a track proposed twice keeps the source that came first. In
week 1 four of five candidates are popular and one fits the personality; later the listener's own
history speaks.
"""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray, cosine
from recommender.cold_start import Stage
from recommender.genres import CATEGORY_SLUGS
from recommender.listener import Listener
from recommender.personality import match
from recommender.tracks import UNKNOWN_DATE, Catalogue, IndexArray


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

TIE = 1e-6
"""What popularity adds where a source thinks the same of two tracks."""


def propose(
    catalogue: Catalogue,
    listener: Listener,
    *,
    size: int = 500,
    within: IndexArray | None = None,
    excluded: IndexArray | None = None,
) -> tuple[IndexArray, list[Source]]:
    """Return up to `size` candidates for a listener.

    Parameters
    ----------
    within
        Only these rows, ascending (the tracks of a genre); None: the whole catalogue.
    excluded
        Rows that the list leaves out anyway: they take no candidate's place while there is enough
        else. None: what the listener heard or disliked.

    Returns
    -------
    rows
        Ascending catalogue rows, no row twice.
    sources
        Who proposed each of them first.
    """
    pool = np.arange(len(catalogue)) if within is None else within
    pool = np.unique(
        catalogue.tracks.recording[pool]
    )  # a recording under many ids is one candidate
    open_ = np.zeros(len(catalogue), dtype=np.bool_)
    open_[pool] = True
    aside = np.union1d(listener.heard, listener.disliked) if excluded is None else excluded
    aside = np.intersect1d(aside, pool).astype(np.int64)
    if len(pool) - len(aside) >= size:
        open_[aside] = False
    found: dict[int, Source] = {}
    for source, share in SHARES[listener.stage].items():
        worth = _worth(source, catalogue, listener)
        _take(found, worth, source, round(share * size), open_)
    if len(found) < size:  # too small a catalogue, or a source that had little to say
        worth = _worth(Source.POPULAR, catalogue, listener)
        _take(found, worth, Source.POPULAR, size - len(found), open_)
    rows = np.array(sorted(found), dtype=np.int64)
    return rows, [found[row] for row in rows.tolist()]


def _take(
    found: dict[int, Source],
    worth: FloatArray,
    source: Source,
    count: int,
    open_: NDArray[np.bool_],
) -> None:
    """Take the `count` open rows of highest worth; -inf: not proposed at all."""
    worth = np.where(open_, worth, -np.inf)
    rows = np.argpartition(-worth, min(count, len(worth) - 1))[:count]
    rows = rows[worth[rows] > -np.inf]
    open_[rows] = False
    found.update(dict.fromkeys(rows.tolist(), source))


def _worth(source: Source, catalogue: Catalogue, listener: Listener) -> FloatArray:
    """Return how much a source thinks of every track.

    Equals go by popularity: a balanced listener gets what is known, not what comes first.
    """
    tracks = catalogue.tracks
    popularity = np.nan_to_num(tracks.popularity, nan=0.0)
    if source is Source.POPULAR:
        return popularity
    if source is Source.NEW_RELEASE:
        dated = tracks.released != UNKNOWN_DATE
        return np.where(dated, tracks.released + TIE * popularity, -np.inf)
    if source is Source.PERSONALITY:
        return match(listener.traits, tracks.audio, tracks.genre_terms) + TIE * popularity
    if source is Source.AUDIO:
        if not len(listener.history_weight):
            return np.full(len(catalogue), -np.inf)
        # The nearest to anything heard, a heavier play reaching further.
        near = cosine(tracks.audio, listener.history_audio, unknown=0.0)
        near *= (listener.history_weight / listener.history_weight.max()).astype(np.float32)
        nearest: FloatArray = near.max(axis=1) + TIE * popularity
        return nearest
    share = np.zeros(len(CATEGORY_SLUGS) + 1)  # the last place is that of code -1, no category
    for code, value in listener.categories.items():
        share[code] = value
    worth = share[tracks.category]
    return np.where(worth > 0, worth + popularity, -np.inf)
