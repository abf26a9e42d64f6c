"""A listener as the core sees one: no id, no dates, only what bears on the next song."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from recommender.audio import FEATURES, AudioArray, FloatArray
from recommender.cold_start import Stage
from recommender.taste import Taste
from recommender.tracks import IndexArray


def _no_rows() -> IndexArray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Listener:
    """What is known about one listener at one moment.

    Attributes
    ----------
    stage
        How far the listener has come since the cold start.
    traits
        Big Five, trait -> [0, 1]; a trait that was not assessed is absent.
    history_audio, history_weight
        (m, 7) audio rows of what was heard and (m,) weights >= 0, see `history.play_weight`.
    heard
        Catalogue rows of tracks heard before.
    heard_artists
        Places of artists heard before.
    disliked
        Catalogue rows that must never be recommended.
    shown
        Catalogue rows of earlier lists.
    categories
        Category code -> share of listening, summing to 1 or empty.
    q_table
        State -> Q(state, recommend).
    taste
        What co-listening makes of the history; None without a model or a history.
    """

    stage: Stage
    traits: Mapping[str, float] = field(default_factory=dict)
    history_audio: AudioArray = field(
        default_factory=lambda: np.empty((0, len(FEATURES)), dtype=np.float32)
    )
    history_weight: FloatArray = field(default_factory=lambda: np.empty(0))
    heard: IndexArray = field(default_factory=_no_rows)
    heard_artists: IndexArray = field(default_factory=_no_rows)
    disliked: IndexArray = field(default_factory=_no_rows)
    shown: IndexArray = field(default_factory=_no_rows)
    categories: Mapping[int, float] = field(default_factory=dict)
    q_table: Mapping[str, float] = field(default_factory=dict)
    taste: Taste | None = None
