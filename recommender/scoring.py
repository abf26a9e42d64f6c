"""Scores: weights per stage times components, plus what was learned from feedback.

score = sum_k w_k component_k + rl_adjustment, not clipped: it lies in [-0.05, 1.05].
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from recommender.cold_start import Stage
from recommender.components import KEYS
from recommender.errors import ModelFormatError

Weights = Mapping[str, float]

SCORER_FILE = "scorer.json"

BASE_FORMULA: Weights = {"history": 0.4, "personality": 0.4, "diversity": 0.1, "novelty": 0.1}
"""SEED.md section 3; the stage weights below are what is served."""


@dataclass(frozen=True)
class Scorer:
    """The model `scorer`: for each stage, non-negative weights that sum to 1.

    Attributes
    ----------
    weights
        Stage -> component key -> weight; every component is listed, weight 0 too.

    Examples
    --------
    >>> Scorer.from_json(PRIOR.to_json()) == PRIOR
    True
    >>> Scorer.of({stage: {"history": 0.9} for stage in Stage})
    Traceback (most recent call last):
    recommender.errors.ModelFormatError: scorer: the weights of week_1 sum to 0.9, not to 1
    """

    weights: Mapping[Stage, Weights]

    @classmethod
    def of(cls, weights: Mapping[Stage, Weights]) -> "Scorer":
        """Return a scorer after checking it; components not named get weight 0.

        Raises
        ------
        ModelFormatError
            A stage is missing, a component unknown, a weight negative, or a sum not 1.
        """
        for stage in Stage:
            if stage not in weights:
                raise ModelFormatError(f"scorer: there are no weights for {stage}")
            if unknown := set(weights[stage]) - set(KEYS):
                raise ModelFormatError(f"scorer: no component is called {', '.join(unknown)}")
            total = math.fsum(weights[stage].values())
            if not math.isclose(total, 1.0, abs_tol=1e-9):
                raise ModelFormatError(
                    f"scorer: the weights of {stage} sum to {total:.6g}, not to 1"
                )
            if min(weights[stage].values()) < 0:
                raise ModelFormatError(f"scorer: a weight of {stage} is negative")
        return cls({s: {k: float(weights[s].get(k, 0.0)) for k in KEYS} for s in Stage})

    def to_files(self) -> Mapping[str, bytes]:
        """Return the model's files."""
        return {SCORER_FILE: self.to_json().encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Scorer":
        """Read the model's files; raises ModelFormatError where they are not a scorer's."""
        if SCORER_FILE not in files:
            raise ModelFormatError(f"scorer: {SCORER_FILE} is missing")
        return cls.from_json(files[SCORER_FILE].decode())

    def to_json(self) -> str:
        """Return the model's artifact: the same weights always give the same bytes."""
        weights = {stage.value: dict(sorted(w.items())) for stage, w in self.weights.items()}
        return json.dumps({"schema": 1, "weights": weights}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Scorer":
        """Read an artifact.

        Raises
        ------
        ModelFormatError
            It is not one.
        """
        try:
            document = json.loads(text)
            if document["schema"] != 1:
                raise ModelFormatError(f"scorer: schema {document['schema']} is not known here")
            return cls.of({Stage(stage): w for stage, w in document["weights"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelFormatError(f"scorer: the artifact is damaged ({error})") from None


PRIOR = Scorer.of(
    {
        Stage.WEEK_1: {"personality": 0.8, "popularity": 0.2},
        Stage.WEEK_2_4: {"personality": 0.6, "history": 0.4},
        Stage.MONTH_2_PLUS: BASE_FORMULA,
    }
)
"""Version 1 of `scorer`, set by hand: settled question 1."""


def score(components: Weights, weights: Weights, rl_adjustment: float = 0.0) -> float:
    """Return one track's score from its components.

    Examples
    --------
    SEED.md's example, and the same with more history, in the base formula and in week 1:

    >>> seed = {"history": 0.5, "personality": 0.7, "diversity": 1.0, "novelty": 0.8}
    >>> week_1 = PRIOR.weights[Stage.WEEK_1]
    >>> round(score(seed, BASE_FORMULA), 9), round(score(seed | {"popularity": 0.5}, week_1), 9)
    (0.66, 0.66)
    >>> round(score(seed | {"history": 0.9}, BASE_FORMULA), 9)
    0.82
    """
    return math.fsum(w * components[key] for key, w in weights.items() if w) + rl_adjustment
