"""A planted world: the corrected fit finds what is wanted, the uncorrected one what was shown."""

from dataclasses import replace

import numpy as np
import pytest

from recommender.cold_start import Stage
from recommender.components import KEYS
from recommender.scoring import PRIOR, Weights
from training.data.choices import ChoiceRows
from training.data.impressions import FEWEST_LISTENERS, STAGES, Impressions
from training.errors import NothingTrainableError, TrainingError
from training.fit.challenger import CHALLENGER_GAIN, challenger_gain
from training.fit.examination import CLIP, PRIOR_ETA, PRIOR_SD, Examination, examined
from training.fit.fitting import Evidence, FitSettings, enough_impressions, fit_evidence
from training.fit.impression_rows import Correction, impression_rows
from training.fit.weights import fit_stage
from training.simulation.shown_lists import plant_impressions

WANTED = {"history": 0.2, "popularity": 0.5, "novelty": 0.3}
SHOWN_BY = {"history": 0.8, "novelty": 0.2}
ALIKE = dict.fromkeys(KEYS, 1 / len(KEYS))
BIASED = 1.0
UNCORRECTED = Correction(Examination(eta=0.0), clip=1.0)


@pytest.fixture(scope="module")
def biased() -> Impressions:
    """Listeners look at place k with 1/k, and history decides what stands on top."""
    return plant_impressions(WANTED, SHOWN_BY, eta=BIASED, seed=1, listeners=500)


def of(impressions: Impressions) -> Examination:
    return examined(
        impressions.components,
        impressions.is_liked,
        impressions.position,
        impressions.propensity,
    )


def weights(impressions: Impressions, correction: Correction) -> Weights:
    rows = impression_rows(impressions, Stage.MONTH_2_PLUS, correction)
    return fit_stage(rows, ALIKE, shrinkage=0).weights_


def error(found: Weights) -> float:
    return max(abs(found[key] - WANTED.get(key, 0.0)) for key in KEYS)


def test_explored_slots_tell_how_places_are_looked_at(biased: Impressions) -> None:
    found = of(biased)
    assert abs(found.eta - BIASED) < 3 * found.sd < 0.5
    assert found.explored == (biased.propensity < 1).sum() > 0


def test_without_explored_slots_the_prior_speaks(biased: Impressions) -> None:
    greedy = replace(biased, propensity=np.ones(len(biased)))
    assert of(greedy) == Examination(PRIOR_ETA, PRIOR_SD, 0)


@pytest.mark.parametrize("seed", range(3))
def test_the_corrected_fit_finds_the_true_weights_and_the_uncorrected_does_not(seed: int) -> None:
    log = plant_impressions(WANTED, SHOWN_BY, eta=BIASED, seed=seed, listeners=500)
    corrected = weights(log, Correction(of(log), clip=30.0))
    assert error(corrected) < 0.08
    assert error(weights(log, UNCORRECTED)) > 0.25
    assert weights(log, UNCORRECTED)["history"] > corrected["history"] + 0.25


def test_where_every_place_is_looked_at_and_chance_shows_nothing_needs_correcting() -> None:
    log = plant_impressions(WANTED, {}, eta=0.0, seed=1, listeners=300, candidates=20)
    assert error(weights(log, UNCORRECTED)) < 0.08


def test_no_correction_is_larger_than_the_clip(biased: Impressions) -> None:
    rows = impression_rows(biased, Stage.MONTH_2_PLUS, Correction(Examination(2.0), clip=4.0))
    assert rows.target.max() == rows.exposure.max() == 4.0
    assert set(rows.exposure.tolist()) == {1.0, 4.0}


def test_a_list_counts_half_after_a_half_life(biased: Impressions) -> None:
    aged = replace(biased, shown_at=biased.shown_at + biased.list % 2 * 30.0)
    fixed = Correction(Examination(0.0), half_life_days=30.0)
    rows = impression_rows(aged, Stage.MONTH_2_PLUS, fixed)
    assert set(rows.target[rows.list % 2 == 1].tolist()) == {0.0, 1.0}
    assert set(rows.target[rows.list % 2 == 0].tolist()) == {0.0, 0.5}


def test_only_the_rows_of_a_stage_and_of_who_is_wanted_take_part(biased: Impressions) -> None:
    young = replace(
        biased, stage=np.where(biased.list % 2 == 0, STAGES.index(Stage.WEEK_1), biased.stage)
    )
    rows = impression_rows(
        young,
        Stage.WEEK_1,
        Correction(Examination()),
        is_wanted=lambda user: user < "user0010",
    )
    assert set(rows.listener.tolist()) == set(range(10))
    assert (rows.list % 2 == 0).all()


@pytest.mark.parametrize(
    "wrong", [{"shrinkage": -1.0}, {"ridge": 0.0}, {"clip": float("nan")}, {"half_life_days": 0.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="is"):
        FitSettings(**wrong)


def no_histories() -> dict[Stage, ChoiceRows]:
    empty = np.empty(0)
    none = np.empty(0, dtype=np.int64)
    return {
        stage: ChoiceRows(KEYS, np.empty((0, len(KEYS))), empty, empty, none, none)
        for stage in Stage
    }


def test_a_stage_without_impressions_keeps_its_prior(biased: Impressions) -> None:
    fit = fit_evidence(
        no_histories(), biased, settings=FitSettings(), is_wanted=lambda _: True, resamples=50
    )
    assert fit.fitted_from == "impressions"
    assert fit.scorer.weights[Stage.WEEK_1] == PRIOR.weights[Stage.WEEK_1]
    assert fit.scorer.weights[Stage.MONTH_2_PLUS]["popularity"] > 0.3
    metrics = fit.metrics()
    for key in KEYS:
        name = f"month_2_plus/weight_{key}"
        assert metrics[f"{name}_low"] <= metrics[name] + 1e-6
        assert metrics[name] <= metrics[f"{name}_high"] + 1e-6
    assert "week_1/weight_personality_low" not in metrics


def test_impressions_take_part_from_a_stated_number_of_listeners_on() -> None:
    few = plant_impressions(WANTED, SHOWN_BY, eta=0.0, seed=1, listeners=FEWEST_LISTENERS // 2)
    refused = replace(few, refused={"tracks from spotify": 30})
    anybody = {"is_wanted": lambda _: True}
    assert not enough_impressions(few, Evidence.AUTO, **anybody)
    with pytest.raises(NothingTrainableError, match=r"25 listeners .* 30 tracks from spotify"):
        enough_impressions(refused, Evidence.IMPRESSIONS, **anybody)
    many = plant_impressions(WANTED, SHOWN_BY, eta=0.0, seed=1, listeners=2 * FEWEST_LISTENERS)
    assert enough_impressions(many, Evidence.AUTO, **anybody)
    assert not enough_impressions(many, Evidence.HISTORIES, **anybody)
    only = {f"user{number:04}" for number in range(FEWEST_LISTENERS - 1)}
    assert not enough_impressions(many, Evidence.AUTO, is_wanted=only.__contains__)


def test_trees_find_nothing_more_where_a_sum_decides(biased: Impressions) -> None:
    rows = no_histories() | {
        Stage.MONTH_2_PLUS: impression_rows(biased, Stage.MONTH_2_PLUS, Correction(of(biased)))
    }
    gain = challenger_gain(rows, PRIOR, shrinkage=0, ridge=1e-4, seed=1)[CHALLENGER_GAIN]
    assert gain.low < 0.01


def test_trees_find_what_a_sum_cannot() -> None:
    rng = np.random.default_rng(1)
    listeners, each = 200, 30
    x = rng.uniform(size=(listeners, each, len(KEYS)))
    middle = -np.abs(x[:, :, KEYS.index("popularity")] - 0.5)  # neither known nor unknown
    chosen = middle >= np.sort(middle, axis=1)[:, -3:-2]
    who = np.repeat(np.arange(listeners), each)
    rows = ChoiceRows(
        KEYS,
        x.reshape(-1, len(KEYS)),
        chosen.ravel().astype(np.float64),
        np.ones(len(who)),
        who,
        who,
    )
    gains = challenger_gain(
        no_histories() | {Stage.WEEK_1: rows}, PRIOR, shrinkage=0, ridge=1e-4, seed=1
    )
    assert gains[CHALLENGER_GAIN].low > 0.2
    assert gains[f"week_1/{CHALLENGER_GAIN}"] == gains[CHALLENGER_GAIN]
    assert CLIP >= 1
