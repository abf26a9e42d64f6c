"""Questionnaires against real answers, and against nonsense."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.personality import TRAITS
from recommender.questionnaires import KEYS, LENGTHS, score

ALPHAS = {
    "extraversion": 0.89,
    "neuroticism": 0.87,
    "agreeableness": 0.83,
    "conscientiousness": 0.81,
    "openness": 0.80,
}


@pytest.mark.parametrize("instrument", KEYS)
def test_every_item_belongs_to_one_trait(instrument: str) -> None:
    items = sorted(abs(item) for key in KEYS[instrument].values() for item in key)
    assert items == list(range(1, LENGTHS[instrument] + 1))
    assert set(KEYS[instrument]) == set(TRAITS)


def real_answers(folder: Path) -> np.ndarray:
    """Return (n, 50) answers, 0 where there is none."""
    with gzip.open(folder / "ipip50_responses.csv.gz", "rt", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        columns = [header.index(f"{trait}{i}") for trait in "ENACO" for i in range(1, 11)]
        return np.array([[float(row[c] or 0) for c in columns] for row in reader])


def test_the_keys_give_the_published_alphas(data_folder: Path) -> None:
    rows = real_answers(data_folder)
    complete = rows[(rows > 0).all(axis=1)]
    assert len(complete) > 0.9 * len(rows)
    for trait, key in KEYS["ipip50"].items():
        items = np.array(key)
        raw = complete[:, np.abs(items) - 1]
        keyed = np.where(items < 0, 6 - raw, raw)
        k = len(items)
        alpha = k / (k - 1) * (1 - keyed.var(axis=0, ddof=1).sum() / keyed.sum(axis=1).var(ddof=1))
        assert alpha == pytest.approx(ALPHAS[trait], abs=0.01), trait


def test_real_nonsense_is_scored_with_little_confidence(data_folder: Path) -> None:
    rows = real_answers(data_folder)
    confidences = np.array(
        [score("ipip50", [int(a) for a in row]).overall_confidence for row in rows]
    )
    answered = (rows > 0).mean(axis=1)
    spread = np.array([len(np.unique(row[row > 0])) for row in rows])
    sensible = (answered == 1) & (spread >= 4)
    assert (confidences[(spread <= 1)] == 0).all()  # one answer for everything, or none at all
    assert (confidences[answered < 0.5] < 0.5).all()
    assert (spread <= 1).sum() + (answered < 0.5).sum() > 0
    assert np.median(confidences[sensible]) > 0.7
    assert np.quantile(confidences[sensible], 0.99) <= 1


@given(st.lists(st.sampled_from([None, 0, 1, 2, 3, 4, 5]), min_size=44, max_size=44))
def test_any_answers_give_scores_in_range(answers: list[int | None]) -> None:
    result = score("bfi44", answers)
    assert all(0 <= value <= 100 for value in result.scores.values())
    assert all(0 <= value <= 1 for value in result.confidence.values())
    assert set(result.scores) <= set(result.confidence) == set(TRAITS)


def test_too_few_answers_leave_a_trait_out() -> None:
    answers: list[int | None] = [3, 4] * 25
    for item in (1, 2, 3):  # 7 of 10 items of extraversion are left
        answers[item - 1] = None
    result = score("ipip50", answers)
    assert "extraversion" not in result.scores
    assert result.confidence["extraversion"] == 0.0
