"""The model `audio_estimator` as an MLflow pyfunc: artist means and genres in, estimates out."""

from pathlib import Path

import numpy as np
import pandas as pd

from recommender.audio import FEATURES
from recommender.audio_estimator import MODEL, AudioEstimator
from training.model_kind import ModelKind
from training.packaging import read_package

ARTIST_TRACKS, GENRES = "artist_tracks", "genres"
MEANS = [f"artist_{feature}" for feature in FEATURES]


class AudioEstimatorModel:
    """What MLflow's pyfunc calls."""

    def __init__(self, estimator: AudioEstimator) -> None:
        self.estimator = estimator

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, object] | None = None
    ) -> pd.DataFrame:
        """Return one column per audio feature, in [0, 1], the tempo scaled.

        Parameters
        ----------
        model_input
            `artist_tracks`, `artist_<feature>` (NaN where not known), and `genres` joined by '|'.

        Examples
        --------
        >>> seven = np.ones(7)
        >>> model = AudioEstimator(("rock",), 0.1 * np.ones((1, 7)), 0.5 * seven, 2 * seven)
        >>> AudioEstimatorModel(model).predict(example(model)).energy.round(9).tolist()
        [0.65, 0.6]
        """
        estimates = self.estimator.estimate(
            model_input[MEANS].to_numpy(dtype=np.float64),
            model_input[ARTIST_TRACKS].to_numpy(),
            [text.split("|") for text in model_input[GENRES]],
        )
        return pd.DataFrame(estimates, columns=list(FEATURES))


def example(estimator: AudioEstimator) -> pd.DataFrame:
    """Return a track of a known artist (two tracks, all .7) and one of a new artist."""
    genre = estimator.genres[0] if estimator.genres else "pop"
    rows = [dict.fromkeys(MEANS, 0.7) | {ARTIST_TRACKS: 2.0, GENRES: genre}]
    rows += [dict.fromkeys(MEANS, np.nan) | {ARTIST_TRACKS: 0.0, GENRES: genre}]
    return pd.DataFrame(rows)


def _load_pyfunc(data_path: str) -> AudioEstimatorModel:
    return AudioEstimatorModel(AudioEstimator.from_files(read_package(Path(data_path))))


KIND = ModelKind(MODEL, AudioEstimator, __name__, AudioEstimatorModel, example)
