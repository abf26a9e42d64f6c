"""Personality: the Big Five, what each trait is taken to like, and how well a track fits.

Version 1 of the match: SEED.md section 3B as settled question 5 reads it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FEATURES, NEUTRAL, AudioArray, FloatArray
from recommender.genres import normalise_genre

TRAITS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")

BALANCED = 0.5
"""A trait that leans neither way; also the default for a listener without an assessment."""

IDEALS: dict[str, dict[str, float]] = {
    "openness": {"valence": 0.5, "acousticness": 0.6},
    "conscientiousness": {"energy": 0.4, "tempo": (100.0 - 50.0) / 150.0},  # 100 BPM
    "extraversion": {"energy": 0.75, "danceability": 0.7, "valence": 0.8},
    "agreeableness": {},
    "neuroticism": {"valence": 0.7},
}
"""Trait -> audio feature -> the value that a listener high in the trait prefers, in [0, 1]."""

LIKED_GENRES: dict[str, frozenset[str]] = {
    "openness": frozenset({"classical", "folk", "world"}),
    "agreeableness": frozenset({"jazz", "country", "soul"}),
    "neuroticism": frozenset({"soul", "pop"}),
}
AVOIDED_GENRES: dict[str, frozenset[str]] = {
    "conscientiousness": frozenset({"rock", "metal"}),
    "agreeableness": frozenset({"death-metal"}),
}
GENRE_STEP = 0.1


def trait_weight(trait: float) -> float:
    """Return 2 |trait - 0.5|: a trait matters as far as it leans from the middle.

    Examples
    --------
    >>> trait_weight(0.5), trait_weight(1.0), trait_weight(0.25)
    (0.0, 1.0, 0.5)
    """
    return 2.0 * abs(trait - BALANCED)


def ideals_of(traits: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return each trait's ideals for this listener; a trait under 0.5 mirrors them (1 - ideal).

    Examples
    --------
    >>> ideals_of({"neuroticism": 0.2})
    {'neuroticism': {'valence': 0.30000000000000004}}
    """
    return {
        trait: {
            feature: ideal if value >= BALANCED else 1.0 - ideal
            for feature, ideal in IDEALS[trait].items()
        }
        for trait, value in traits.items()
    }


def genre_terms(genres: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """Return for n tracks which traits like (row 0) and avoid (row 1) one of their genres.

    A genre counts where its normalised spelling is listed, as a whole: 'hard rock' is not 'rock'.

    Returns
    -------
    (n, 2, 5) bool, traits in the order of `TRAITS`.

    Examples
    --------
    >>> genre_terms([["Soul", "rock"]]).astype(int).tolist()
    [[[0, 0, 0, 1, 1], [0, 1, 0, 0, 0]]]
    """
    nobody: frozenset[str] = frozenset()
    table = np.zeros((len(genres), 2, len(TRAITS)), dtype=np.bool_)
    known: dict[str, NDArray[np.bool_]] = {}
    for row, names in enumerate(genres):
        for name in names:
            if name not in known:
                spelling = normalise_genre(name)
                known[name] = np.array(
                    [
                        [spelling in likes.get(trait, nobody) for trait in TRAITS]
                        for likes in (LIKED_GENRES, AVOIDED_GENRES)
                    ]
                )
            table[row] |= known[name]
    return table


def match(
    traits: Mapping[str, float], audio: AudioArray, terms: NDArray[np.bool_] | None = None
) -> FloatArray:
    """Return how well each track fits a personality.

    fit = sum_t w_t (1 - mean_f |x_f - ideal_tf|) / sum_t w_t, w_t = 2 |trait_t - 0.5|

    The sums run over the traits with an ideal for a feature known of the track, the mean over those
    features; no such trait, or all w_t = 0, gives 0.5. Then +0.1 if a trait above 0.5 likes one of
    the track's genres, -0.1 if one avoids one, at most once each, and a clip to [0, 1].

    Parameters
    ----------
    traits
        Trait -> [0, 1].
    audio
        (n, 7) audio rows.
    terms
        (n, 2, 5) from `genre_terms`; None: no genre is known.

    Returns
    -------
    (n,) float64 in [0, 1].

    Examples
    --------
    A track of energy .65, danceability .7, valence .7 deviates from the extravert's ideals by .1, 0
    and .1, .0667 in the mean. For the most neurotic (valence .7) it is perfect, and soul adds its
    bonus to what is full already:

    >>> x = np.full((1, 7), np.nan, dtype=np.float32)
    >>> x[0, :3] = 0.7, 0.65, 0.7
    >>> match({"extraversion": 0.9}, x).round(4)
    array([0.9333])
    >>> match({"neuroticism": 1.0}, x, genre_terms([["soul"]])).round(4)
    array([1.])
    >>> match({"openness": 0.5}, x)
    array([0.5])

    Openness 1 wants valence .5 (.2 off) and acousticness .6 (.4 off); conscientiousness 1 energy .4
    (.25 off) and 100 BPM, which is 1/3 (.1667 off, at 125 BPM); agreeableness has no ideal, and
    soul adds .1 to .5:

    >>> x[0, 3:5] = 0.5, 0.2
    >>> match({"openness": 1.0}, x).round(4), match({"conscientiousness": 1.0}, x).round(4)
    (array([0.7]), array([0.7917]))
    >>> match({"agreeableness": 0.8}, x, genre_terms([["soul"]])).round(4)
    array([0.6])
    """
    if not traits:  # nobody assessed: the same, without a look at every track
        return np.full(len(audio), NEUTRAL)
    total = np.zeros(len(audio))
    weight = np.zeros(len(audio))
    for trait, ideals in ideals_of(traits).items():
        if not ideals:
            continue
        columns = [FEATURES.index(feature) for feature in ideals]
        deviation = np.abs(audio[:, columns].astype(np.float64) - np.array(list(ideals.values())))
        known = ~np.isnan(deviation)
        count = known.sum(axis=1)
        mean = np.where(known, deviation, 0.0).sum(axis=1) / np.maximum(count, 1)
        leaning = np.where(count > 0, trait_weight(traits[trait]), 0.0)
        total += leaning * (1.0 - mean)
        weight += leaning
    fit = np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), NEUTRAL)
    if terms is not None:
        strong = np.array([traits.get(trait, 0.0) > BALANCED for trait in TRAITS])
        liked, avoided = (terms & strong).any(axis=2).T
        fit = fit + GENRE_STEP * liked - GENRE_STEP * avoided
    return np.clip(fit, 0.0, 1.0)
