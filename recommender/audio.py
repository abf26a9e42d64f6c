"""Audio features: their order, their ranges, and similarity where some are missing.

Inside Bondhu a track's audio is a float32 row of seven numbers in [0, 1], NaN where the feature is
not known. A missing feature is missing: it takes no part, it is never replaced by 0.5.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEATURES = (
    "danceability",
    "energy",
    "valence",
    "tempo",
    "acousticness",
    "instrumentalness",
    "speechiness",
)
"""The order of columns everywhere: tables, arrays, models."""

TEMPO = FEATURES.index("tempo")
NEUTRAL = 0.5
"""What a component says when it knows nothing either way."""

FloatArray = NDArray[np.float64]
AudioArray = NDArray[np.float32]


def scale_tempo(tempo_bpm: ArrayLike) -> FloatArray:
    """Map BPM to [0, 1]: clip((bpm - 50) / 150, 0, 1); 0 BPM means unknown and gives NaN.

    A raw tempo of 120 beside features in [0, 1] would be all that a cosine sees.

    Examples
    --------
    >>> scale_tempo([100, 50, 260, 0])
    array([0.33333333, 0.        , 1.        ,        nan])
    """
    bpm = np.asarray(tempo_bpm, dtype=np.float64)
    return np.where(bpm > 0, np.clip((bpm - 50.0) / 150.0, 0.0, 1.0), np.nan)


def audio_rows(raw: ArrayLike) -> AudioArray:
    """Turn rows as sources publish them (tempo in BPM, NaN or None missing) into audio rows.

    Parameters
    ----------
    raw
        (n, 7) in the order of `FEATURES`.

    Returns
    -------
    (n, 7) float32 in [0, 1] or NaN.

    Examples
    --------
    >>> audio_rows([[0.5, 0.25, 1.0, 125.0, None, 0.0, 0.0]])
    array([[0.5 , 0.25, 1.  , 0.5 ,  nan, 0.  , 0.  ]], dtype=float32)
    """
    rows = np.array(raw, dtype=np.float64).reshape(-1, len(FEATURES))
    rows[:, TEMPO] = scale_tempo(rows[:, TEMPO])
    return rows.astype(np.float32)


def cosine(a: AudioArray, b: AudioArray, *, unknown: float = np.nan) -> AudioArray:
    """Return the cosine similarity of every row of `a` with every row of `b`.

    cos(x, y) = sum x_f y_f / (|x| |y|), both sums and norms over the features known in both rows.
    Audio rows are never negative, so it lies in [0, 1].

    Parameters
    ----------
    a, b
        (n, 7) and (m, 7) audio rows.
    unknown
        The value where no feature is shared or one of the rows is all zeros.

    Returns
    -------
    (n, m) float32.

    Examples
    --------
    The second row shares only danceability with the first, so it points the same way.

    >>> rows = np.full((2, 7), np.nan, dtype=np.float32)
    >>> rows[0, :2] = 0.6, 0.8
    >>> rows[1, 0] = 0.3
    >>> cosine(rows, rows)
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    """
    length_a, length_b = np.sqrt((a * a).sum(axis=1)), np.sqrt((b * b).sum(axis=1))
    if length_a.all() and length_b.all() and not np.isnan([length_a.sum(), length_b.sum()]).any():
        complete: AudioArray = (a / length_a[:, None]) @ (b / length_b[:, None]).T
        np.minimum(complete, np.float32(1), out=complete)
        return complete
    missing_a, missing_b = np.isnan(a), np.isnan(b)
    known_a, known_b = (~missing_a).astype(np.float32), (~missing_b).astype(np.float32)
    x, y = np.where(missing_a, np.float32(0), a), np.where(missing_b, np.float32(0), b)
    norms = np.sqrt(((x * x) @ known_b.T) * (known_a @ (y * y).T))
    similarity = np.full(norms.shape, unknown, dtype=np.float32)
    np.divide(x @ y.T, norms, out=similarity, where=norms > 0)
    np.minimum(similarity, np.float32(1), out=similarity)
    return similarity
