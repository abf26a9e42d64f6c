import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.cold_start import Stage
from recommender.components import KEYS, STATIC
from recommender.scoring import PRIOR, Scorer
from training.weights import StageWeights, fit_scorer

COLUMNS = list(STATIC)
PRIOR_WEIGHTS = PRIOR.weights[Stage.MONTH_2_PLUS]
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def planted(
    decides: dict[str, float], seed: int, listeners: int = 200, constant: tuple[str, ...] = ()
) -> Rows:
    """Rows of listeners who choose 3 of 40 tracks with the logit of `decides`."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(listeners, 40, len(COLUMNS)))
    for key in constant:
        x[:, :, COLUMNS.index(key)] = 0.5
    theta = np.array([decides.get(key, 0.0) for key in COLUMNS])
    utility = x @ theta + rng.gumbel(size=(listeners, 40))
    chosen = utility >= np.sort(utility, axis=1)[:, -3:-2]
    return x.reshape(-1, len(COLUMNS)), chosen.ravel(), np.repeat(np.arange(listeners), 40)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("key", ["history", "popularity", "novelty"])
def test_what_decides_gets_the_weight(key: str, seed: int) -> None:
    fit = StageWeights(PRIOR_WEIGHTS, shrinkage=0).fit(*planted({key: 8.0}, seed))
    mass = 1 - PRIOR_WEIGHTS["diversity"]
    assert fit.weights_[key] > 0.9 * mass


@pytest.mark.parametrize("seed", range(5))
def test_the_ratio_of_two_reasons_is_found(seed: int) -> None:
    rows = planted({"history": 9.0, "popularity": 3.0}, seed, listeners=1500)
    fit = StageWeights(PRIOR_WEIGHTS, shrinkage=0).fit(*rows)
    assert fit.weights_["history"] / fit.weights_["popularity"] == pytest.approx(3, rel=0.25)


def test_what_is_avoided_gets_no_negative_weight() -> None:
    fit = StageWeights(PRIOR_WEIGHTS).fit(*planted({"history": -6.0, "popularity": 6.0}, 3))
    assert fit.theta_[fit.identified_.index("history")] == 0
    assert fit.weights_["history"] >= 0


def test_unidentified_components_keep_the_prior_exactly() -> None:
    rows = planted({"history": 5.0, "popularity": 5.0}, 1, constant=("personality", "colisten"))
    fit = StageWeights(PRIOR_WEIGHTS).fit(*rows)
    assert fit.identified_ == ("history", "novelty", "popularity")
    for key in ("personality", "colisten", "diversity"):
        assert fit.weights_[key] == PRIOR_WEIGHTS.get(key, 0.0)


def test_a_difference_between_listeners_identifies_nothing() -> None:
    x, chosen, listener = planted({"history": 5.0}, 1)
    x[:, COLUMNS.index("popularity")] = listener / 200
    assert "popularity" not in StageWeights(PRIOR_WEIGHTS).fit(x, chosen, listener).identified_


def test_the_prior_counts_as_many_listeners_as_its_shrinkage() -> None:
    rows = planted({"popularity": 8.0}, 2, listeners=50)
    alone = StageWeights(PRIOR_WEIGHTS, shrinkage=0).fit(*rows).weights_
    half = StageWeights(PRIOR_WEIGHTS, shrinkage=50).fit(*rows).weights_
    for key in KEYS:
        expected = (alone[key] + PRIOR_WEIGHTS.get(key, 0.0)) / 2
        assert half[key] == pytest.approx(expected, abs=2e-6)


def test_nobody_who_chose_leaves_the_prior() -> None:
    scorer, fitted = fit_scorer({stage: [] for stage in Stage}, PRIOR)
    assert scorer == PRIOR
    assert {fit.n_listeners_ for fit in fitted.values()} == {0}


def test_the_order_of_candidates_means_nothing() -> None:
    x, chosen, listener = planted({"history": 4.0, "novelty": 2.0}, 5)
    order = np.lexsort((np.random.default_rng(0).random(len(x)), listener))
    fit = StageWeights(PRIOR_WEIGHTS).fit(x, chosen, listener)
    shuffled = StageWeights(PRIOR_WEIGHTS).fit(x[order], chosen[order], listener)
    assert shuffled.weights_ == pytest.approx(fit.weights_, abs=2e-6)


def test_inputs_stay_unchanged() -> None:
    rows = planted({"history": 4.0}, 5, listeners=20)
    before = [column.copy() for column in rows]
    StageWeights(PRIOR_WEIGHTS).fit(*rows)
    for column, copy in zip(rows, before, strict=True):
        np.testing.assert_array_equal(column, copy)


def test_parameters_follow_the_convention_of_estimators() -> None:
    fit = StageWeights(PRIOR_WEIGHTS, shrinkage=10)
    assert fit.set_params(ridge=0.5).get_params() == {
        "prior": PRIOR_WEIGHTS,
        "shrinkage": 10,
        "ridge": 0.5,
    }


@given(
    seed=st.integers(0, 10_000),
    theta=st.lists(st.floats(-20, 20), min_size=len(COLUMNS), max_size=len(COLUMNS)),
    shrinkage=st.floats(0, 500),
    stage=st.sampled_from(Stage),
)
def test_weights_are_a_scorer(
    seed: int, theta: list[float], shrinkage: float, stage: Stage
) -> None:
    rows = planted(dict(zip(COLUMNS, theta, strict=True)), seed, listeners=8)
    fit = StageWeights(PRIOR.weights[stage], shrinkage=shrinkage).fit(*rows)
    assert min(fit.weights_.values()) >= 0
    assert sum(fit.weights_.values()) == pytest.approx(1, abs=1e-9)
    Scorer.of({**PRIOR.weights, stage: fit.weights_})
