"""Questionnaires: from item answers to the Big Five, with how far to trust the result.

Settled question 15. Trait = (mean of its answers - 1) x 25 on 0-100, reversed items 6 - x.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.errors import QuestionnaireError

MINIMUM_SHARE = 0.8
"""A trait with fewer of its items answered is absent, not guessed."""

KEYS: dict[str, dict[str, tuple[int, ...]]] = {
    # Item numbers from 1; a reversed item is negative.
    "bfi44": {
        "extraversion": (1, -6, 11, 16, -21, 26, -31, 36),
        "agreeableness": (-2, 7, -12, 17, 22, -27, 32, -37, 42),
        "conscientiousness": (3, -8, 13, -18, -23, 28, 33, 38, -43),
        "neuroticism": (4, -9, 14, 19, -24, 29, -34, 39),
        "openness": (5, 10, 15, 20, 25, 30, -35, 40, -41, 44),
    },
    "ipip50": {
        "extraversion": (1, -2, 3, -4, 5, -6, 7, -8, 9, -10),
        "neuroticism": (11, -12, 13, -14, 15, 16, 17, 18, 19, 20),
        "agreeableness": (-21, 22, -23, 24, -25, 26, -27, 28, 29, 30),
        "conscientiousness": (31, -32, 33, -34, 35, -36, 37, -38, 39, 40),
        "openness": (41, -42, 43, -44, 45, -46, 47, 48, 49, 50),
    },
}
LENGTHS = {"bfi44": 44, "ipip50": 50}


@dataclass(frozen=True)
class Assessment:
    """What a questionnaire says.

    Attributes
    ----------
    scores
        Trait -> 0-100; a trait with too few answers is absent.
    confidence
        Trait -> [0, 1].
    """

    scores: dict[str, float]
    confidence: dict[str, float]

    @property
    def overall_confidence(self) -> float:
        """The mean over all five traits, an absent one counting 0."""
        return sum(self.confidence.values()) / 5.0


def score(instrument: str, answers: Sequence[int | None]) -> Assessment:
    """Score one person's answers.

    A trait's confidence is (share of its items answered) x consistency, and
    consistency = max(0, 1 - variance / 4) of its keyed answers, 4 being the variance of someone who
    answers half of them 1 and half 5. One answer for every item of the questionnaire (straight-
    lining) has confidence 0: the reversed items make it contradict itself.

    Parameters
    ----------
    instrument
        ``bfi44`` or ``ipip50``.
    answers
        In item order, 1-5; None or 0 where there is no answer.

    Raises
    ------
    QuestionnaireError
        Unknown instrument, wrong number of answers, an answer outside 0-5.

    Examples
    --------
    Agreeing fully with everything extravert, and in the middle elsewhere:

    >>> answers = [5, 1, 5, 1, 5, 1, 5, 1, 5, 1] + [3] * 40
    >>> result = score("ipip50", answers)
    >>> result.scores["extraversion"], result.scores["openness"], result.overall_confidence
    (100.0, 50.0, 1.0)
    >>> score("ipip50", [4] * 50).overall_confidence
    0.0
    """
    if instrument not in KEYS:
        raise QuestionnaireError(f"unknown instrument '{instrument}': use {' or '.join(KEYS)}")
    if len(answers) != LENGTHS[instrument]:
        raise QuestionnaireError(
            f"{instrument} has {LENGTHS[instrument]} items, {len(answers)} answers came:"
            " send null where there is none"
        )
    given = np.array([answer or 0 for answer in answers], dtype=np.float64)
    if not np.isin(given, (0, 1, 2, 3, 4, 5)).all():
        raise QuestionnaireError("an answer is a whole number from 1 to 5, or null")
    straight_lined = len(np.unique(given[given > 0])) <= 1
    scores, confidence = {}, {}
    for trait, key in KEYS[instrument].items():
        items = np.array(key)
        raw = given[np.abs(items) - 1]
        keyed = np.where(items < 0, 6.0 - raw, raw)[raw > 0]
        share = len(keyed) / len(items)
        if share < MINIMUM_SHARE:
            confidence[trait] = 0.0
            continue
        scores[trait] = float((keyed.mean() - 1.0) * 25.0)
        consistency = max(0.0, 1.0 - float(keyed.var()) / 4.0)
        confidence[trait] = 0.0 if straight_lined else share * consistency
    return Assessment(scores, confidence)
