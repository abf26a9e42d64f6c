"""The model `qtable` as an MLflow pyfunc: states in, what newcomers are believed to say, out."""

from pathlib import Path

import pandas as pd

from recommender.qtable import QTable
from training.model_kind import ModelKind
from training.packaging import read_package

QTABLE = "qtable"
STATE = "state"
EXAMPLE_STATE = (
    "extraversion_high|openness_med|conscientiousness_med|agreeableness_med|neuroticism_low|"
    "energy_high|valence_high|danceability_high|tempo_med|genre_pop_anthems"
)


class QTableModel:
    """What MLflow's pyfunc calls."""

    def __init__(self, table: QTable) -> None:
        self.table = table

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, object] | None = None
    ) -> pd.DataFrame:
        """Return Q(state, recommend) and its spread for listeners who said nothing yet.

        Examples
        --------
        >>> QTableModel(QTable()).predict(example(QTable())).q_value.tolist()
        [0.0]
        """
        mean, spread = self.table.believed([str(state) for state in model_input[STATE]])
        return pd.DataFrame({"q_value": mean, "spread": spread})


def example(_table: QTable) -> pd.DataFrame:
    """Return one row of input."""
    return pd.DataFrame({STATE: [EXAMPLE_STATE]})


def _load_pyfunc(data_path: str) -> QTableModel:
    return QTableModel(QTable.from_files(read_package(Path(data_path))))


KIND = ModelKind(QTABLE, QTable, __name__, QTableModel, example)
