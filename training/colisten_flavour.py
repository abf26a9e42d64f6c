"""The model `colisten` as an MLflow pyfunc: a history of artists in, what to play next out."""

from pathlib import Path

import numpy as np
import pandas as pd

from recommender.colisten import Colisten
from training.model_kind import ModelKind
from training.packaging import read_package
from training.runs import COLISTEN

BEST = 10


class ColistenModel:
    """What MLflow's pyfunc calls."""

    def __init__(self, colisten: Colisten) -> None:
        self.colisten = colisten

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, object] | None = None
    ) -> pd.DataFrame:
        """Return the ten artists that a history speaks for most, best first, with their scores.

        Parameters
        ----------
        model_input
            One listener's history: a column `artist_key`, and a column `play_count` > 0.
        """
        grain = self.colisten.artists
        keys = [str(key) for key in model_input["artist_key"]]
        scores = grain.scores(keys, model_input["play_count"].to_numpy(dtype=np.float64))
        heard = grain.places(keys)
        scores[heard[heard >= 0]] = -np.inf
        best = np.argsort(-scores, kind="stable")[: min(BEST, int(np.isfinite(scores).sum()))]
        names = [key.decode() for key in grain.keys[best].tolist()]
        return pd.DataFrame({"artist_key": pd.Series(names, dtype=str), "score": scores[best]})


def example(colisten: Colisten) -> pd.DataFrame:
    """Return a history of up to two of the model's artists."""
    keys = [key.decode() for key in colisten.artists.keys[:2].tolist()] or ["nobody"]
    counts = np.arange(1.0, len(keys) + 1)
    return pd.DataFrame({"artist_key": pd.Series(keys, dtype=str), "play_count": counts})


def _load_pyfunc(data_path: str) -> ColistenModel:
    return ColistenModel(Colisten.from_files(read_package(Path(data_path))))


KIND = ModelKind(COLISTEN, Colisten, __name__, ColistenModel, example)
