"""Diversity: how unlike the tracks already in the list a track is. SEED.md section 3C."""

import numpy as np
from numpy.typing import ArrayLike

from recommender.audio import NEUTRAL, AudioArray, FloatArray, cosine
from recommender.tracks import IndexArray

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


def pairwise_similarity(audio: AudioArray, among: IndexArray | None = None) -> AudioArray:
    """Return the (n, n) cosines among tracks; 0.5 where two share no known feature.

    Parameters
    ----------
    among
        Only those among these places, equal to what they are among all; None: all.
    """
    length = np.sqrt((audio * audio).sum(axis=1))
    if not length.all() or np.isnan(length.sum()):
        unclear = cosine(audio, audio, unknown=NEUTRAL)
        return unclear if among is None else unclear[np.ix_(among, among)]
    unit = audio / length[:, None]
    if among is not None:
        unit = unit[among]
    # A copy: numpy sees a product with one's own transpose, computes half of it and mirrors that,
    # which takes twice as long. Rounding may leave 1e-7 above 1; a pass over n x n to cut it costs
    # as much as the product.
    similarity: AudioArray = unit @ unit.T.copy()
    return similarity


def diversity_in_order(audio: AudioArray, artist: IndexArray) -> FloatArray:
    """Return (n,) the diversity that each track of a list had when it was chosen, first to last.

    Parameters
    ----------
    audio
        (n, features) of the list's tracks, in its order.
    artist
        (n,) their artists.

    Examples
    --------
    The second track is another artist's and sounds the same, the third is the first's again:

    >>> from recommender.audio import FEATURES
    >>> alike = np.full((3, len(FEATURES)), 0.5, dtype=np.float32)
    >>> diversity_in_order(alike, np.array([7, 8, 7])).round(2)
    array([1. , 0.3, 0. ])
    """
    return diversity_by_similarity(pairwise_similarity(audio), artist)


def diversity_by_similarity(similarity: AudioArray, artist: IndexArray) -> FloatArray:
    """Return what `diversity_in_order` does, by the (n, n) cosines among the list's tracks."""
    # Added up one after the other, as `rank` does while it chooses: the same to the last bit.
    sums = np.cumsum(similarity, axis=0, dtype=np.float64)
    above = np.append(0.0, np.diagonal(sums, offset=1))[: len(artist)]
    likeness = np.minimum(1.0, above / np.maximum(1, np.arange(len(artist))))
    is_new = np.zeros(len(artist), dtype=np.bool_)
    is_new[np.unique(artist, return_index=True)[1]] = True
    return diversity(likeness, is_new)
