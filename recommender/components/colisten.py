"""Co-listening: what listeners with this history play as well."""

import numpy as np

from recommender.audio import FloatArray
from recommender.listener import Listener
from recommender.tracks import Tracks


class _Colisten:
    """colisten(c) = 0 while no co-listening model is registered; the scorer gives it weight 0."""

    phrase = "people who listen like you play it"

    def __call__(self, listener: Listener, tracks: Tracks) -> FloatArray:
        """Return (n,) values in [0, 1]."""
        return np.zeros(len(tracks))


COMPONENT = _Colisten()
