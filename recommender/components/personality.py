"""Personality: how well a track fits the listener's Big Five. SEED.md section 3B."""

from recommender.audio import FloatArray
from recommender.listener import Listener
from recommender.personality import match
from recommender.tracks import Tracks


class _Personality:
    """personality(c) = `recommender.personality.match`; 0.5 for a balanced or unknown listener."""

    phrase = "it fits your personality"

    def __call__(self, listener: Listener, tracks: Tracks) -> FloatArray:
        """Return (n,) fits in [0, 1]."""
        return match(listener.traits, tracks.audio, tracks.genre_terms)


COMPONENT = _Personality()
