"""The greedy list equals that of a slow, obvious implementation, and keeps its rules."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.audio import FEATURES
from recommender.cold_start import Stage
from recommender.components import DIVERSITY, KEYS, STATIC, evaluate
from recommender.diversity import diversity, pairwise_similarity
from recommender.exploration import EpsilonSlots
from recommender.listener import Listener
from recommender.ranking import Ranking, Rules, rank
from recommender.scoring import PRIOR
from recommender.tracks import UNKNOWN_DATE, Tracks, build_tracks

LIMIT = 12


@dataclass(frozen=True)
class Case:
    tracks: Tracks
    components: dict[str, np.ndarray]
    weights: Mapping[str, float]
    rl_adjustment: np.ndarray
    rules: Rules


def case(seed: int, n: int, *, missing: float, diverse: bool = True) -> Case:
    rng = np.random.default_rng(seed)
    audio = rng.uniform(0.01, 1, (n, len(FEATURES))).astype(np.float32)
    audio[rng.random(audio.shape) < missing] = np.nan
    tracks = build_tracks(
        audio=audio,
        artist=rng.integers(0, max(1, n // 3), n),
        popularity=rng.uniform(0, 1, n),
        category=[None] * n,
        genres=[("soul",) if rng.random() < 0.3 else ("rock",) for _ in range(n)],
        released=np.full(n, UNKNOWN_DATE),
    )
    listener = Listener(
        stage=Stage.MONTH_2_PLUS,
        traits={"openness": 0.9, "extraversion": 0.2},
        history_audio=audio[:3],
        history_weight=np.array([1.0, 0.5, 0.25])[: min(3, n)],
    )
    weights = dict(zip(KEYS, rng.dirichlet(np.ones(len(KEYS))).tolist(), strict=True))
    if not diverse:
        weights[DIVERSITY] = 0.0
    return Case(
        tracks,
        evaluate(listener, tracks),
        weights,
        rng.uniform(-0.05, 0.05, n),
        Rules(
            never=rng.random(n) < 0.1,
            heard=rng.random(n) < 0.3,
            shown=rng.random(n) < 0.1,
        ),
    )


def ranked(c: Case) -> Ranking:
    return rank(
        c.tracks,
        c.components,
        weights=c.weights,
        rl_adjustment=c.rl_adjustment,
        rules=c.rules,
        policy=EpsilonSlots(0.0, np.random.default_rng(0)),
        limit=LIMIT,
    )


def slow_score(c: Case, i: int, chosen: list[int]) -> float:
    """Return a track's score below `chosen`, everything computed anew in double precision."""

    def similarity(j: int) -> float:
        x, y = c.tracks.audio[i].astype(float), c.tracks.audio[j].astype(float)
        shared = ~np.isnan(x) & ~np.isnan(y)
        norms = np.linalg.norm(x[shared]) * np.linalg.norm(y[shared])
        return float(x[shared] @ y[shared] / norms) if norms > 0 else 0.5

    mean = sum(similarity(j) for j in chosen) / len(chosen) if chosen else 0.0
    new = all(c.tracks.artist[i] != c.tracks.artist[j] for j in chosen)
    parts = {key: float(c.components[key][i]) for key in STATIC}
    parts[DIVERSITY] = 0.7 * (1 - mean) + 0.3 * new
    return sum(c.weights[key] * parts[key] for key in KEYS) + float(c.rl_adjustment[i])


@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.0, 0.3]), st.booleans())
def test_every_position_holds_the_best_that_may_stand_there(
    seed: int, n: int, missing: float, diverse: bool
) -> None:
    c = case(seed, n, missing=missing, diverse=diverse)
    ranking = ranked(c)
    steps = [
        (2, c.rules.heard | c.rules.shown),
        (n, c.rules.heard | c.rules.shown),
        (n, c.rules.heard),
        (n, np.zeros(n, dtype=bool)),
    ]

    def eligible(chosen: list[int]) -> dict[int, float]:
        while steps:
            cap, barred = steps[0]
            found = [
                i
                for i in range(n)
                if i not in chosen
                and not barred[i]
                and not c.rules.never[i]
                and sum(c.tracks.artist[i] == c.tracks.artist[j] for j in chosen) < cap
            ]
            if found:
                return {i: slow_score(c, i, chosen) for i in found}
            del steps[0]  # rules give way one after the other, and for good
        return {}

    chosen: list[int] = []
    for place, score in zip(ranking.place.tolist(), ranking.score.tolist(), strict=True):
        scores = eligible(chosen)
        assert score == pytest.approx(scores[place], abs=1e-6)  # similarities are float32
        assert score >= max(scores.values()) - 1e-6
        chosen.append(place)
    assert len(chosen) == LIMIT or not eligible(chosen)


@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([0.0, 0.3]))
def test_diversity_is_what_each_track_had_when_it_was_chosen(
    seed: int, n: int, missing: float
) -> None:
    """Worked out of the finished list: with a weight, the loop went by the very same numbers."""
    c = case(seed, n, missing=missing)
    ranking = ranked(c)
    similarity = pairwise_similarity(c.tracks.audio)
    total, artists = np.zeros(n), set()
    for position, place in enumerate(ranking.place.tolist()):
        artist = int(c.tracks.artist[place])
        likeness = min(1.0, float(total[place]) / max(1, position))
        expected = diversity(likeness, artist not in artists)
        assert ranking.components[DIVERSITY][position] == pytest.approx(expected, abs=1e-6)
        total += similarity[place]
        artists.add(artist)


@given(st.integers(0, 10_000), st.integers(1, 60))
def test_score_is_the_sum_of_its_parts(seed: int, n: int) -> None:
    c = case(seed, n, missing=0.2)
    ranking = ranked(c)
    total = sum(c.weights[key] * ranking.components[key] for key in KEYS) + ranking.rl_adjustment
    np.testing.assert_allclose(ranking.score, total, atol=1e-12)
    for key in KEYS:
        assert ((ranking.components[key] >= 0) & (ranking.components[key] <= 1)).all(), key
    assert ((ranking.score >= -0.05) & (ranking.score <= 1.05)).all()


@given(st.integers(0, 10_000), st.integers(3, 60))
def test_rules_hold(seed: int, n: int) -> None:
    c = case(seed, n, missing=0.0)
    ranking = ranked(c)
    places = ranking.place
    assert len(set(places.tolist())) == len(places)
    assert not c.rules.never[places].any()
    assert len(places) == min(LIMIT, int((~c.rules.never).sum()))
    if "artist_cap" not in ranking.relaxed:
        free = places[~(c.rules.heard | c.rules.shown)[places]]
        counts = np.unique(c.tracks.artist[free], return_counts=True)[1]
        assert (counts <= 2).all()
    if "heard" not in ranking.relaxed:
        assert not c.rules.heard[places].any()


@given(st.integers(0, 10_000), st.integers(2, 60))
def test_one_more_candidate_that_is_never_allowed_changes_nothing(seed: int, n: int) -> None:
    c = case(seed, n, missing=0.0)
    without = np.flatnonzero(~c.rules.never)
    smaller = replace(
        c,
        tracks=c.tracks.take(without),
        components={key: values[without] for key, values in c.components.items()},
        rl_adjustment=c.rl_adjustment[without],
        rules=Rules(c.rules.never[without], c.rules.heard[without], c.rules.shown[without]),
    )
    assert ranked(c).place.tolist() == without[ranked(smaller).place].tolist()


def test_exploration_draws_from_all_that_is_eligible_and_says_how_likely() -> None:
    c = case(3, 40, missing=0.0)
    seen = set()
    for seed in range(200):
        ranking = rank(
            c.tracks,
            c.components,
            weights=c.weights,
            rl_adjustment=c.rl_adjustment,
            rules=Rules(*(np.zeros(40, dtype=bool),) * 3, artist_cap=None),
            policy=EpsilonSlots(0.1, np.random.default_rng(seed)),
            limit=10,
        )
        assert ranking.propensity[:9].tolist() == [1.0] * 9
        assert ranking.propensity[9] == pytest.approx(1 / 31)
        seen.add(int(ranking.place[9]))
    assert len(seen) == 31


def test_the_prior_ranks_the_seeds_way() -> None:
    c = replace(case(1, 30, missing=0.0), weights=PRIOR.weights[Stage.MONTH_2_PLUS])
    assert ranked(c).components["diversity"][0] == 1.0
