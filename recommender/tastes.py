"""Tastes of several listeners at once: one product reads a model's items once for all of them.

Alone, each listener reads every item's factors from memory, which takes longer than multiplying
them. Who judges many listeners (training) calls `judge_together` first; what a taste says of tracks
is the same but for rounding.
"""

from collections.abc import Sequence

import numpy as np

from recommender.audio import FloatArray
from recommender.colisten import REASONS
from recommender.grain import RARITY_WEIGHT, Direction, Items
from recommender.taste import Taste

_TRACK = REASONS.index("track")


def judge_together(tastes: Sequence[Taste]) -> None:
    """Work out, and leave with each taste, what it makes of the artists and tracks of its model."""
    by_model: dict[int, list[Taste]] = {}
    for taste in tastes:
        by_model.setdefault(id(taste.joined), []).append(taste)
    for alike in by_model.values():
        _judge_artists(alike)
        _judge_tracks([taste for taste in alike if taste.mix.weights[_TRACK]])


def scores_together(directions: Sequence[Direction], items: Items) -> FloatArray:
    """Return (listeners, items) what `Direction.of` returns for each.

    Examples
    --------
    >>> ones = np.ones((3, 2), dtype=np.float32)
    >>> items = Items(ones, ones, np.arange(3, dtype=np.float32))
    >>> few = [Direction(ones[0], ones[1] * n, 0.5) for n in range(2)]
    >>> together = scores_together(few, items)
    >>> all(np.array_equal(one.of(items), row) for one, row in zip(few, together))
    True
    """
    linear = np.stack([one.implicit for one in directions]) @ items.factors.T
    linear += np.stack([one.spectral for one in directions]) @ items.spectral_out.T
    offset = np.array([[one.offset] for one in directions])
    scores: FloatArray = linear.astype(np.float64) + offset + RARITY_WEIGHT * items.rarity
    return scores


def _judge_artists(tastes: Sequence[Taste]) -> None:
    joined = tastes[0].joined
    grain = joined.model.artists
    known: list[tuple[Taste, Direction]] = []
    for taste in tastes:
        heard = taste.listened
        towards = grain.direction(heard.artists, heard.plays)
        if towards is not None:
            known.append((taste, towards))
    if not known:
        return
    at = joined.catalogue_artist[joined.here]
    found = scores_together([towards for _, towards in known], joined.artists_here)
    for (taste, _), scores in zip(known, found, strict=True):
        of_artists = np.zeros(len(joined.catalogue.artist_keys))
        of_artists[at] = scores
        taste.take_over(of_artists=of_artists)


def _judge_tracks(tastes: Sequence[Taste]) -> None:
    if not tastes:
        return
    grain = tastes[0].joined.model.tracks
    known: list[tuple[Taste, Direction]] = []
    for taste in tastes:
        tracks = taste.listened.tracks
        towards = grain.direction(tracks, np.ones(len(tracks)))
        if towards is not None:
            known.append((taste, towards))
    if not known:
        return
    found = scores_together([towards for _, towards in known], grain.items)
    for (taste, _), scores in zip(known, found, strict=True):
        taste.take_over(of_tracks=scores)
