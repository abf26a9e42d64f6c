"""Personality, version 2 of the match: what published correlations say of a genre.

fit = clip(0.5 + 0.5 x sum_t z_t b_gt / SCALE, 0, 1), z_t = (trait_t - mean_t) / deviation_t, b_g
the correlations of listening to genre g with the traits (Anderson et al. 2021, a transcription by
hand, unverified; neuroticism is minus Stability). The largest |r| is .155: what a trait says of a
taste is little, and a fit seldom leaves .5 by much.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from recommender.audio import FloatArray
from recommender.genres import normalise_genre
from recommender.personality import TRAITS

SCALE = 0.5
"""Sum of z x r that counts as a full fit."""
MEAN = (0.726, 0.585, 0.501, 0.712, 0.524)
DEVIATION = (0.156, 0.182, 0.231, 0.179, 0.216)
"""Of the traits among those who answered the IPIP-50, in [0, 1]."""

# In the order of TRAITS: openness, conscientiousness, extraversion, agreeableness, neuroticism.
CORRELATIONS: Mapping[str, tuple[float, ...]] = {
    "alternative": (0.064, -0.080, -0.101, -0.072, 0.092),
    "classic-rock": (0.065, 0.057, -0.014, 0.036, -0.026),
    "electro": (0.111, -0.047, -0.025, -0.003, 0.010),
    "hip-hop": (-0.023, -0.070, 0.063, -0.018, 0.027),
    "house": (-0.001, -0.066, 0.026, 0.006, 0.025),
    "indie": (0.099, -0.081, -0.016, 0.000, 0.099),
    "latin": (0.002, 0.034, 0.101, 0.071, -0.036),
    "pop": (-0.063, -0.038, 0.048, 0.019, 0.081),
    "r-b": (0.017, 0.077, 0.123, 0.100, -0.032),
    "reggaeton": (-0.023, 0.042, 0.112, 0.067, -0.043),
    "rock": (0.054, -0.079, -0.111, -0.068, 0.088),
    "soul": (0.080, 0.128, 0.110, 0.124, -0.076),
}
"""Normalised genre -> correlations."""


def published(genre: str) -> tuple[float, ...] | None:
    """Return the correlations of a raw genre: its own, or those of the last listed word in it.

    Examples
    --------
    >>> published("Neo Soul") == CORRELATIONS["soul"], published("polka") is None
    (True, True)
    """
    spelling = normalise_genre(genre)
    if spelling in CORRELATIONS:
        return CORRELATIONS[spelling]
    padded = f"-{spelling}-"
    found = [(padded.rfind(f"-{name}-"), name) for name in CORRELATIONS if f"-{name}-" in padded]
    return CORRELATIONS[max(found)[1]] if found else None


def match_published(traits: Mapping[str, float], genres: Sequence[Sequence[str]]) -> FloatArray:
    """Return how well each track's genres fit a personality; 0.5 where nothing is known.

    Parameters
    ----------
    traits
        Trait -> [0, 1]; one that was not assessed counts as average.
    genres
        Per track its raw genres; the mean over those with published figures counts.

    Examples
    --------
    One deviation above the mean in agreeableness: .5 + .5 x .124 / .5.

    >>> match_published({"agreeableness": 0.712 + 0.179}, [["soul"], ["polka"]]).round(3)
    array([0.624, 0.5  ])
    """
    z = np.array(
        [
            (traits[trait] - mean) / deviation if trait in traits else 0.0
            for trait, mean, deviation in zip(TRAITS, MEAN, DEVIATION, strict=True)
        ]
    )
    fit = np.full(len(genres), 0.5)
    for row, names in enumerate(genres):
        known = [r for name in names if (r := published(name)) is not None]
        if known:
            fit[row] += 0.5 * float(np.mean(np.array(known) @ z)) / SCALE
    bounded: FloatArray = np.clip(fit, 0.0, 1.0)
    return bounded
