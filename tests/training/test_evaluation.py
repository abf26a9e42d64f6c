from math import log2

import numpy as np
import pytest

from recommender.cold_start import Stage
from recommender.listener import Listener
from recommender.scoring import PRIOR
from recommender.tracks import UNKNOWN_DATE, build_tracks
from training.data.choices import Choices, rows_of
from training.evaluation.intervals import Interval, bootstrap, bootstrap_columns
from training.evaluation.list_metrics import ListJudge, coverage, ndcg, recall
from training.evaluation.served_lists import METRICS, evaluate_served, listed_artists

POPULAR = {"popularity": 1.0}


def choices(*, heard_artists: list[int], relevant: list[int]) -> Choices:
    """Five tracks of the artists 0 0 1 2 3, the more popular the later."""
    n = 5
    tracks = build_tracks(
        audio=np.full((n, 7), 0.5, dtype=np.float32),
        artist=np.array([0, 0, 1, 2, 3]),
        popularity=np.linspace(0.1, 0.9, n),
        category=[None] * n,
        genres=[()] * n,
        released=np.full(n, UNKNOWN_DATE),
    )
    components = {key: np.full(n, 0.5) for key in ("colisten", "history", "novelty", "personality")}
    return Choices(
        Listener(Stage.MONTH_2_PLUS, heard_artists=np.array(heard_artists, dtype=np.int64)),
        tracks,
        components | {"popularity": tracks.popularity},
        np.array(relevant),
    )


def test_ndcg_is_its_formula() -> None:
    found_first_and_third = (1 / log2(2) + 1 / log2(4)) / (1 / log2(2) + 1 / log2(3))
    assert ndcg([7, 1, 9], np.array([7, 9])) == pytest.approx(found_first_and_third)


def test_ndcg_looks_no_further_than_k() -> None:
    assert ndcg([1, 2, 3], np.array([3]), k=2) == 0
    assert ndcg([3, 4], np.array([3, 4, 5]), k=2) == 1


def test_recall_counts_all_that_was_to_be_found() -> None:
    assert recall([1, 2, 3], np.array([3, 1, 8, 9])) == 0.5


def test_artists_stand_in_the_order_of_the_list() -> None:
    assert listed_artists(choices(heard_artists=[], relevant=[0]), POPULAR) == [3, 2, 1, 0]


def test_artists_heard_before_are_neither_found_nor_missed() -> None:
    assert listed_artists(choices(heard_artists=[2], relevant=[1]), POPULAR) == [3, 1, 0]


def test_fitting_looks_at_artists_not_heard_before() -> None:
    rows = rows_of([choices(heard_artists=[2], relevant=[0])])
    assert rows.target.tolist() == [0.5, 0.5, 0.0, 0.0]
    assert rows.listener.tolist() == [0, 0, 0, 0]


def test_who_says_nothing_drops_out_of_the_fit() -> None:
    nothing_found = choices(heard_artists=[], relevant=[99])
    nothing_else = choices(heard_artists=[], relevant=[0, 1, 2, 3])
    assert len(rows_of([nothing_found, nothing_else]).listener) == 0


def test_scorers_are_measured_on_the_same_lists() -> None:
    one = choices(heard_artists=[], relevant=[3])
    judge = ListJudge(one.tracks.artist, np.array([0, 0, 1, 2, 3]), np.arange(4.0))
    lists = evaluate_served([one], {"a": PRIOR, "b": PRIOR}, judge)
    assert lists["a"].values.tolist() == lists["b"].values.tolist()
    named = dict(zip(METRICS, lists["a"].values[0].tolist(), strict=True))
    assert named["recall_10"] == named["new_artist_share"] == 1.0
    # Five tracks of the genres 0 0 1 2 3, and artists of 0 0 1 2 3 bits.
    assert named["entropy"] == pytest.approx(0.4 * log2(2.5) + 0.6 * log2(5))
    assert named["novelty"] == pytest.approx(6 / 5)


def test_coverage_counts_what_any_list_names() -> None:
    lists = [np.array([0, 1]), np.array([1, 2]), np.array([1])]
    found = coverage(lists, 10)
    assert found.share == 0.3
    assert found.gain_over(coverage(lists, 10)) == Interval(0.0, 0.0, 0.0)
    # Without the first or the second list one of ten is lost, without the third none.
    assert found.pseudo_values.tolist() == pytest.approx([0.5, 0.5, 0.3])


def test_one_list_s_coverage_says_nothing_and_stays_a_number() -> None:
    found = coverage([np.array([0, 1])], 4)
    assert found.interval == Interval(0.5, -0.5, 1.5)


def test_columns_are_drawn_as_one_is() -> None:
    values = np.random.default_rng(1).normal(size=(40, 3))
    for column, found in zip(values.T, bootstrap_columns(values, 7), strict=True):
        alone = bootstrap(column, 7)
        assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


@pytest.mark.parametrize("seed", range(3))
def test_the_bootstrap_agrees_with_the_normal_interval(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=400)
    found = bootstrap(values, seed)
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)
    assert found == bootstrap(values, seed)
