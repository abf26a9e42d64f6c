"""Diversity: how unlike the tracks already in the list a track is. SEED.md section 3C."""

import numpy as np
from numpy.typing import ArrayLike

from recommender.audio import NEUTRAL, AudioArray, FloatArray, cosine

UNLIKENESS, NEW_IN_LIST = 0.7, 0.3


def diversity(mean_similarity: ArrayLike, artist_is_new: ArrayLike) -> FloatArray:
    """Return .7 (1 - mean similarity to the chosen tracks) + .3 [artist not yet in the list].

    With nothing chosen the mean similarity is 0 and every artist new: 1.

    Examples
    --------
    >>> diversity([0.0, 0.9, 0.9], [True, True, False]).round(2)
    array([1.  , 0.37, 0.07])
    """
    unlike = 1.0 - np.asarray(mean_similarity, dtype=np.float64)
    return UNLIKENESS * unlike + NEW_IN_LIST * np.asarray(artist_is_new)


def pairwise_similarity(audio: AudioArray) -> AudioArray:
    """Return the (n, n) cosines among tracks; 0.5 where two share no known feature."""
    length = np.sqrt((audio * audio).sum(axis=1))
    if not length.all() or np.isnan(length.sum()):
        return cosine(audio, audio, unknown=NEUTRAL)
    unit = audio / length[:, None]
    # Rounding may leave 1e-7 above 1; a pass over n x n to cut it costs as much as the product.
    similarity: AudioArray = unit @ unit.T
    return similarity
