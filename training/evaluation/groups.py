"""Listener groups: what is known of a listener before any list is made.

A gain on average may be a loss for some. The groups are these few, declared here and not searched
for: whoever looks at many groups finds one that loses by chance.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recommender.cold_start import Stage
from training.data.dataset import Dataset, Holdout

SHORT, LONG = 20, 50
"""Artists of the catalogue that a short history stays below, and that a long one has."""

Members = NDArray[np.bool_]


def groups_of(dataset: Dataset, stages: Sequence[Stage]) -> Mapping[str, Members]:
    """Return group -> (test listeners,) who belongs to it; groups of nobody are left out.

    | history_short, _middle, _long | under 20, 20 to 49, 50 and more artists of the catalogue |
    | mainstream_low, _high | the mean popularity of those artists, below or from the median on |
    | personality_assessed, _unknown | whether any trait is known |
    | stage_week_1 ... | the stage that the listener is in today |
    """
    test = dataset.test
    artists = np.array([len(holdout.known) for holdout in test])
    popularity = _popularity(dataset, test)
    is_high = popularity >= np.median(popularity)
    assessed = np.array([bool(holdout.history.traits) for holdout in test])
    groups = {
        "history_short": artists < SHORT,
        "history_middle": (artists >= SHORT) & (artists < LONG),
        "history_long": artists >= LONG,
        "mainstream_low": ~is_high,
        "mainstream_high": is_high,
        "personality_assessed": assessed,
        "personality_unknown": ~assessed,
    } | {f"stage_{stage}": np.array([s is stage for s in stages]) for stage in Stage}
    return {name: members for name, members in groups.items() if members.any()}


def _popularity(dataset: Dataset, test: Sequence[Holdout]) -> NDArray[np.float64]:
    """Return (test listeners,) the mean over their artists of their best known track."""
    tracks = dataset.catalogue.tracks
    best = np.zeros(len(dataset.catalogue.artist_keys))
    np.maximum.at(best, tracks.artist, np.nan_to_num(tracks.popularity))
    return np.array([best[dataset.catalogue.artists_of(sorted(one.known))].mean() for one in test])
