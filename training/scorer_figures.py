"""The figures of a scorer's run."""

from collections.abc import Mapping

import numpy as np

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from recommender.components import STATIC
from recommender.scoring import Scorer
from training.data.choices import ChoiceRows
from training.evaluation.intervals import Interval
from training.evaluation.reliability import calibration_error, promised_of
from training.evaluation.served_lists import K
from training.figures import (
    calibration_figure,
    groups_figure,
    reliability_figure,
    weights_figure,
)
from training.figures.weights import Bounds

FEWEST = 2
"""Listeners in each half, or there is no curve to read it by."""


def scorer_figures(
    fitted: Scorer,
    served: Scorer,
    rows: Mapping[Stage, ChoiceRows],
    *,
    weights: Mapping[Stage, Bounds] | None = None,
    groups: Mapping[str, tuple[int, Interval]] | None = None,
) -> tuple[dict[str, bytes], dict[str, float]]:
    """Draw what a reviewer looks at; return file name -> PNG, and metrics of the calibration.

    Parameters
    ----------
    rows
        The judged candidates of test listeners at each stage.
    weights
        Intervals of the weights, where they are known.
    groups
        Group of listeners -> (how many, the gain in NDCG@10), where they are known.

    Returns
    -------
    `weights.png`, `calibration.png`, `reliability_by_stage.png`, `gain_by_group.png`; and
    `STAGE/calibration_error`: see `training.evaluation.reliability`.
    """
    figures = {"weights.png": weights_figure(fitted, served, weights)}
    stages = {
        stage.value: read
        for stage in Stage
        if (read := promises(rows[stage], fitted.weights[stage])) is not None
    }
    if stages:
        promised, found = (np.concatenate(part) for part in zip(*stages.values(), strict=True))
        figures["calibration.png"] = calibration_figure(promised, found)
        figures["reliability_by_stage.png"] = reliability_figure(stages)
    if groups:
        figures["gain_by_group.png"] = groups_figure(
            groups, measured=f"gain in NDCG@{K}", line_at=0.0
        )
    errors = {
        f"{stage}/calibration_error": calibration_error(*read) for stage, read in stages.items()
    }
    return figures, errors


def promises(
    rows: ChoiceRows, weights: Mapping[str, float]
) -> tuple[FloatArray, FloatArray] | None:
    """Return what one stage's scores promise and what was found, (n,) each; None for too few.

    Components that depend on the list (diversity) take no part.
    """
    halves = [np.unique(rows.listener[rows.listener % 2 == half]) for half in (0, 1)]
    if min(map(len, halves)) < FEWEST:
        return None
    score = rows.features @ np.array([weights.get(key, 0.0) for key in STATIC])
    found = np.asarray(rows.is_relevant, dtype=np.bool_)
    return promised_of(score, found, rows.listener), found.astype(np.float64)
