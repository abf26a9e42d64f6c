"""Explanations: the two components that mattered most, in words a listener understands."""

from collections.abc import Mapping

from recommender.components import DIVERSITY, STATIC
from recommender.scoring import Weights

DIVERSITY_PHRASE = "it brings variety to this list"
EXPLORED = "Something different, to learn what you like"


def explain(components: Mapping[str, float], weights: Weights, rl_adjustment: float) -> str:
    """Return one sentence naming the two largest contributions weight x component.

    Feedback is named where it moved the track by a hundredth or more.

    Examples
    --------
    >>> explain({"history": .9, "personality": .6, "novelty": .8, "diversity": 1.0},
    ...         {"history": .4, "personality": .4, "novelty": .1, "diversity": .1}, 0.02)
    'Because it sounds like what you play and it fits your personality; your likes lift it'
    """
    contributions = {key: w * components[key] for key, w in weights.items() if w > 0}
    top = sorted(contributions, key=lambda key: (-contributions[key], key))[:2]
    phrases = [DIVERSITY_PHRASE if key == DIVERSITY else STATIC[key].phrase for key in top]
    text = f"Because {' and '.join(phrases)}"
    if abs(rl_adjustment) >= 0.01:
        text += "; your likes lift it" if rl_adjustment > 0 else "; your skips lower it"
    return text
