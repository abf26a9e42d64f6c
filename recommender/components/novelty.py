"""Novelty: how new a track is to the listener. SEED.md section 3D, settled question 7."""

import numpy as np

from recommender.audio import NEUTRAL, FloatArray
from recommender.listener import Listener
from recommender.tracks import Tracks

NEW_TRACK, NEW_ARTIST, UNPOPULAR = 0.5, 0.3, 0.2


class _Novelty:
    """novelty(c) = .5 [track not heard] + .3 [artist not heard] + .2 (1 - popularity).

    The worldwide hit of an artist new to the listener has 0.8, SEED.md's example. Heard tracks are
    excluded by default, so what varies in a list is the artist and the popularity.
    """

    phrase = "it is new to you"

    def __call__(self, listener: Listener, tracks: Tracks) -> FloatArray:
        """Return (n,) values in [0, 1]."""
        new_track = ~tracks.are_among(listener.heard)
        new_artist = ~np.isin(tracks.artist, listener.heard_artists)
        popularity = np.nan_to_num(tracks.popularity, nan=NEUTRAL)
        return NEW_TRACK * new_track + NEW_ARTIST * new_artist + UNPOPULAR * (1.0 - popularity)


COMPONENT = _Novelty()
