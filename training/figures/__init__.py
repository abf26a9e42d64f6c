"""Figures that runs keep, as PNG: each takes plain mappings and arrays and returns its bytes."""

from training.figures.curves import learning_curve_figure
from training.figures.groups import groups_figure
from training.figures.qtable import qtable_figure
from training.figures.reliability import calibration_figure, reliability_figure
from training.figures.weights import weights_figure

__all__ = [
    "calibration_figure",
    "groups_figure",
    "learning_curve_figure",
    "qtable_figure",
    "reliability_figure",
    "weights_figure",
]
