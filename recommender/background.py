"""The background: how tracks sound, how old and how popular they are as a rule.

A listener's own music speaks for a track as far as it is unlike the rest: every feature is compared
with what it is in all music.
"""

from dataclasses import dataclass

import numpy as np

from recommender.audio import FEATURES, AudioArray, FloatArray
from recommender.tracks import UNKNOWN_DATE, Tracks

COLUMNS = (*FEATURES, "age", "popularity")
AUDIO_COLUMNS = len(FEATURES)
FURTHEST = 4.0
DAYS_PER_YEAR = 365.25
OWN_MEAN, OWN_SPREAD = 0.5, 4.0
"""The background counts as this many tracks for a listener's means, and for their spreads."""


@dataclass(frozen=True)
class Background:
    """Mean and spread of each column over a catalogue.

    Attributes
    ----------
    mean, spread
        (9,) in the order of `COLUMNS`.
    newest
        Days since 1970-01-01 of the newest release: ages count from it.
    """

    mean: FloatArray
    spread: FloatArray
    newest: int

    @classmethod
    def of(cls, tracks: Tracks) -> "Background":
        """Measure a catalogue; a column that is unknown or constant gets mean 0 and spread 1."""
        dated = tracks.released[tracks.released != UNKNOWN_DATE]
        newest = int(dated.max()) if len(dated) else 0
        raw = _raw(tracks.audio, tracks, newest)
        known = ~np.isnan(raw)
        n = np.maximum(1, known.sum(axis=0))
        mean = np.where(known, raw, 0.0).sum(axis=0) / n
        spread = np.sqrt((np.where(known, raw - mean, 0.0) ** 2).sum(axis=0) / n)
        return cls(mean, np.where(spread > 0, spread, 1.0), newest)

    def of_tracks(self, tracks: Tracks) -> FloatArray:
        """Return (n, 9) columns in standard deviations, within 4, NaN where unknown."""
        raw = _raw(tracks.audio, tracks, self.newest)
        return np.clip((raw - self.mean) / self.spread, -FURTHEST, FURTHEST)

    def of_audio(self, audio: AudioArray) -> FloatArray:
        """Return (n, 7): the audio columns alone."""
        of = slice(AUDIO_COLUMNS)
        return np.clip((_felt(audio) - self.mean[of]) / self.spread[of], -FURTHEST, FURTHEST)


def _felt(audio: AudioArray) -> FloatArray:
    """Bend the three features that lie at one end of their range, so that steps feel alike."""
    felt = audio.astype(np.float64)
    acoustic, speech = FEATURES.index("acousticness"), FEATURES.index("speechiness")
    felt[:, acoustic : acoustic + 2] = np.sqrt(felt[:, acoustic : acoustic + 2])
    felt[:, speech] = np.log(felt[:, speech] + 0.02)
    return felt


def _raw(audio: AudioArray, tracks: Tracks, newest: int) -> FloatArray:
    is_dated = tracks.released != UNKNOWN_DATE
    days = np.where(is_dated, newest - np.where(is_dated, tracks.released, 0), 0)
    age = np.where(is_dated, np.log1p(np.maximum(days, 0) / DAYS_PER_YEAR), np.nan)
    return np.column_stack([_felt(audio), age, tracks.popularity])


def log_ratio(values: FloatArray, own: FloatArray) -> FloatArray:
    """Return (n, c): ln of how much likelier a value is in a listener's music than in all music.

    Both are normal; the background has mean 0 and spread 1. With m own values x,

        mean = sum x / (m + .5),  variance = (sum (x - mean)^2 + 4) / (m + 4)
        ratio(v) = -(v - mean)^2 / (2 variance) - ln(variance) / 2 + v^2 / 2

    0 where the value, or all of the listener's, are unknown.

    Parameters
    ----------
    values, own
        (n, c) and (m, c) columns of `Background`.

    Examples
    --------
    Two own values of 1: mean 2 / 2.5 = .8, variance (.04 + .04 + 4) / 6 = .68; at 1 the ratio is
    -.04 / 1.36 + .1928 + .5.

    >>> log_ratio(np.array([[1.0], [np.nan]]), np.ones((2, 1))).round(3).tolist()
    [[0.663], [0.0]]
    """
    ratio: FloatArray = (powers(values) * ratio_terms(own)).sum(axis=1)
    return ratio


def powers(values: FloatArray) -> FloatArray:
    """Return (n, 3, c): v^2, v and 1 of each value, 0 where it is unknown.

    What `ratio_terms` weighs: a sum of ratios is one product with these, whoever listens.
    """
    known = ~np.isnan(values)
    v = np.where(known, values, 0.0)
    return np.stack([v * v, v, known.astype(np.float64)], axis=1)


def ratio_terms(own: FloatArray) -> FloatArray:
    """Return (3, c): what v^2, v and 1 count for in `log_ratio`; 0 where nothing is known.

    1/2 - 1 / (2 variance), mean / variance, -mean^2 / (2 variance) - ln(variance) / 2.
    """
    if not len(own):
        return np.zeros((3, own.shape[1]))
    known = ~np.isnan(own)
    m = known.sum(axis=0)
    mean = np.where(known, own, 0.0).sum(axis=0) / (m + OWN_MEAN)
    variance = (np.where(known, own - mean, 0.0) ** 2).sum(axis=0) + OWN_SPREAD
    variance /= m + OWN_SPREAD
    terms = np.stack(
        [
            0.5 - 0.5 / variance,
            mean / variance,
            -mean * mean / (2 * variance) - np.log(variance) / 2,
        ]
    )
    return np.where(m == 0, 0.0, terms)


def nearness(values: FloatArray, own: FloatArray, *, width: float = 0.15) -> FloatArray:
    """Return (n,): ln(.001 + the mean over the own rows of exp(-d^2 / width)).

    d^2 is the mean squared difference over the columns, an unknown value counting as the mean 0.

    Examples
    --------
    >>> nearness(np.zeros((1, 7)), np.zeros((2, 7))).round(3).tolist()
    [0.001]
    """
    x, y = np.nan_to_num(values).astype(np.float32), np.nan_to_num(own).astype(np.float32)
    squares = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * (x @ y.T)
    near = np.exp(np.minimum(0, squares / np.float32(-width * values.shape[1]))).mean(axis=1)
    result: FloatArray = np.log(near.astype(np.float64) + 1e-3)
    return result
