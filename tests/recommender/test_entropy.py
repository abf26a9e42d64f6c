"""A floor of entropy is reached wherever the candidates allow, and costs nothing elsewhere."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommender.entropy import EntropyFloor, entropy


def listed(genre: np.ndarray, score: np.ndarray, bits: float, length: int) -> list[int]:
    floor = EntropyFloor(genre, bits=bits, length=length)
    score = score.copy()
    chosen = []
    for _ in range(length):
        at = floor.best(score)
        floor.take(at)
        score[at] = -np.inf
        chosen.append(at)
    return chosen


@given(st.lists(st.integers(-1, 3), min_size=4, max_size=8), st.floats(0, 2), st.integers(0, 99))
def test_the_floor_is_reached_where_some_list_reaches_it(
    genres: list[int], bits: float, seed: int
) -> None:
    genre = np.array(genres)
    score = np.random.default_rng(seed).permutation(len(genres)).astype(float)
    chosen = listed(genre, score, bits, 4)
    possible = max(
        entropy(genre[list(c)].tolist()) for c in itertools.combinations(range(len(genres)), 4)
    )
    assert len(set(chosen)) == 4
    if possible >= bits:
        assert entropy(genre[chosen].tolist()) >= bits - 1e-9


def test_without_need_the_best_stand() -> None:
    genre, score = np.array([0, 1, 0, 1, 0]), np.array([5.0, 4, 3, 2, 1])
    assert listed(genre, score, 1.0, 4) == [0, 1, 2, 3]


def test_allowed_and_best_agree() -> None:
    rng = np.random.default_rng(5)
    genre, score = rng.integers(0, 4, 30), rng.random(30)
    floor = EntropyFloor(genre, bits=1.9, length=10)
    for _ in range(10):
        allowed = floor.allowed(score > -np.inf)
        best = floor.best(score)
        assert best == int(np.where(allowed, score, -np.inf).argmax())
        floor.take(best)
        score[best] = -np.inf
