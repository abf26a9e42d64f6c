"""What the weights of a scorer are fitted to, and the fit: histories first, then impressions.

Histories say what people play by themselves; impressions say what they choose from a list. Where
there are enough impressions, the weights that histories gave are their prior: the more listeners
speak through them, the less histories count. Where there are too few, histories speak alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np

from recommender.cold_start import Stage
from recommender.scoring import PRIOR, Scorer
from training.data.choices import ChoiceRows
from training.data.impressions import FEWEST_LISTENERS, Impressions
from training.errors import NothingTrainableError, TrainingError
from training.fit.examination import CLIP, Examination, examined
from training.fit.impression_rows import HALF_LIFE_DAYS, Correction, impression_rows
from training.fit.weights import RIDGE, SHRINKAGE, StageWeights, fit_rows
from training.runs import HISTORIES, IMPRESSIONS


class Evidence(StrEnum):
    """What weights are fitted to; auto: impressions where there are enough."""

    AUTO = "auto"
    IMPRESSIONS = IMPRESSIONS
    HISTORIES = HISTORIES


@dataclass(frozen=True)
class FitSettings:
    """What a search may turn: see `StageWeights` and `Correction`.

    Raises
    ------
    TrainingError
        A setting is out of its range.
    """

    shrinkage: float = SHRINKAGE
    ridge: float = RIDGE
    clip: float = CLIP
    half_life_days: float = HALF_LIFE_DAYS

    def __post_init__(self) -> None:
        """Refuse what no fit can be made with."""
        if not (self.shrinkage >= 0 and self.ridge > 0 and self.clip >= 1):
            raise TrainingError("shrinkage is at least 0, ridge above 0, clip at least 1")
        if not self.half_life_days > 0:
            raise TrainingError("the half-life is above 0 days")


@dataclass(frozen=True)
class Fitted:
    """A scorer with what it was made of.

    Attributes
    ----------
    stages
        The fits that gave the weights.
    rows
        What those were fitted to.
    prior
        What they were shrunk towards.
    fitted_from
        Value of the tag of that name.
    examination
        Estimated from impressions; None where none took part.
    """

    scorer: Scorer
    stages: Mapping[Stage, StageWeights]
    rows: Mapping[Stage, ChoiceRows]
    prior: Scorer
    fitted_from: str
    settings: FitSettings
    examination: Examination | None

    def params(self) -> dict[str, object]:
        """Return what a run should say of it."""
        return asdict(self.settings) | {"fitted_from": self.fitted_from}

    def metrics(self) -> dict[str, float]:
        """Return the weights with their intervals, and how many listeners gave them."""
        facts: dict[str, float] = {}
        for stage, fit in self.stages.items():
            facts[f"{stage}/listeners_fit"] = float(fit.n_listeners_)
            facts[f"{stage}/rows_fit"] = float(len(self.rows[stage].target))
            for key, weight in self.scorer.weights[stage].items():
                facts[f"{stage}/weight_{key}"] = weight
                if key in fit.intervals_:
                    low, high = fit.intervals_[key]
                    facts[f"{stage}/weight_{key}_low"] = low
                    facts[f"{stage}/weight_{key}_high"] = high
        if self.examination is not None:
            facts |= {
                "examination_eta": self.examination.eta,
                "examination_eta_sd": self.examination.sd,
                "impressions_explored": float(self.examination.explored),
            }
        return facts


def enough_impressions(
    impressions: Impressions, evidence: Evidence, *, is_wanted: Callable[[str], bool]
) -> bool:
    """Return whether impressions take part.

    Raises
    ------
    NothingTrainableError
        They were asked for, and too few listeners who may fit liked something; the message counts
        what was refused, by table and source.
    """
    if evidence is Evidence.HISTORIES:
        return False
    liked = impressions.is_liked & impressions.of(is_wanted)
    listeners = len(np.unique(impressions.listener[liked]))
    if listeners >= FEWEST_LISTENERS:
        return True
    if evidence is Evidence.IMPRESSIONS:
        refused = ", ".join(f"{n} {name}" for name, n in impressions.refused.items())
        raise NothingTrainableError(
            f"too few impressions: {listeners} listeners liked something that they were shown,"
            f" {FEWEST_LISTENERS} are needed"
            + (f"; refused as not trainable: {refused}" if refused else "")
            + ": take --from histories, or wait for more feedback"
        )
    return False


def fit_evidence(
    history_rows: Mapping[Stage, ChoiceRows],
    impressions: Impressions | None,
    *,
    settings: FitSettings,
    is_wanted: Callable[[str], bool],
    resamples: int = 0,
    seed: int = 0,
) -> Fitted:
    """Fit weights to histories, and then to impressions where there are any.

    Parameters
    ----------
    history_rows
        Of the listeners who fit.
    is_wanted
        The same listeners among those of the impressions.
    """
    first_only = impressions is None
    scorer, stages = fit_rows(
        history_rows,
        PRIOR,
        shrinkage=settings.shrinkage,
        ridge=settings.ridge,
        resamples=resamples if first_only else 0,
        seed=seed,
    )
    if impressions is None:
        return Fitted(scorer, stages, history_rows, PRIOR, HISTORIES, settings, None)
    fits = impressions.of(is_wanted)
    examination = examined(
        impressions.components[fits],
        impressions.is_liked[fits],
        impressions.position[fits],
        impressions.propensity[fits],
    )
    correction = Correction(examination, settings.clip, settings.half_life_days)
    rows = {
        stage: impression_rows(impressions, stage, correction, is_wanted=is_wanted)
        for stage in Stage
    }
    prior = scorer
    scorer, stages = fit_rows(
        rows,
        prior,
        shrinkage=settings.shrinkage,
        ridge=settings.ridge,
        resamples=resamples,
        seed=seed,
    )
    return Fitted(scorer, stages, rows, prior, IMPRESSIONS, settings, examination)
