"""Diversity: how unlike the tracks already in the list a track is. SEED.md section 3C."""

import numpy as np

from recommender.audio import NEUTRAL, AudioArray, FloatArray, cosine

UNLIKENESS, NEW_IN_LIST = 0.7, 0.3


def diversity(mean_similarity: FloatArray, artist_is_new: FloatArray) -> FloatArray:
    """Return .7 (1 - mean similarity to the chosen tracks) + .3 [artist not yet in the list].

    With nothing chosen the mean similarity is 0 and every artist new: 1.

    Examples
    --------
    >>> diversity(np.array([0.0, 0.9, 0.9]), np.array([1, 1, 0])).round(2)
    array([1.  , 0.37, 0.07])
    """
    return UNLIKENESS * (1.0 - mean_similarity) + NEW_IN_LIST * artist_is_new


def pairwise_similarity(audio: AudioArray) -> AudioArray:
    """Return the (n, n) cosines among tracks; 0.5 where two share no known feature."""
    similarity = cosine(audio, audio)
    return np.nan_to_num(similarity, nan=NEUTRAL, copy=False)
