"""Explanations: the two components that mattered most, in words a listener understands."""

from collections.abc import Mapping

import numpy as np

from recommender.audio import FloatArray
from recommender.components import DIVERSITY, STATIC
from recommender.scoring import Weights

DIVERSITY_PHRASE = "it brings variety to this list"
REST = "It rounds off this list"
EXPLORED = "Something different, to learn what you like"


LEAST_LIFT = 1e-9
LEAST_ADJUSTMENT = 0.01


def explain(
    components: Mapping[str, FloatArray],
    average: Mapping[str, float],
    weights: Weights,
    rl_adjustment: FloatArray,
) -> list[str]:
    """Return for each of n tracks one sentence naming what lifted it most above the others.

    A lift is weight x (component - average of the candidates). The two largest are named, of
    equals the first by name. Only what did lift a track is named, one, two or none: what every
    candidate has alike, as the personality match of a listener without an assessment, explains
    nothing. Feedback is named where it moved the track by .01 or more.

    Parameters
    ----------
    components
        Key -> (n,).
    rl_adjustment
        (n,).

    Examples
    --------
    Lifts of .4 x .2, .4 x .3 and .1 x 0:

    >>> of = {"history": .9, "personality": .6, "novelty": .8}
    >>> explain({key: np.array([value]) for key, value in of.items()},
    ...         {"history": .7, "personality": .3, "novelty": .8},
    ...         {"history": .4, "personality": .4, "novelty": .2}, np.array([0.02]))
    ['Because it fits your personality and it sounds like what you play; your likes lift it']
    """
    weighed = sorted(key for key, weight in weights.items() if weight > 0)
    if not weighed:
        return [REST] * len(rl_adjustment)
    lifts = np.array([weights[key] * (components[key] - average[key]) for key in weighed])
    order = np.argsort(-lifts, axis=0, kind="stable")[:2]
    is_lift = np.take_along_axis(lifts, order, axis=0) > LEAST_LIFT
    phrases = [DIVERSITY_PHRASE if key == DIVERSITY else STATIC[key].phrase for key in weighed]
    ends = np.where(rl_adjustment > 0, 1, -1) * (np.abs(rl_adjustment) >= LEAST_ADJUSTMENT)
    # A list has few different sentences: each is put together once.
    named = np.where(is_lift, order, _NOTHING).tolist()
    kinds = list(zip(*named, ends.tolist(), strict=True))
    sentences = {
        kind: _sentence([phrases[at] for at in kind[:-1] if at != _NOTHING], kind[-1])
        for kind in set(kinds)
    }
    return [sentences[kind] for kind in kinds]


_NOTHING = -1


def _sentence(phrases: list[str], end: int) -> str:
    if not phrases:
        return REST
    text = f"Because {' and '.join(phrases)}"
    if end:
        text += "; your likes lift it" if end > 0 else "; your skips lower it"
    return text
