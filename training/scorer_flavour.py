"""The model `scorer` as an MLflow pyfunc: a table of components in, scores out.

MLflow finds `_load_pyfunc` by this module's name in the MLmodel file; nothing is unpickled, and no
code is read from the folder of artifacts.
"""

from pathlib import Path

import pandas as pd

from recommender.cold_start import Stage
from recommender.components import KEYS
from recommender.scoring import Scorer, score
from training.model_kind import ModelKind
from training.packaging import read_package
from training.runs import SCORER

STAGE = "stage"


class ScorerModel:
    """What MLflow's pyfunc calls."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, object] | None = None
    ) -> pd.DataFrame:
        """Return one score per row, without any adjustment learned from feedback.

        Parameters
        ----------
        model_input
            A column `stage`, and one column in [0, 1] for each component.

        Examples
        --------
        SEED.md's example: 0.4 x 0.5 + 0.4 x 0.7 + 0.1 x 1.0 + 0.1 x 0.8.

        >>> from recommender.scoring import PRIOR
        >>> ScorerModel(PRIOR).predict(example(PRIOR)).score.round(9).tolist()
        [0.66]
        """
        scores = [
            score({key: row[key] for key in KEYS}, self.scorer.weights[Stage(row[STAGE])])
            for row in model_input.to_dict("records")
        ]
        return pd.DataFrame({"score": scores})


def example(_scorer: Scorer) -> pd.DataFrame:
    """Return one row of input."""
    golden = {"history": 0.5, "personality": 0.7, "diversity": 1.0, "novelty": 0.8}
    return pd.DataFrame(
        [{STAGE: Stage.MONTH_2_PLUS.value} | {key: golden.get(key, 0.5) for key in KEYS}]
    )


def _load_pyfunc(data_path: str) -> ScorerModel:
    return ScorerModel(Scorer.from_files(read_package(Path(data_path))))


KIND = ModelKind(SCORER, Scorer, __name__, ScorerModel, example)
