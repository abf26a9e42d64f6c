"""Rows of one stage from impressions: what was chosen, corrected for place and exposure."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recommender.cold_start import Stage
from recommender.components import KEYS
from training.data.choices import ChoiceRows
from training.data.impressions import STAGES, Impressions
from training.fit.examination import CLIP, Examination, exposure

HALF_LIFE_DAYS = 180.0
"""A list counts half as much as one that was shown so much later."""


@dataclass(frozen=True)
class Correction:
    """What stands between a like and what a track is worth.

    Attributes
    ----------
    examination
        How likely each place is looked at.
    clip
        No correction, of place or of exposure, is larger.
    half_life_days
        See `HALF_LIFE_DAYS`.
    """

    examination: Examination
    clip: float = CLIP
    half_life_days: float = HALF_LIFE_DAYS


def impression_rows(
    impressions: Impressions,
    stage: Stage,
    correction: Correction,
    *,
    is_wanted: Callable[[str], bool] = lambda _: True,
) -> ChoiceRows:
    """Return the rows of one stage: target = liked x min(1 / e_k, clip) x 2^(-age / half-life).

    Age counts back from the latest list of the log. A row stands for min(1 / propensity, clip)
    candidates.

    Parameters
    ----------
    is_wanted
        Which listeners take part, by id.
    """
    keep = (impressions.stage == STAGES.index(stage)) & impressions.of(is_wanted)
    shown = impressions.shown_at
    age = (shown.max() - shown[keep]) if keep.any() else np.empty(0)
    seen = correction.examination.correction(impressions.position[keep], clip=correction.clip)
    recent = 2.0 ** (-age / correction.half_life_days)
    return ChoiceRows(
        columns=KEYS,
        features=impressions.components[keep],
        target=impressions.is_liked[keep] * seen * recent,
        exposure=exposure(impressions.propensity[keep], clip=correction.clip),
        list=impressions.list[keep],
        listener=impressions.listener[keep],
    )
