from dataclasses import dataclass

import numpy as np
import pytest

from recommender.cold_start import Stage
from recommender.components import KEYS
from recommender.scoring import Scorer
from training.errors import NothingTrainableError, TrainingError
from training.evaluation.off_policy import Log, RewardModel, estimates, tilted
from training.evaluation.off_policy_gain import off_policy_metrics
from training.simulation.off_policy_worlds import outcomes


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_the_interval_holds_the_known_truth(name: str) -> None:
    """In all 200 seeded worlds, as the benchmark's part `off_policy` has it."""
    seen = [world[name] for world in outcomes(200)]
    assert 0.90 <= sum(one.covers for one in seen) / len(seen) <= 0.99
    assert sum(one.width for one in seen) <= 2 * sum(one.monte_carlo for one in seen)


def test_each_estimator_is_its_formula() -> None:
    log = Log(np.array([0, 0, 1]), np.array([1.0, 0.0, 2.0]), np.array([0.5, 0.25, 0.2]))
    target = np.array([0.25, 0.5, 0.4])
    weight = np.array([0.5, 2.0, 2.0])
    model = RewardModel(np.array([0.8, 0.1, 1.0]), np.array([0.5, 0.6, 0.7]))
    found = estimates(log, target, model)
    assert found["ips"].interval.mean == pytest.approx((0.5 * 1 + 2 * 2) / 3)
    assert found["snips"].interval.mean == pytest.approx((0.5 * 1 + 2 * 2) / 4.5)
    doubly = model.under_target + weight * (log.reward - model.of_shown)
    assert found["dr"].interval.mean == pytest.approx(doubly.mean())
    assert found["ips"].effective_rows == pytest.approx(4.5**2 / (0.25 + 4 + 4))
    assert found["ips"].effective_listeners == pytest.approx(4.5**2 / (2.5**2 + 2**2))


def test_the_logged_policy_is_worth_what_was_logged() -> None:
    rng = np.random.default_rng(0)
    log = Log(np.arange(100) % 20, rng.normal(size=100), rng.uniform(0.1, 0.9, 100))
    for one in estimates(log, log.propensity).values():
        assert one.interval.mean == pytest.approx(log.reward.mean())
        assert one.effective_rows == pytest.approx(100)


def test_places_that_were_not_drawn_take_no_part() -> None:
    log = Log(np.array([0, 1, 0, 1]), np.array([1.0, 3.0, 99.0, 99.0]), np.array([0.5, 0.5, 1, 1]))
    assert estimates(log, np.array([0.5, 0.5, 1, 1]))["ips"].interval.mean == 2


def test_a_model_that_knows_makes_the_interval_narrow() -> None:
    rng = np.random.default_rng(0)
    n = 400
    action = rng.integers(0, 4, n)
    log = Log(np.arange(n), action.astype(np.float64), np.full(n, 0.25))
    target = np.where(action == 3, 0.7, 0.1)
    model = RewardModel(action.astype(np.float64), np.full(n, 0.7 * 3 + 0.1 * 3))
    found = estimates(log, target, model)
    assert found["dr"].interval.mean == pytest.approx(2.4)
    assert found["dr"].interval.high - found["dr"].interval.low < 1e-9
    assert found["ips"].interval.low < 2.4 < found["ips"].interval.high


def test_one_listener_that_decides_is_seen() -> None:
    listener = np.arange(50)
    propensity = np.where(listener == 0, 0.001, 0.5)
    found = estimates(Log(listener, np.ones(50), propensity), np.full(50, 0.5))
    assert found["snips"].effective_listeners < 1.3


def test_a_tilt_prefers_what_the_scorer_likes() -> None:
    log = Log(np.repeat(np.arange(30), 10), np.tile(np.arange(10.0), 30), np.full(300, 0.1))
    up = estimates(log, tilted(log, log.reward / 10, 5.0))["snips"].interval
    even = estimates(log, tilted(log, log.reward / 10, 0.0))["snips"].interval
    down = estimates(log, tilted(log, -log.reward / 10, 5.0))["snips"].interval
    assert down.high < even.mean < up.low
    assert even.mean == pytest.approx(4.5)


def test_what_says_nothing_is_refused() -> None:
    log = Log(np.array([0, 1]), np.ones(2), np.ones(2))
    with pytest.raises(NothingTrainableError, match="0 randomised rows"):
        estimates(log, np.ones(2))
    with pytest.raises(TrainingError, match="damaged"):
        Log(np.array([0]), np.ones(1), np.zeros(1))


@dataclass(frozen=True)
class Shown:
    """Impressions of 40 listeners, 20 each, every second one drawn."""

    components: np.ndarray
    stage: np.ndarray
    reward: np.ndarray
    propensity: np.ndarray
    listener: np.ndarray


def test_a_scorer_is_judged_by_what_followed_what_it_likes() -> None:
    rng = np.random.default_rng(3)
    components = rng.uniform(size=(800, len(KEYS)))
    history = components[:, KEYS.index("history")]
    propensity = np.where(np.arange(800) % 2 == 0, 0.01, 1.0)
    reward = np.where(propensity < 1, history + rng.normal(0, 0.1, 800), 99.0)
    shown = Shown(components, np.full(800, 2), reward, propensity, np.repeat(np.arange(40), 20))
    good = Scorer.of({stage: {"history": 1.0} for stage in Stage})
    blind = Scorer.of({stage: {"popularity": 1.0} for stage in Stage})
    everybody = np.ones(800, dtype=np.bool_)
    found = off_policy_metrics(shown, everybody, good, blind)
    assert found["off_policy_gain_low"] > 0.2
    assert found["champion_off_policy_value"] == pytest.approx(0.5, abs=0.1)
    assert found["off_policy_listeners"] == 40
    backwards = off_policy_metrics(shown, everybody, blind, good)
    assert backwards["off_policy_gain"] == pytest.approx(-found["off_policy_gain"])
    assert off_policy_metrics(shown, shown.listener < 9, good, blind) == {}
