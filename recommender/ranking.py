"""Ranking: the greedy choice of a list, one position after the other.

Every position takes the eligible track with the highest score, its diversity measured against
what already stands above it. Ties go to the lower catalogue row: the order of candidates means
nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.components import DIVERSITY, KEYS, STATIC
from recommender.diversity import diversity, pairwise_similarity
from recommender.exploration import EpsilonSlots
from recommender.scoring import Weights
from recommender.tracks import IndexArray, Tracks

ARTIST_CAP = 2

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """What may stand in a list; candidates by mask, True where the rule speaks against one.

    Attributes
    ----------
    never
        Disliked, or excluded by the caller: never relaxed.
    heard, shown
        Left out while there is enough else.
    artist_cap
        Tracks per artist; None: no cap.
    """

    never: Mask
    heard: Mask
    shown: Mask
    artist_cap: int | None = ARTIST_CAP


@dataclass(frozen=True)
class Ranking:
    """A list, best first: k tracks and everything their scores are made of.

    Attributes
    ----------
    place
        (k,) places in the candidates that were ranked.
    score, rl_adjustment, propensity
        (k,) float64.
    components
        Key -> (k,) float64, diversity as it was when the track was chosen.
    relaxed
        Which rules had to give way: artist_cap, shown, heard.
    """

    place: IndexArray
    score: FloatArray
    rl_adjustment: FloatArray
    propensity: FloatArray
    components: Mapping[str, FloatArray]
    relaxed: tuple[str, ...]


def rank(
    tracks: Tracks,
    components: Mapping[str, FloatArray],
    *,
    weights: Weights,
    rl_adjustment: FloatArray,
    rules: Rules,
    policy: EpsilonSlots,
    limit: int = 50,
) -> Ranking:
    """Choose and order up to `limit` of n candidates.

    Where the rules leave fewer than `limit`, they give way one by one: first the artist cap, then
    shown, then heard. What stands already stays.

    Parameters
    ----------
    tracks
        The candidates, in ascending order of `Tracks.row`.
    components
        The static components, key -> (n,).
    weights
        Component key -> weight, diversity among them.
    rl_adjustment
        (n,) in [-0.05, 0.05].

    Returns
    -------
    Ranking
        With score = sum of weight x component + rl_adjustment at every position.
    """
    n = len(tracks)
    base = rl_adjustment + sum(weights.get(key, 0.0) * components[key] for key in STATIC)
    diversity_weight = weights.get(DIVERSITY, 0.0)
    similarity = pairwise_similarity(tracks.audio)
    # Artists by small codes, so that a count per artist is an array.
    _, artist = np.unique(tracks.artist, return_inverse=True)
    per_artist = np.zeros(n, dtype=np.int64)
    similarity_sum = np.zeros(n)
    free = ~rules.never
    places: list[int] = []
    propensities: list[float] = []
    diversities: list[float] = []
    relaxed: list[str] = []
    cap, barred = rules.artist_cap, rules.heard | rules.shown
    steps = _relaxations(rules)

    while len(places) < limit:
        eligible = free & ~barred
        if cap is not None:
            eligible &= per_artist[artist] < cap
        if not eligible.any():
            step = next(steps, None)
            if step is None:
                break
            name, cap, barred = step
            if (free & ~barred).any():
                relaxed.append(name)
            continue
        now = diversity(
            similarity_sum / max(1, len(places)), (per_artist[artist] == 0).astype(np.float64)
        )
        position = len(places) + 1
        if policy.explores(position):
            open_places = np.flatnonzero(eligible)
            drawn, propensity = policy.draw(len(open_places))
            chosen = int(open_places[drawn])
        else:
            chosen = int(np.argmax(np.where(eligible, base + diversity_weight * now, -np.inf)))
            propensity = 1.0
        places.append(chosen)
        propensities.append(propensity)
        diversities.append(float(now[chosen]))
        free[chosen] = False
        per_artist[artist[chosen]] += 1
        similarity_sum += similarity[chosen]

    at = np.array(places, dtype=np.int64)
    parts = {key: components[key][at] for key in STATIC} | {DIVERSITY: np.array(diversities)}
    return Ranking(
        place=at,
        score=base[at] + diversity_weight * parts[DIVERSITY],
        rl_adjustment=rl_adjustment[at],
        propensity=np.array(propensities),
        components={key: parts[key] for key in KEYS},
        relaxed=tuple(relaxed),
    )


def _relaxations(rules: Rules) -> Iterator[tuple[str, None, Mask]]:
    if rules.artist_cap is not None:
        yield "artist_cap", None, rules.heard | rules.shown
    if rules.shown.any():
        yield "shown", None, rules.heard
    if rules.heard.any():
        yield "heard", None, np.zeros_like(rules.heard)
