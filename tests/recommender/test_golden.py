"""The numbers that the description and the settled questions fix, to 1e-9."""

import pytest

from recommender.cold_start import Stage
from recommender.rewards import BASE_REWARDS, Feedback, reward
from recommender.scoring import BASE_FORMULA, PRIOR, score

SEED = {
    "history": 0.5,
    "personality": 0.7,
    "diversity": 1.0,
    "novelty": 0.8,
    "popularity": 0.5,
    "colisten": 0.0,
}


@pytest.mark.parametrize(
    ("weights", "history", "expected"),
    [
        (BASE_FORMULA, 0.5, 0.66),
        (BASE_FORMULA, 0.9, 0.82),
        (PRIOR.weights[Stage.MONTH_2_PLUS], 0.9, 0.82),
        (PRIOR.weights[Stage.WEEK_1], 0.5, 0.66),
        (PRIOR.weights[Stage.WEEK_1], 0.9, 0.66),
    ],
)
def test_golden_scores(weights: dict[str, float], history: float, expected: float) -> None:
    assert score(SEED | {"history": history}, weights) == pytest.approx(expected, abs=1e-9)


def test_golden_reward() -> None:
    assert reward(Feedback.LIKE, share=180_000 / 200_000, is_quick=True) == pytest.approx(
        1.19, abs=1e-9
    )


def test_the_eight_base_rewards() -> None:
    assert {kind.value: base for kind, base in BASE_REWARDS.items()} == {
        "like": 1.0,
        "save": 1.5,
        "add_to_playlist": 1.8,
        "play": 0.8,
        "repeat": 1.2,
        "share": 1.3,
        "dislike": -1.0,
        "skip": -0.4,
    }


def test_the_priors_weights() -> None:
    listed = {
        stage.value: {key: w for key, w in weights.items() if w}
        for stage, weights in PRIOR.weights.items()
    }
    assert listed == {
        "week_1": {"personality": 0.8, "popularity": 0.2},
        "week_2_4": {"personality": 0.6, "history": 0.4},
        "month_2_plus": {"history": 0.4, "personality": 0.4, "diversity": 0.1, "novelty": 0.1},
    }
