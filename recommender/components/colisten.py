"""Co-listening: what listeners with this history play as well. Settled question 4."""

import numpy as np

from recommender.audio import FloatArray
from recommender.listener import Listener
from recommender.tracks import Tracks


class _Colisten:
    """colisten(c) = clip((z(c) - low) / (high - low), 0, 1) with z and its bounds of `Taste`.

    0 for everything while no model is registered, and for a listener without a history.
    """

    phrase = "people who listen like you play it"

    def __call__(self, listener: Listener, tracks: Tracks) -> FloatArray:
        """Return (n,) values in [0, 1]."""
        return np.zeros(len(tracks)) if listener.taste is None else listener.taste.worth(tracks)


COMPONENT = _Colisten()
