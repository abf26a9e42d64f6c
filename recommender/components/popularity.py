"""Popularity: what many people play, the safest guess for someone unknown."""

import numpy as np

from recommender.audio import NEUTRAL, FloatArray
from recommender.listener import Listener
from recommender.tracks import Tracks


class _Popularity:
    """popularity(c) = the source's popularity / 100; 0.5 where the source has none."""

    phrase = "many people play it"

    def __call__(self, listener: Listener, tracks: Tracks) -> FloatArray:
        """Return (n,) values in [0, 1]."""
        return np.nan_to_num(tracks.popularity, nan=NEUTRAL)


COMPONENT = _Popularity()
