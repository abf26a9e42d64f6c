"""Policies: propensities are the chances of what was shown, the first position is never tried."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.errors import RecommenderError
from recommender.exploration import POLICIES, Beliefs, Thompson
from recommender.published_taste import CORRELATIONS
from recommender.race import Race, best_probabilities, normal_cdf
from recommender.rewards import BASE_REWARDS, Feedback, reward, rewards

SCORES = np.array([[0.3, 0.1, -np.inf, 0.25, 0.0]])
SPREADS = np.array([[0.1, 0.3, 0.2, 0.01, 0.0]])


@pytest.mark.parametrize("name", POLICIES)
def test_propensities_are_frequencies(name: str) -> None:
    n = 20_000
    policy = POLICIES[name](0.2, np.random.default_rng(3))
    choice, propensity = policy.choose(np.tile(SCORES, (n, 1)), np.tile(SPREADS, (n, 1)))
    assert 2 not in choice  # what may not stand
    for column in np.unique(choice):
        shown = choice == column
        assert np.ptp(propensity[shown]) == 0
        assert shown.mean() == pytest.approx(propensity[shown][0], abs=0.015)


@pytest.mark.parametrize("name", POLICIES)
@given(share=st.floats(0, 0.5), length=st.integers(1, 100))
def test_at_most_its_share_and_never_the_first(name: str, share: float, length: int) -> None:
    policy = POLICIES[name](share, np.random.default_rng(0))
    explored = [position for position in range(1, length + 1) if policy.explores(position)]
    assert 1 not in explored
    assert len(explored) <= share * length + 1e-6


def test_a_share_that_explores_the_first_is_refused() -> None:
    with pytest.raises(RecommenderError, match="first position"):
        Thompson(0.6, np.random.default_rng(0))


def test_the_chance_of_being_best_is_that_of_gaussian_draws() -> None:
    draws = np.random.default_rng(1).normal(SCORES, SPREADS, (200_000, 5))
    draws[:, 2] = -np.inf
    found = np.bincount(draws.argmax(axis=1), minlength=5) / len(draws)
    assert best_probabilities(SCORES, SPREADS)[0] == pytest.approx(found, abs=0.01)


@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(0, 1)), min_size=1, max_size=12),
)
def test_chances_sum_to_one(beliefs: list[tuple[float, float]]) -> None:
    score, spread = np.array(beliefs).T[:, None]
    chance = best_probabilities(score, spread)
    assert chance.sum() == pytest.approx(1.0)
    assert (chance >= 0).all()
    assert normal_cdf(np.array([-9.0, 9.0])).tolist() == pytest.approx([0, 1], abs=1e-6)


def test_tracks_of_one_state_are_drawn_as_one() -> None:
    beliefs = Beliefs(np.array([0.5, 0.5, 0.0]), np.full(3, 1e-3), np.array([4, 4, 7]))
    at, chance = Thompson(0.1, np.random.default_rng(0)).draw(np.array([0.1, 0.2, 0.9]), beliefs)
    assert at == 1
    assert chance == pytest.approx(1.0)


@given(st.sampled_from(Feedback), st.floats(0, 1))
def test_many_rewards_are_those_of_one(kind: Feedback, share: float) -> None:
    place = list(BASE_REWARDS).index(kind)
    assert rewards(np.array([place]), np.array([share]))[0] == reward(kind, share=share)


def test_published_effects_are_small() -> None:
    assert max(abs(r) for row in CORRELATIONS.values() for r in row) <= 0.16


def test_a_race_goes_on_without_some_of_its_runners() -> None:
    rng = np.random.default_rng(4)
    mean, spread = rng.normal(0, 0.2, 40), rng.uniform(0.25, 0.4, 40)
    race = Race.of(np.arange(40), mean, spread)
    for kept in (np.arange(40), np.flatnonzero(mean < 0.1), np.arange(0, 40, 7)):
        alone = best_probabilities(mean[None, kept], spread[None, kept])[0]
        assert race.won_by(kept, mean[kept], spread[kept]) == pytest.approx(alone, abs=2e-3)
    # Far below its nodes, unknown to it, or believed anew: it cannot tell.
    low = Race.of(np.arange(2), np.array([9.0, 0.0]), np.ones(2))
    assert low.won_by(np.array([1]), np.zeros(1), np.ones(1)) is None
    assert race.won_by(np.array([40]), np.zeros(1), np.ones(1)) is None
    assert race.won_by(np.array([1]), mean[1:2] + 0.1, spread[1:2]) is None


@given(st.lists(st.integers(0, 9), max_size=30))
def test_states_are_told_apart_as_unique_does(group: list[int]) -> None:
    codes = np.array(group, dtype=np.int64)
    nothing = np.zeros(len(codes))
    groups, first = Beliefs(nothing, nothing, codes).states()
    expected, at = np.unique(codes, return_index=True)
    assert groups.tolist() == expected.tolist()
    assert first.tolist() == at.tolist()
