"""History: how like the music that the listener plays a track sounds. SEED.md section 3A."""

import numpy as np

from recommender.audio import NEUTRAL, FloatArray, cosine
from recommender.listener import Listener
from recommender.tracks import Tracks


class _History:
    """history(c) = sum_i w_i cos(x_c, x_i) / sum_i w_i over the heard i with audio in common.

    0.5 where nothing is known of the listener's history or of the track's audio.
    """

    phrase = "it sounds like what you play"

    def __call__(self, listener: Listener, tracks: Tracks) -> FloatArray:
        """Return (n,) similarities in [0, 1]."""
        if not len(listener.history_weight):
            return np.full(len(tracks), NEUTRAL)
        similarity = cosine(tracks.audio, listener.history_audio).astype(np.float64)
        known = ~np.isnan(similarity)
        weight = known @ listener.history_weight
        total = np.where(known, similarity, 0.0) @ listener.history_weight
        return np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), NEUTRAL)


COMPONENT = _History()
