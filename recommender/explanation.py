"""Explanations: the two components that mattered most, in words a listener understands."""

from collections.abc import Mapping

from recommender.components import DIVERSITY, STATIC
from recommender.scoring import Weights

DIVERSITY_PHRASE = "it brings variety to this list"
REST = "It rounds off this list"
EXPLORED = "Something different, to learn what you like"


def explain(
    components: Mapping[str, float],
    average: Mapping[str, float],
    weights: Weights,
    rl_adjustment: float,
) -> str:
    """Return one sentence naming the two components that lifted a track most above the others.

    A lift is weight x (component - average of the candidates). Only what did lift it is named, one,
    two or none: what every candidate has alike, as the personality match of a listener without an
    assessment, explains nothing. Feedback is named where it moved the track by .01 or more.

    Examples
    --------
    Lifts of .4 x .2, .4 x .3 and .1 x 0:

    >>> explain({"history": .9, "personality": .6, "novelty": .8},
    ...         {"history": .7, "personality": .3, "novelty": .8},
    ...         {"history": .4, "personality": .4, "novelty": .2}, 0.02)
    'Because it fits your personality and it sounds like what you play; your likes lift it'
    """
    lifts = {key: w * (components[key] - average[key]) for key, w in weights.items() if w > 0}
    top = sorted((key for key in lifts if lifts[key] > 1e-9), key=lambda key: (-lifts[key], key))[
        :2
    ]
    if not top:
        return REST
    phrases = [DIVERSITY_PHRASE if key == DIVERSITY else STATIC[key].phrase for key in top]
    text = f"Because {' and '.join(phrases)}"
    if abs(rl_adjustment) >= 0.01:
        text += "; your likes lift it" if rl_adjustment > 0 else "; your skips lower it"
    return text
